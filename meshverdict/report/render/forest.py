"""A forest plot: the effect on each metric with its interval, on one log axis, around the line of no effect."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from meshverdict.report.render.html import Html, h
from meshverdict.report.render.parts import NOTHING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshverdict.analysis.verdict import Effect
    from meshverdict.report.render.drawing import Place

WIDTH: Final = 960
LEFT, RIGHT, TOP, ROW = 220, 262, 34, 40
_TICKS: Final = (0.1, 0.2, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.25, 1.5, 2.0, 5.0, 10.0)
_LIMIT: Final = math.log(20)


def forest(effects: Sequence[Effect], margin: float) -> Html:
    """The plot of some effects; those without an interval show their pairs alone."""
    reach = _reach(effects, margin)
    height = TOP + ROW * len(effects) + 34
    bottom = height - 30

    def at(log_ratio: float) -> float:
        share = (max(-reach, min(reach, log_ratio)) + reach) / (2 * reach)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    low, high = at(-math.log1p(margin)), at(math.log1p(margin))
    ticks = [tick for tick in _TICKS if abs(math.log(tick)) <= reach and _far_apart(tick, reach)]
    return h(
        "svg",
        h("rect", x=low, y=TOP - 8, width=round(high - low, 1), height=bottom - TOP + 8, class_="margin"),
        h("line", x1=at(0), x2=at(0), y1=TOP - 8, y2=bottom, class_="unity"),
        [
            h(
                "g",
                h("line", x1=at(math.log(t)), x2=at(math.log(t)), y1=bottom, y2=bottom + 4, class_="grid"),
                h("text", f"\u00d7{t:g}", x=at(math.log(t)), y=bottom + 18, class_="tick x"),
            )
            for t in ticks
        ],
        h("text", "less with the treatment", x=at(0) - 10, y=14, class_="tick side-left"),
        h("text", "more with the treatment", x=at(0) + 10, y=14, class_="tick side-right"),
        [_row(effect, TOP + 14 + ROW * i, at, reach) for i, effect in enumerate(effects)],
        viewBox=f"0 0 {WIDTH} {height}",
        role="img",
        aria_label="Effect on each metric. " + ". ".join(words(effect) for effect in effects),
        class_="forest",
    )


def words(effect: Effect) -> str:
    """An effect in a sentence.

    >>> from meshverdict.analysis.verdict import Effect
    >>> words(Effect("p50", True, "differs", 1.1, 1.05, 1.15, 0.01, 0.03, 0.05, ()))
    'p50: \u00d71.10 (\u00d71.05 to \u00d71.15), differs'
    """
    return f"{effect.metric}: {ratio(effect.ratio)}{bounds(effect)}, {effect.verdict}"


def ratio(value: float) -> str:
    """A ratio as it is printed."""
    return NOTHING if math.isnan(value) else f"\u00d7{value:.2f}" if value < 100 else f"\u00d7{value:.0f}"


def bounds(effect: Effect) -> str:
    """An interval as it is printed; nothing where there is none."""
    if effect.word == "invalid":
        return ""
    if math.isinf(effect.high):
        return " (no interval)"
    return f" ({ratio(effect.low)} to {ratio(effect.high)})"


def _row(effect: Effect, y: float, place: Place, reach: float) -> Html:
    tone = {"differs": "error", "equivalent": "after", "undecided": "other"}.get(effect.word, "before")
    drawn: list[Html] = [
        h("circle", cx=place(math.log(value)), cy=y, r=2.5, class_="pair")
        for value in effect.ratios
        if value > 0 and math.isfinite(value)
    ]
    if effect.word != "invalid":
        low = math.log(effect.low) if effect.low > 0 else -reach
        high = math.log(effect.high) if math.isfinite(effect.high) else reach
        drawn.append(h("line", x1=place(low), x2=place(high), y1=y, y2=y, class_=f"whisker {tone}"))
    if effect.ratios and abs(math.log(effect.ratio)) > reach:
        x = place(reach if effect.ratio > 1 else -reach)
        drawn = [h("text", "▸" if effect.ratio > 1 else "◂", x=x, y=y, class_=f"beyond {tone}")]
    elif effect.ratios:
        size = 6 if effect.primary else 4.5
        x = place(math.log(effect.ratio))
        drawn.append(
            h("rect", x=x - size, y=y - size, width=2 * size, height=2 * size, class_=f"point {tone}")
        )
    return h(
        "g",
        h("title", words(effect)),
        h("text", effect.metric, x=0, y=y + 4, class_="metric primary" if effect.primary else "metric"),
        drawn,
        h("text", f"{ratio(effect.ratio)}{bounds(effect)}", x=WIDTH - RIGHT + 14, y=y - 3, class_="tick"),
        h("text", effect.verdict, x=WIDTH - RIGHT + 14, y=y + 13, class_=f"verdict-word {tone}"),
    )


def _reach(effects: Sequence[Effect], margin: float) -> float:
    """How far the axis goes to each side, in logs; what is beyond it is drawn as an arrow at its end.

    Effects beyond a factor of two do not count, unless there are no others: they would flatten the rest.
    """
    near = [e for e in effects if e.ratios and abs(math.log(e.ratio)) <= math.log(2)]
    ends = [
        abs(math.log(value))
        for effect in near or effects
        for value in (effect.low, effect.high, *effect.ratios)
        if 0 < value < math.inf
    ]
    return min(_LIMIT, max([*ends, 2 * math.log1p(margin)]) * 1.1)


def _far_apart(tick: float, reach: float) -> bool:
    """Leave out ticks whose labels would touch: small steps only on a narrow axis."""
    if reach > 1.2:
        return tick in {0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0}
    if reach > 0.45:
        return tick in {0.5, 0.7, 1.0, 1.5, 2.0}
    return reach <= 0.25 or tick not in {0.95, 1.05}
