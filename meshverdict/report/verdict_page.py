"""The one-page answer to "do you need a service mesh?": a row per claim, from what was measured. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from meshverdict import __version__
from meshverdict.report.campaign import Campaign
from meshverdict.report.claims import CLAIMS, Claim, ClaimWord, decide
from meshverdict.report.judge import HOLDS, INVALID, judge
from meshverdict.report.lab_box import lab_box
from meshverdict.report.render.forest import bounds, ratio
from meshverdict.report.render.html import Html, h
from meshverdict.report.render.page import footer, page
from meshverdict.report.render.parts import NOTHING, chip, table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meshverdict.report.contents import RunContents

FORMAT: Final = "verdict/1"
NOT_MEASURED: Final = "not measured"
_TONES: Final = {"holds": "good", "does not hold": "bad", "undecided": "unsure", "invalid": "unsure"}


@dataclass(frozen=True, slots=True)
class Row:
    """One claim on the page.

    Attributes:
        word: ``holds``, ``does not hold``, ``undecided``, ``invalid`` or ``not measured``.
        measured: What was measured, in words.
        effect: The primary metric's effect with its interval.
        verdict: The comparison's verdict in its exact words; empty for a single run.
        link: Report of the run or campaign, relative to the page.
    """

    claim: Claim
    word: ClaimWord | Literal["not measured"]
    measured: str
    effect: str
    verdict: str
    link: str


def verdict_rows(measured: Mapping[str, tuple[RunContents | Campaign, str]]) -> tuple[Row, ...]:
    """A row per claim, those that were measured first.

    Args:
        measured: By experiment: its newest campaign, else its newest run, and the link to its report.
    """
    rows = [_row(claim, measured.get(claim.experiment)) for claim in CLAIMS]
    return tuple(sorted(rows, key=lambda row: row.word == NOT_MEASURED))


def _row(claim: Claim, found: tuple[RunContents | Campaign, str] | None) -> Row:
    if not claim.experiment or found is None:
        return Row(claim, NOT_MEASURED, "", "", "", "")
    source, link = found
    return (
        _campaign_row(claim, source, link) if isinstance(source, Campaign) else _run_row(claim, source, link)
    )


def _campaign_row(claim: Claim, campaign: Campaign, link: str) -> Row:
    held, usable = campaign.held
    first = campaign.effects[0] if campaign.effects else None
    word = decide(held=held, usable=usable, effect=first, expect=campaign.expect)
    measured = f"{campaign.pairs} pairs; the hypothesis held in {held} of {usable} runs with the treatment"
    effect = f"{first.metric} {ratio(first.ratio)}{bounds(first)}" if first and first.ratios else ""
    return Row(claim, word, measured, effect, campaign.verdict, link)


def _run_row(claim: Claim, contents: RunContents, link: str) -> Row:
    judgement = judge(contents)
    usable = int(judgement.word != INVALID)
    held = int(judgement.word == HOLDS)
    word = decide(held=held, usable=usable, effect=None, expect=contents.journal.expect)
    said = f"one run: {judgement.word}" + (f" ({judgement.reasons[0]})" if judgement.reasons else "")
    return Row(claim, word, said, "", "", link)


def as_value(rows: tuple[Row, ...]) -> dict[str, Any]:
    """As JSON values."""
    return {
        "format": FORMAT,
        "claims": [
            {
                "experiment": row.claim.experiment,
                "claim": row.claim.words,
                "verdict": row.word,
                "measured": row.measured,
                "effect": row.effect,
                "comparison": row.verdict,
                "price": row.claim.price,
                "report": row.link,
            }
            for row in rows
        ],
    }


def render_verdict(rows: tuple[Row, ...], place: RunContents | None) -> str:
    """The page.

    Args:
        rows: From `verdict_rows`.
        place: Any of the runs, for the box on where it was measured; None when nothing was.
    """
    decided = [row for row in rows if row.word in {"holds", "does not hold"}]
    measured = [row for row in rows if row.word != NOT_MEASURED]
    held = sum(row.word == "holds" for row in decided)
    summary = (
        f"{len(measured)} of {len(rows)} claims were measured here. Held: {held}. Did not hold:"
        f" {len(decided) - held}. Could not be decided: {len(measured) - len(decided)}."
    )
    head = ("claim", "verdict", "what was measured", "effect, with its interval", "comparison", "report")
    box = h("ul", [h("li", line) for line in lab_box(place)]) if place is not None else None
    body = [
        h(
            "header",
            h("p", "meshverdict · verdict", class_="brand"),
            h("h1", "Do you need a service mesh?"),
            h("p", summary, class_="quiet"),
        ),
        h(
            "main",
            h(
                "section",
                table(head, [_line(row) for row in rows], caption="Claims and verdicts"),
                id="claims",
            ),
            h("section", h("div", h("h2", "Where it was measured"), box, class_="box lab"), id="lab")
            if box
            else None,
        ),
        footer(
            "A claim holds when its hypothesis held in every run with the treatment and its comparison, where the"
            " experiment declares one, came out as declared. Undecided is an answer: more pairs would tell.",
            f"Made by meshverdict {__version__}.",
        ),
    ]
    return page("Do you need a service mesh?", body)


def _line(row: Row) -> Html:
    tone = _TONES.get(row.word)
    return h(
        "tr",
        h("th", row.claim.words, h("span", row.claim.experiment, class_="note mono"), scope="row"),
        h("td", chip(row.word, tone) if tone else h("span", row.word, class_="quiet")),
        h("td", row.measured or NOTHING),
        h("td", row.effect or NOTHING),
        h("td", row.verdict or NOTHING),
        h("td", h("a", "report", href=row.link) if row.link else NOTHING),
    )
