"""The one-page answer to "do you need a service mesh?": a row per claim, from what was measured. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from meshverdict import __version__
from meshverdict.analysis.pairs import CPU
from meshverdict.analysis.permutation import MIN_PAIRS
from meshverdict.report.campaign import Campaign
from meshverdict.report.claims import CLAIMS, Claim, ClaimWord, decide
from meshverdict.report.judge import HOLDS, INVALID, judge
from meshverdict.report.lab_box import lab_box
from meshverdict.report.render.details import as_details
from meshverdict.report.render.forest import bounds, ratio
from meshverdict.report.render.html import Html, h
from meshverdict.report.render.page import footer, page
from meshverdict.report.render.parts import NOTHING, chip, table
from meshverdict.report.render_campaign import no_size

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


def verdict_rows(
    measured: Mapping[str, tuple[RunContents | Campaign, str]], failed: Mapping[str, str] | None = None
) -> tuple[Row, ...]:
    """A row per claim and per experiment of no claim, those that were measured first.

    Args:
        measured: By experiment: its newest campaign, else its newest run, and the link to its report.
        failed: By experiment, why it was not measured just now.
    """
    reasons = failed or {}
    known = {claim.experiment for claim in CLAIMS}
    others = [
        Claim(name, _title(measured.get(name)) or name) for name in sorted({*measured, *reasons} - known)
    ]
    rows = [
        _row(claim, measured.get(claim.experiment), reasons.get(claim.experiment, ""))
        for claim in (*CLAIMS, *others)
    ]
    return tuple(sorted(rows, key=lambda row: row.word == NOT_MEASURED))


def _title(found: tuple[RunContents | Campaign, str] | None) -> str:
    if found is None:
        return ""
    source = found[0]
    return source.title if isinstance(source, Campaign) else source.journal.title


def _row(claim: Claim, found: tuple[RunContents | Campaign, str] | None, reason: str) -> Row:
    if not claim.experiment or found is None:
        return Row(claim, NOT_MEASURED, reason, "", "", "")
    source, link = found
    return (
        _campaign_row(claim, source, link) if isinstance(source, Campaign) else _run_row(claim, source, link)
    )


def _campaign_row(claim: Claim, campaign: Campaign, link: str) -> Row:
    held, usable = campaign.held
    first = campaign.effects[0] if campaign.effects else None
    # Too few pairs leave the hypothesis; they say nothing yet on how much the treatment changes.
    word = decide(
        held=held, usable=usable, effect=None if campaign.described else first, expect=campaign.expect
    )
    measured = f"{campaign.pairs} pairs; the hypothesis held in {held} of {usable} runs with the treatment"
    measured += "".join(f". {finding}" for finding in campaign.findings)
    if campaign.described:
        said = f"not judged: {campaign.pairs} of at least {MIN_PAIRS} pairs"
        return Row(claim, word, measured, "", said, link)
    effect = f"{first.metric} {ratio(first.ratio)}{bounds(first)}" if first and first.ratios else ""
    if effect and first and first.metric in campaign.none:
        effect += f"; {no_size(campaign, first.metric)}"
    return Row(_priced(claim, campaign), word, measured, effect, campaign.verdict, link)


def _priced(claim: Claim, campaign: Campaign) -> Claim:
    """The claim with what the treatment was measured to cost."""
    cost = next((e for e in campaign.effects[1:] if e.metric == CPU and e.word != "invalid"), None)
    if cost is None:
        return claim
    return replace(
        claim, price=", ".join([*filter(None, [claim.price]), f"{CPU} {ratio(cost.ratio)}{bounds(cost)}"])
    )


def _run_row(claim: Claim, contents: RunContents, link: str) -> Row:
    judgement = judge(contents)
    usable = int(judgement.word != INVALID)
    held = int(judgement.word == HOLDS)
    word = decide(held=held, usable=usable, effect=None, expect=contents.journal.expect)
    findings = contents.journal.findings
    # What it found says more than which probe missed it, but not why nothing could be measured.
    why = judgement.reasons[:1] if judgement.word == INVALID or not findings else ()
    said = f"one run: {judgement.word}" + "".join(f" ({reason})" for reason in why)
    if judgement.word == HOLDS and word == "undecided":
        said += "; how much the treatment changes takes pairs of runs"
    said += "".join(f". {finding}" for finding in findings)
    return Row(claim, word, said, "", "", link)


def conclusion(rows: tuple[Row, ...]) -> str:
    """What a reader should conclude, in a sentence."""
    held, not_held, open_ = (
        [row for row in rows if row.word in words]
        for words in (("holds",), ("does not hold",), ("undecided", "invalid"))
    )
    missing = sum(row.word == NOT_MEASURED for row in rows)
    if len(held) + len(not_held) == 0:
        tried = (
            f", {len(open_)} {'was' if len(open_) == 1 else 'were'} measured and not decided" if open_ else ""
        )
        return (
            f"Nothing can be concluded yet: of {len(rows)} claims none has been decided here{tried}. The command"
            " meshverdict verdict measures every claim that has an experiment."
        )
    parts = [
        f"{len(held)} held ({_named(held)})" if held else "",
        f"{len(not_held)} did not hold ({_named(not_held)})" if not_held else "",
        f"{len(open_)} could not be decided" if open_ else "",
        f"{missing} {'was' if missing == 1 else 'were'} not measured" if missing else "",
    ]
    said = ", ".join(part for part in parts if part)
    rest = len(open_) + missing
    whole = (
        "this page answers the question for what was measured here, and for nothing else"
        if rest == 0
        else f"do not adopt or reject a mesh on this page alone: {rest} of {len(rows)} reasons are open"
    )
    return f"Of {len(rows)} claims, {said}; {whole}."


def _named(rows: list[Row]) -> str:
    return ", ".join(row.claim.experiment for row in rows)


def as_value(rows: tuple[Row, ...]) -> dict[str, Any]:
    """As JSON values."""
    return {
        "format": FORMAT,
        "conclusion": conclusion(rows),
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
    head = (
        "claim",
        "verdict",
        "what was measured",
        "effect, with its interval",
        "comparison",
        "price",
        "report",
    )
    measured = [row for row in rows if row.word != NOT_MEASURED]
    missing = [row for row in rows if row.word == NOT_MEASURED]
    box = h("ul", [h("li", line) for line in lab_box(place)]) if place is not None else None
    more = as_details() if place is not None and place.section("cluster").get("kind") == "embedded" else None
    body = [
        h(
            "header",
            h("p", "meshverdict · verdict", class_="brand"),
            h("h1", "Do you need a service mesh?"),
            h("p", conclusion(rows), class_="conclusion"),
        ),
        h(
            "main",
            h(
                "section",
                h("h2", "What was measured"),
                table(head, [_line(row) for row in measured], caption="Claims and verdicts")
                if measured
                else h("p", "Nothing yet.", class_="quiet"),
                id="claims",
            ),
            _missing(missing),
            h("section", h("div", h("h2", "Where it was measured"), box, more, class_="box lab"), id="lab")
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


def _missing(rows: list[Row]) -> Html | None:
    """The claims about which this page says nothing; leaving them out would look like an answer."""
    if not rows:
        return None
    items = [
        h(
            "li",
            row.claim.words,
            " ",
            h(
                "span",
                f"experiment {row.claim.experiment}, {row.measured or 'not run here'}"
                if row.claim.experiment
                else "no experiment measures it",
                class_="quiet",
            ),
        )
        for row in rows
    ]
    return h("section", h("h2", "Not measured"), h("ul", items, class_="missing"), id="missing")


def _line(row: Row) -> Html:
    tone = _TONES.get(row.word)
    return h(
        "tr",
        h("th", row.claim.words, h("span", row.claim.experiment, class_="note mono"), scope="row"),
        h("td", chip(row.word, tone) if tone else h("span", row.word, class_="quiet")),
        h("td", row.measured or NOTHING),
        h("td", row.effect or NOTHING),
        h("td", row.verdict or NOTHING),
        h("td", row.claim.price or NOTHING),
        h("td", h("a", "report", href=row.link) if row.link else NOTHING),
    )
