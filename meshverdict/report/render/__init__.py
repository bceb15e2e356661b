"""Write a report down as one HTML file. Pure: a value in, text out."""

from __future__ import annotations

from meshverdict import __version__
from meshverdict.report.document import Report
from meshverdict.report.render import sections
from meshverdict.report.render.html import h
from meshverdict.report.render.page import footer, page


def render(report: Report) -> str:
    """The page of one run."""
    charts = [chart for case in report.cases if case.series.t for chart in sections.case_charts(report, case)]
    charts += [chart for case in report.cases if (chart := sections.tail_chart(case)) is not None]
    parts = {
        "Timeline": sections.timeline(report),
        "Hypothesis": sections.hypothesis(report),
        "Service graph": sections.service_graphs(report),
        "Who was dropped": sections.dropped(report),
        "Endpoints": sections.endpoints(report),
        "Distribution": sections.distribution(report),
        "What ran where": sections.provenance(report),
    }
    shown = {label: part for label, part in parts.items() if part is not None}
    links = [
        ("verdict", "Verdict"),
        *((_identifier(part), label) for label, part in shown.items()),
        ("lab", "Limits"),
    ]
    body = [
        h(
            "header",
            h("p", "meshverdict · report of one run", class_="brand"),
            h("h1", report.title),
            h("p", report.started, class_="quiet"),
        ),
        h("main", sections.verdict(report), list(shown.values()), sections.lab_box(report)),
        footer(
            "One run describes; it does not prove. A verdict with an interval takes at least six pairs of runs:"
            " meshverdict run EXPERIMENT --pairs 8.",
            f"Made by meshverdict {__version__} from the files beside it; `meshverdict report {report.origin}` makes it again.",
        ),
    ]
    return page(
        f"{report.judgement.word}: {report.title}", body, charts=[c.as_data() for c in charts], links=links
    )


def _identifier(part: str) -> str:
    """The id of a section that was written by `sections.section`."""
    return part.split('id="', 1)[1].split('"', 1)[0]
