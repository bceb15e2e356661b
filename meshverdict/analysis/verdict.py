"""Numbers into one of four verdicts, and nothing else, in words that mean the same on every page."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from meshverdict.analysis.maxt import adjusted_p, simultaneous_intervals
from meshverdict.analysis.mde import minimum_detectable_effect
from meshverdict.analysis.permutation import LEVEL, MIN_PAIRS, Floats, interval, p_value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Word = Literal["differs", "equivalent", "undecided", "invalid"]
DEFAULT_MARGIN: Final = 0.05


@dataclass(frozen=True, slots=True)
class Effect:
    """The effect of a treatment on one metric, and what may be said about it.

    Attributes:
        metric: Its name.
        primary: Whether it was declared beforehand as the one that decides.
        word: The verdict's first word.
        ratio: Treatment over control, geometric mean of the pairs.
        low: Lower bound of the 95 % interval on the ratio (simultaneous for metrics that are not primary).
        high: Upper bound.
        p: Sign-flip p; family-wise for metrics that are not primary.
        could_see: Smallest effect that would have been found with 80 % power, as a share: 0.05 is 5 %.
        margin: Equivalence margin, as a share.
        ratios: The pairs' own ratios.
        reason: Why it is invalid; empty otherwise.
    """

    metric: str
    primary: bool
    word: Word
    ratio: float
    low: float
    high: float
    p: float
    could_see: float
    margin: float
    ratios: tuple[float, ...]
    reason: str = ""

    @property
    def verdict(self) -> str:
        """The verdict as it is printed, always one of four.

        ``differs``; ``equivalent within +-5 %``; ``undecided: could have seen >= 7 %``; ``invalid``.
        """
        if self.word == "equivalent":
            return f"equivalent within +-{percent(self.margin)}"
        if self.word == "undecided":
            return f"undecided: could have seen >= {percent(self.could_see)}"
        return self.word


def percent(share: float) -> str:
    """A share as whole percent, rounded up, with one digit below ten.

    >>> percent(0.05), percent(0.0312), percent(0.117), percent(math.inf)
    ('5 %', '3.2 %', '12 %', 'inf %')
    """
    value = 100 * share
    if not math.isfinite(value):
        return "inf %"
    rounded = math.ceil(value * 10 - 1e-6) / 10 if value < 10 else math.ceil(value - 1e-6)
    return f"{rounded:g} %"


def judge(
    differences: Mapping[str, Sequence[float]],
    *,
    primary: str,
    margin: float = DEFAULT_MARGIN,
    level: float = LEVEL,
    invalid: str = "",
) -> tuple[Effect, ...]:
    """The effects of a campaign, the primary metric first.

    The primary metric is judged alone; the others share one level by max-T.

    Args:
        differences: Log ratio (treatment over control) per pair, by metric. Pairs are in one order for all.
        primary: The metric that was declared beforehand.
        margin: Equivalence margin, as a share: 0.05 asks whether the ratio lies in [1/1.05, 1.05].
        level: 1 - confidence.
        invalid: Why the campaign must not be judged at all; empty when it may be.

    Raises:
        KeyError: The primary metric has no differences.
    """
    others = [name for name in differences if name != primary]
    alone = np.asarray(differences[primary], dtype=np.float64)
    reason = invalid or too_few(len(alone))
    if reason:
        return tuple(
            _described(name, np.asarray(differences[name], dtype=np.float64), primary, margin, reason)
            for name in (primary, *others)
        )
    first = _effect(primary, alone, interval(alone, level), p_value(alone), margin, level=level, primary=True)
    if not others:
        return (first,)
    family = np.column_stack([np.asarray(differences[name], dtype=np.float64) for name in others])
    bounds, ps = simultaneous_intervals(family, level), adjusted_p(family)
    rest = (
        _effect(name, family[:, at], bounds[at], float(ps[at]), margin, level=level, primary=False)
        for at, name in enumerate(others)
    )
    return (first, *rest)


def _effect(
    metric: str,
    column: Floats,
    bounds: tuple[float, float],
    p: float,
    margin: float,
    *,
    level: float,
    primary: bool,
) -> Effect:
    low, high = bounds
    inside = math.log1p(margin)
    word: Word = "undecided"
    if low > 0 or high < 0:
        word = "differs"
    elif -inside <= low and high <= inside:
        word = "equivalent"
    # The wider, simultaneous interval also sees less.
    mde = max(minimum_detectable_effect(column, level), 0.0 if primary else (high - low) / 2)
    return Effect(
        metric=metric,
        primary=primary,
        word=word,
        ratio=math.exp(float(column.mean())),
        low=_exp(low),
        high=_exp(high),
        p=p,
        could_see=_exp(mde) - 1,
        margin=margin,
        ratios=tuple(_exp(float(d)) for d in column),
    )


def _described(metric: str, column: Floats, primary: str, margin: float, reason: str) -> Effect:
    return Effect(
        metric=metric,
        primary=metric == primary,
        word="invalid",
        ratio=math.exp(float(column.mean())) if len(column) else math.nan,
        low=0.0,
        high=math.inf,
        p=1.0,
        could_see=math.inf,
        margin=margin,
        ratios=tuple(_exp(float(d)) for d in column),
        reason=reason,
    )


def too_few(pairs: int) -> str:
    """Why so few pairs are not judged; empty when they are enough."""
    if pairs >= MIN_PAIRS:
        return ""
    return f"{pairs} usable pairs: fewer than {MIN_PAIRS} are described, not judged"


def _exp(value: float) -> float:
    return math.inf if value > 700 else math.exp(value)
