"""The page of a campaign: the verdict in words, the effects with their intervals, every pair. Pure."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from meshverdict import __version__
from meshverdict.analysis.permutation import MIN_PAIRS
from meshverdict.analysis.verdict import percent
from meshverdict.report.render.forest import bounds, forest, ratio, words
from meshverdict.report.render.html import Html, h
from meshverdict.report.render.page import footer, page
from meshverdict.report.render.parts import NOTHING, chip, section, table

if TYPE_CHECKING:
    from meshverdict.analysis.verdict import Effect
    from meshverdict.report.campaign import Campaign, RunLine

_TONES: Final = {
    "differs": ("bad", "≠"),
    "equivalent": ("good", "="),
    "undecided": ("unsure", "?"),
    "invalid": ("unsure", "!"),
}
_METHOD: Final = (
    (
        "The unit is the run, never the request: requests of one run depend on each other, and tests on them call"
        " most pairs of identical runs different."
    ),
    (
        "Each pair gives one log ratio per metric. The p value is exact: the share of all patterns of signs that"
        " would have shown as much. The interval holds the effects that this test does not reject."
    ),
    (
        "One metric was declared beforehand and is judged alone; the others are corrected together (max-T). With 6 or 7"
        " pairs one metric that hardly moves can keep all of those from having an interval."
    ),
    (
        f"Fewer than {MIN_PAIRS} pairs are described, not judged. There are four verdicts and no others: differs,"
        " equivalent, undecided, invalid."
    ),
)
_WORDS: Final = {"HOLDS": "good", "DEVIATES": "bad", "INVALID": "unsure"}


def render_campaign(campaign: Campaign) -> str:
    """The page."""
    body = [
        h(
            "header",
            h("p", "meshverdict · report of a campaign", class_="brand"),
            h("h1", campaign.title),
            h("p", campaign.claim, class_="quiet") if campaign.claim else None,
        ),
        h("main", _verdict(campaign), _effects(campaign), _runs(campaign), _method()),
        footer(
            f"Made by meshverdict {__version__}; `meshverdict report {campaign.origin}` makes it again.",
        ),
    ]
    links = [
        ("verdict", "Verdict"),
        ("effects", "Effects"),
        ("runs", "Runs"),
        ("method", "How it was judged"),
    ]
    return page(f"{campaign.verdict}: {campaign.title}", body, live=True, links=links)


def sentence(campaign: Campaign) -> str:
    """The verdict of the primary metric in a sentence that a manager can repeat."""
    if not campaign.effects or campaign.effects[0].word == "invalid":
        return f"This campaign cannot be judged: {campaign.invalid}."
    effect = campaign.effects[0]
    change = f"{ratio(effect.ratio)}{bounds(effect)} with the treatment"
    if effect.metric in campaign.none:
        change += f"; {no_size(campaign, effect.metric)}"
    return {
        "differs": f"{effect.metric} differs: {change}. Chance alone does this in fewer than 1 of 20 campaigns.",
        "equivalent": f"{effect.metric} is the same within {percent(effect.margin)}: {change}.",
        "undecided": (
            f"{effect.metric} could be the same or not: {change}. A change of {percent(effect.could_see)} or more"
            " would probably have been seen; for a smaller one, run more pairs."
        ),
    }[effect.word]


def no_size(campaign: Campaign, metric: str) -> str:
    """That a ratio has a direction and no size, because some runs had nothing of its metric at all."""
    control, treatment = campaign.none[metric]
    told = [
        f"{count} of {campaign.pairs} runs {arm} the treatment"
        for count, arm in ((control, "without"), (treatment, "with"))
        if count
    ]
    return f"none at all in {' and '.join(told)}, where half a request stands in for none: a direction, not a size"


def _verdict(campaign: Campaign) -> Html:
    word = campaign.effects[0].word if campaign.effects else "invalid"
    tone, icon = _TONES[word]
    held, usable = campaign.held
    facts = (
        (
            "Usable pairs",
            f"{campaign.pairs}",
            f"of runs with and without the treatment (at least {MIN_PAIRS})",
        ),
        ("Claim held in", f"{held} of {usable}", "usable runs with the treatment"),
        ("Primary metric", campaign.primary, "declared before the first run"),
        (
            "Judged at",
            _confidence(campaign),
            "confidence; stopped at the early look that was planned"
            if campaign.stopped_early
            else "confidence, fixed before the first run",
        ),
        (
            "Scatter from run to run",
            NOTHING if campaign.spread is None else f"p = {campaign.spread:.2f}",
            "that both arms scatter alike" if campaign.spread is not None else "not judged",
        ),
    )
    return h(
        "section",
        h(
            "div",
            h("p", h("span", icon, class_="icon", aria_hidden="true"), campaign.verdict, class_="word"),
            h("p", sentence(campaign), class_="sentence"),
            class_=f"verdict {tone}",
        ),
        h(
            "dl",
            [h("div", h("dt", a), h("dd", b, h("span", c, class_="note"))) for a, b, c in facts],
            class_="facts",
        ),
        id="verdict",
        aria_label="Verdict",
    )


def _effects(campaign: Campaign) -> Html:
    rows = [
        h(
            "tr",
            h("th", effect.metric, " (primary)" if effect.primary else None, scope="row"),
            h("td", ratio(effect.ratio), class_="number"),
            h("td", bounds(effect).strip(" ()") or NOTHING),
            h("td", NOTHING if effect.word == "invalid" else f"{effect.p:.3f}", class_="number"),
            h("td", NOTHING if effect.word == "invalid" else percent(effect.could_see), class_="number"),
            h("td", chip(effect.verdict, _TONES[effect.word][0])),
        )
        for effect in campaign.effects
    ]
    head = ("metric", "ratio", f"{_confidence(campaign)} interval", "p", "could have seen", "verdict")
    return section(
        "effects",
        "Effects",
        "With the treatment over without it. A square is the mean of the pairs, the line its interval, a dot"
        f" one pair; shaded: within {percent(campaign.margin)} of no effect. The metrics that are not primary share"
        " one level, so their intervals are wider.",
        h(
            "figure",
            h("figcaption", h("span", "Effect on each metric", class_="chart-title")),
            h(
                "div",
                forest(campaign.effects, campaign.margin),
                class_="scroll graph-box",
                tabindex="0",
                role="group",
                aria_label="Forest plot",
            ),
            h(
                "details",
                h("summary", "Show as a list"),
                h("ul", [h("li", words(effect)) for effect in campaign.effects]),
            ),
            class_="figure",
        )
        if campaign.effects
        else None,
        table(head, rows, caption="Effects"),
        [h("p", f"{metric}: {no_size(campaign, metric)}.", class_="quiet") for metric in campaign.none],
    )


def _runs(campaign: Campaign) -> Html:
    rows = [
        h(
            "tr",
            h("td", f"{run.pair}", class_="number"),
            h("td", run.arm),
            h("td", chip(run.word, _WORDS[run.word])),
            h("td", "; ".join(run.reasons)),
            h("td", _name(run, campaign), class_="mono whole"),
        )
        for run in campaign.runs
    ]
    left_out = [h("li", reason) for reason in campaign.left_out]
    return section(
        "runs",
        "Runs",
        "In the order in which they were made. Which arm of a pair came first was drawn by lot.",
        table(("pair", "arm", "alone it says", "why", "report"), rows, caption="Runs"),
        h("div", h("h3", "Left out"), h("ul", left_out)) if left_out else None,
    )


def _method() -> Html:
    return h(
        "section",
        h(
            "div",
            h("h2", "How it was judged"),
            h("ul", [h("li", line) for line in _METHOD]),
            class_="box lab",
        ),
        id="method",
    )


def _confidence(campaign: Campaign) -> str:
    return f"{100 * (1 - campaign.level):g} %"


def _name(run: RunLine, campaign: Campaign) -> Html | str:
    """The run's folder; a link where its report is."""
    name = PurePath(run.origin).name
    return h("a", name, href=_link(run, campaign)) if run.has_report else name


def _link(run: RunLine, campaign: Campaign) -> str:
    """The run's report, relative to the campaign's folder."""
    path, base = PurePath(run.origin), PurePath(campaign.origin)
    inside = path.relative_to(base) if path.is_relative_to(base) else path
    return f"{inside}/report.html"


def effect_line(effect: Effect) -> str:
    """An effect for a terminal."""
    return f"{'*' if effect.primary else ' '} {words(effect)}"
