"""Tables of what some experiments find besides latency: versions, ways round a firewall, tiers that were blamed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshverdict.report.render.axis import number
from meshverdict.report.render.html import Html, h
from meshverdict.report.render.parts import NOTHING, chip, section, table

if TYPE_CHECKING:
    from meshverdict.report.document import Report
    from meshverdict.report.found import TryRow, VersionRow


def versions_section(report: Report) -> Html | None:
    """Which version answered whom, phase by phase."""
    rows = report.found.versions
    if not rows:
        return None
    head = ("phase", "requests", "version", "answered", "share", "not good", "p50", "p99")
    return section(
        "versions",
        "Which version answered whom",
        "By the version that each answer names. A share is of all requests of its kind that some version answered.",
        table(head, [_version(row) for row in rows], caption="Answers by version"),
    )


def _version(row: VersionRow) -> Html:
    times = [f"{number(ms)} ms" if ms is not None else NOTHING for ms in (row.p50_ms, row.p99_ms)]
    return h(
        "tr",
        h("th", row.window, scope="row"),
        h("td", row.endpoint, class_="mono"),
        h("td", row.version, class_="mono"),
        [h("td", text) for text in (f"{row.n:,}", f"{row.share:.1%}", f"{row.errors:,}", *times)],
    )


def tries_section(report: Report) -> Html | None:
    """Who got through with what in the way."""
    rows = report.found.tries
    if not rows:
        return None
    columns = list(dict.fromkeys((row.intruder, row.to) for row in rows))
    found = {(row.situation, row.intruder, row.to): row for row in rows}
    head = ["what was in the way", *(f"{intruder} → {to}" for intruder, to in columns)]
    body = [
        h(
            "tr",
            h("th", situation, scope="row"),
            [_try(found.get((situation, *column))) for column in columns],
        )
        for situation in dict.fromkeys(row.situation for row in rows)
    ]
    return section(
        "tries",
        "Who got through",
        "A sidecar accepts connections before it refuses them, so somebody got through when the service itself answered.",
        table(head, body, caption="Ways tried"),
    )


def _try(row: TryRow | None) -> Html:
    if row is None:
        return h("td", "not tried", class_="quiet")
    word = chip("✗ got through", "bad") if row.found == "reached" else chip("✓ denied", "good")
    return h("td", word, h("span", row.how, class_="note mono"))


def blames_section(report: Report) -> Html | None:
    """Whom each view puts each fault down to."""
    rows = report.found.blames
    if not rows:
        return None
    head = (
        "at fault",
        "each stall",
        "the mesh's telemetry",
        "the clients' view",
        "with the app's own metrics",
    )
    body = [
        h(
            "tr",
            h("th", row.tier.partition("/")[2], scope="row"),
            h("td", f"{row.stall_ms:.0f} ms" if row.stall_ms is not None else NOTHING),
            [_named(row.tier, names) for names in ((row.mesh,) if row.mesh else (), row.clients, row.apps)],
        )
        for row in rows
    ]
    return section(
        "blames",
        "Who was blamed",
        "Each fault, and whom it is put down to by what the sidecars counted, by what clients saw, and by that with the"
        " app's busy threads. Several names are no answer.",
        table(head, body, caption="Faults and who was blamed"),
    )


def _named(tier: str, names: tuple[str, ...]) -> Html:
    right = names == (tier,)
    text = ", ".join(name.partition("/")[2] or name for name in names) or "nobody"
    return h("td", chip("✓ " + text, "good") if right else chip(text, "unsure" if len(names) > 1 else "bad"))
