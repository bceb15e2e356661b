"""Put two campaigns side by side: each has its own verdict; whether the two differ is not asked here.

Two campaigns run at different times, so their difference holds whatever changed between them. What may be
said is what each of them found, metric by metric.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from meshverdict import __version__
from meshverdict.model.errors import UsageError
from meshverdict.report.compare_words import cell
from meshverdict.report.render.forest import bounds, forest, ratio
from meshverdict.report.render.html import Html, h
from meshverdict.report.render.page import footer, page
from meshverdict.report.render.parts import NOTHING, chip, section, table

if TYPE_CHECKING:
    from meshverdict.analysis.verdict import Effect
    from meshverdict.report.campaign import Campaign

FORMAT: Final = "campaign-comparison/1"
_NOTE: Final = (
    "A description: each campaign has its own verdict, from its own pairs. They ran at different times, so"
    " whether they differ from each other is not judged."
)
_TONES: Final = {"differs": "bad", "equivalent": "good", "undecided": "unsure", "invalid": "unsure"}


@dataclass(frozen=True, slots=True)
class CampaignComparison:
    """Two campaigns side by side; ``refusals`` says why they cannot be compared, empty when they can."""

    a: Campaign
    b: Campaign
    refusals: tuple[str, ...]

    @property
    def comparable(self) -> bool:
        """Whether anything may be said about the two together."""
        return not self.refusals

    @property
    def differs(self) -> bool:
        """Whether the two campaigns come to different words on the primary metric, or to opposite effects."""
        one, two = self.a.effects[0], self.b.effects[0]
        return one.word != two.word or (one.word == "differs" and (one.ratio < 1) != (two.ratio < 1))

    def rows(self) -> list[tuple[str, Effect | None, Effect | None]]:
        """Each metric with its effect in both."""
        left, right = ({e.metric: e for e in c.effects} for c in (self.a, self.b))
        return [(name, left.get(name), right.get(name)) for name in dict.fromkeys([*left, *right])]

    def render(self, output: str) -> str:
        """As ``text``, ``md``, ``json`` or ``html`` (a whole page).

        Raises:
            UsageError: Another output was asked for.
        """
        made = {"text": self._text, "md": self._markdown, "json": self._json, "html": self._html}
        if output not in made:
            raise UsageError(f"--output {output}: choose one of {', '.join(made)}")
        return made[output]()

    def _text(self) -> str:
        lines = [
            f"{who}  {c.verdict}   {c.origin} ({c.pairs} pairs)" for who, c in (("A", self.a), ("B", self.b))
        ]
        if self.refusals:
            return "\n".join([*lines, "", "Not comparable:", *(f"  - {reason}" for reason in self.refusals)])
        for name, one, two in self.rows():
            lines += ["", f"  {name}", f"    A  {_words(one)}", f"    B  {_words(two)}"]
        return "\n".join([*lines, "", _NOTE])

    def _markdown(self) -> str:
        lines = [f"### {cell(self.a.title)}: two campaigns side by side", "", f"> {_NOTE}", ""]
        if self.refusals:
            return "\n".join([*lines, *(f"- {cell(reason)}" for reason in self.refusals)])
        lines += ["| metric | A | B |", "|---|---|---|"]
        lines += [
            f"| {cell(name)} | {cell(_words(one))} | {cell(_words(two))} |" for name, one, two in self.rows()
        ]
        return "\n".join(lines)

    def _json(self) -> str:
        value: dict[str, Any] = {
            "format": FORMAT,
            "kind": "description",
            "comparable": self.comparable,
            "refusals": list(self.refusals),
            "a": self.a.as_dict(),
            "b": self.b.as_dict(),
        }
        return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)

    def _html(self) -> str:
        body = [
            h("header", h("p", "meshverdict · comparison", class_="brand"), h("h1", self.a.title)),
            h("main", self._banner(), self._plots(), self._table()),
            footer(f"Made by meshverdict {__version__}: meshverdict compare {self.a.origin} {self.b.origin}"),
        ]
        return page(f"Comparison: {self.a.title}", body, live=True)

    def _banner(self) -> Html:
        reasons = h("ul", [h("li", reason) for reason in self.refusals]) if self.refusals else None
        word = "These two cannot be compared" if self.refusals else "Two campaigns side by side"
        banner = h(
            "div",
            h("p", word, class_="word"),
            h("p", _NOTE, class_="sentence"),
            reasons,
            class_="verdict unsure",
        )
        return h("section", banner, id="verdict")

    def _plots(self) -> Html | None:
        if self.refusals:
            return None
        figures = [
            h(
                "figure",
                h("figcaption", h("span", f"{who}: {c.origin} ({c.pairs} pairs)", class_="chart-title")),
                h(
                    "div",
                    forest(c.effects, c.margin),
                    class_="scroll graph-box",
                    tabindex="0",
                    role="group",
                    aria_label=who,
                ),
                class_="figure",
            )
            for who, c in (("A", self.a), ("B", self.b))
        ]
        return section("effects", "Effects", "With the treatment over without it, in each campaign.", figures)

    def _table(self) -> Html | None:
        if self.refusals:
            return None
        rows = [
            h("tr", h("th", name, scope="row"), _cells(one), _cells(two)) for name, one, two in self.rows()
        ]
        head = ("metric", "A", "verdict", "B", "verdict")
        return section("table", "In figures", None, table(head, rows, caption="Effects of both campaigns"))


def compare_campaigns(a: Campaign, b: Campaign) -> CampaignComparison:
    """Compare two campaigns that were judged."""
    refusals = [f"{who}: {c.invalid}" for who, c in (("A", a), ("B", b)) if c.verdict == "invalid"]
    if a.title != b.title:
        refusals.append(f"different experiments: A is “{a.title}”, B is “{b.title}”")
    if a.primary != b.primary:
        refusals.append(f"different primary metrics: {a.primary} and {b.primary}")
    return CampaignComparison(a, b, tuple(refusals))


def _words(effect: Effect | None) -> str:
    return NOTHING if effect is None else f"{ratio(effect.ratio)}{bounds(effect)}, {effect.verdict}"


def _cells(effect: Effect | None) -> list[Html]:
    if effect is None:
        return [h("td", NOTHING), h("td", NOTHING)]
    return [
        h("td", f"{ratio(effect.ratio)}{bounds(effect)}"),
        h("td", chip(effect.verdict, _TONES[effect.word])),
    ]
