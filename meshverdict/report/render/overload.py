"""The charts of an overload: what was offered and what was good, retries by tier, the knee, the sweep of a limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshverdict.report.render.axis import number
from meshverdict.report.render.chart import Band, Chart, Line, Moment
from meshverdict.report.render.figure import figure
from meshverdict.report.render.html import Html, h
from meshverdict.report.render.parts import chip, section, table
from meshverdict.report.render.phases import phase_bands, phase_moments

if TYPE_CHECKING:
    from meshverdict.report.document import Report
    from meshverdict.report.overload import Overload

_TONES = ("ok", "p50", "p99", "other", "error")


def overload_section(report: Report) -> Html | None:
    """What overload did, in charts and a sentence; nothing for a run without one."""
    found = report.overload
    if found is None:
        return None
    charts = overload_charts(report)
    return section(
        "overload",
        "Overload",
        "Offered is what was due each second, whatever became of it; goodput is 2xx and 3xx within the deadline. Shaded in"
        " the colour of the treatment: at least three seconds with goodput below half of what was offered.",
        h("p", _sentence(found)),
        h("div", [figure(chart) for chart in charts], class_="figures"),
        _sweep_table(found),
    )


def overload_charts(report: Report) -> list[Chart]:
    """Every chart of the section."""
    found = report.overload
    if found is None:
        return []
    charts = [_goodput(report, found), _amplification(report, found), _ramp(found), _sweep(found)]
    return [chart for chart in charts if chart is not None]


def _sentence(found: Overload) -> str:
    said = []
    if found.ramp is not None and found.ramp.capacity is not None:
        said.append(f"The capacity was {found.ramp.capacity:.1f} requests a second.")
    if found.limit is not None:
        said.append(f"The rate limit was set to {found.limit:.1f} a second.")
    if found.story is not None:
        before, after = found.story.before, found.story.after
        said.append(f"The service {found.story.words}.")
        if before is not None and after is not None:
            said.append(f"Goodput was {before:.1f} a second before the trigger and {after:.1f} after it.")
    if found.limited and (turned := sum(found.limited)):
        said.append(f"{turned:,.0f} requests were turned away with 429.")
    down = sum(end - start for start, end in found.down)
    said.append(f"The service was down for {down} s." if down else "The service was never down.")
    return " ".join(said)


def _goodput(report: Report, found: Overload) -> Chart | None:
    if not found.good:
        return None
    x = [found.start + i - report.t0 for i in range(len(found.good))]
    lines = [
        Line("offered", "before", found.offered, dash=True),
        Line("goodput", "ok", found.good, fill=True),
    ]
    if any(found.limited):
        lines.append(Line("turned away (429)", "error", found.limited))
    if found.limit is not None:
        lines.append(Line("rate limit", "p99", [found.limit] * len(x), dash=True))
    trigger = found.story.trigger if found.story is not None else None
    moments = [] if trigger is None else [Moment("trigger", trigger.start - report.t0)]
    return Chart(
        key="overload-goodput",
        title="Offered load and goodput, all endpoints",
        summary=_sentence(found),
        unit="requests/s",
        x=x,
        lines=lines,
        bands=[Band("down", "during", start - report.t0, end - report.t0) for start, end in found.down],
        moments=[*phase_moments(report), *moments],
    )


def _amplification(report: Report, found: Overload) -> Chart | None:
    if not found.tiers:
        return None
    x = sorted({round(t, 1) for _, moments, _ in found.tiers for t in moments})
    lines = []
    for (name, moments, values), tone in zip(found.tiers, _TONES, strict=False):
        by_time = {round(t, 1): v for t, v in zip(moments, values, strict=True)}
        lines.append(Line(name, tone, [by_time.get(t) for t in x]))
    tops = ", ".join(
        f"{line.label} up to {max((v for v in line.values if v is not None), default=0):.2f}"
        for line in lines
    )
    shifted = [t - report.t0 for t in x]
    return Chart(
        key="overload-amplification",
        title="Requests that arrived at each tier for each request of a user, 5 s together",
        summary=f"{tops}.",
        unit="requests",
        x=shifted,
        lines=lines,
        bands=phase_bands(report, shifted[-1]),
        moments=phase_moments(report),
    )


def _ramp(found: Overload) -> Chart | None:
    ramp = found.ramp
    if ramp is None:
        return None
    lines = [
        Line("as much as offered", "before", ramp.offered, dash=True),
        Line("while the load rose", "ok", ramp.up),
    ]
    if any(v is not None for v in ramp.down):
        lines.append(Line("while it fell", "error", ramp.down))
    moments = [] if ramp.capacity is None else [Moment(f"capacity {ramp.capacity:.0f}/s", ramp.capacity)]
    return Chart(
        key="overload-knee",
        title="The search for the capacity: goodput at each offered load",
        summary=f"Goodput stops following at {ramp.capacity or 0:.1f} requests a second.",
        unit="requests/s",
        x=ramp.offered,
        lines=lines,
        kind="load",
        moments=moments,
    )


def _sweep(found: Overload) -> Chart | None:
    if len(found.steps) < 2:
        return None
    moments = [] if found.value is None else [Moment(f"value {found.value:.0f}/s", found.value)]
    return Chart(
        key="overload-sweep",
        title="Goodput at each value of the rate limit",
        summary=f"The value that can go on is {found.value or 0:.1f} requests a second.",
        unit="requests/s",
        x=[step.limit for step in found.steps],
        lines=[
            Line("the limit itself", "before", [step.limit for step in found.steps], dash=True),
            Line("goodput", "ok", [step.goodput for step in found.steps], fill=True),
        ],
        kind="load",
        moments=moments,
    )


def _sweep_table(found: Overload) -> Html | None:
    if not found.steps:
        return None
    rows = [
        h(
            "tr",
            h("th", f"{number(step.limit)}/s", scope="row"),
            h("td", f"{number(step.goodput)}/s"),
            h("td", f"{step.limited:.1%}"),
            h("td", number(step.queue)),
            h("td", chip("can go on", "good") if step.sustained else chip("the queue grows", "bad")),
        )
        for step in found.steps
    ]
    head = ("limit", "goodput", "turned away", "waiting at the end", "")
    return table(head, rows, caption="One value of the rate limit after the other")
