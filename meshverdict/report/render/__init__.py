"""Write a report down as one HTML file. Pure: a value in, text out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshverdict import __version__
from meshverdict.report.render import figures, network, sections
from meshverdict.report.render.found import blames_section, tries_section, versions_section
from meshverdict.report.render.html import h
from meshverdict.report.render.load import load_section
from meshverdict.report.render.overload import overload_section
from meshverdict.report.render.page import footer, page
from meshverdict.report.render.parts import identifier_of
from meshverdict.report.render.usage import usage_section
from meshverdict.report.render.zones import zones_section

if TYPE_CHECKING:
    from meshverdict.report.document import Report


def render(report: Report) -> str:
    """The page of one run."""
    parts = {
        "Timeline": figures.timeline(report),
        "Overload": overload_section(report),
        "Hypothesis": sections.hypothesis(report),
        "Versions": versions_section(report),
        "Who got through": tries_section(report),
        "Who was blamed": blames_section(report),
        "Service graph": network.service_graphs(report),
        "Connections": network.connections(report),
        "Who was dropped": network.dropped(report),
        "Endpoints": network.endpoints(report),
        "Distribution": figures.distribution(report),
        "How busy it was": load_section(report),
        "What it cost": usage_section(report),
        "Zones": zones_section(report),
        "What ran where": sections.provenance(report),
    }
    shown = {label: part for label, part in parts.items() if part is not None}
    links = [("verdict", "Verdict"), *((identifier_of(part), label) for label, part in shown.items())]
    body = [
        h(
            "header",
            h("p", "meshverdict · report of one run", class_="brand"),
            h("h1", report.title),
            h("p", report.started, class_="quiet"),
        ),
        h("main", sections.verdict(report), list(shown.values()), sections.lab_box(report)),
        footer(
            "One run describes; it does not prove. A verdict with an interval takes at least six pairs of"
            " runs: meshverdict run EXPERIMENT --pairs 8.",
            f"Made by meshverdict {__version__} from the files beside it;"
            f" `meshverdict report {report.origin}` makes it again.",
        ),
    ]
    title = f"{report.judgement.word}: {report.title}"
    charts = [chart.as_data() for chart in figures.all_charts(report)]
    return page(title, body, charts=charts, links=[*links, ("lab", "Limits")])
