"""The plan of a campaign, fixed before its first run: which arm when, which arrivals, when to stop early.

Pure: it answers what comes next from what is done, so a campaign that was killed goes on where it was.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from meshverdict.analysis.permutation import LEVEL, p_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Arm = Literal["treatment", "control"]
TREATMENT: Final = "treatment"
CONTROL: Final = "control"
GIVE_UP_AFTER = 3


@dataclass(frozen=True, slots=True)
class Slot:
    """One run of the plan.

    Attributes:
        pair: From 1.
        arm: With or without the treatment.
        seed: Seed of the arrivals: the same for both arms of a pair.
    """

    pair: int
    arm: Arm
    seed: int


@dataclass(frozen=True, slots=True)
class Done:
    """A run that was made: whether it may be used."""

    pair: int
    arm: Arm
    valid: bool


@dataclass(frozen=True, slots=True)
class StopRule:
    """One look before the end, paid for by the level of the end.

    After *after* pairs the campaign stops when the primary metric's p is at most *spend*; otherwise it runs
    to its end and is judged at LEVEL - spend. The levels add up to LEVEL: looking costs no false alarms.

    Source: Bonferroni's inequality, the plainest form of alpha spending (K. K. G. Lan, D. L. DeMets, 1983).
    """

    after: int
    spend: float = 0.01

    @property
    def final_level(self) -> float:
        """The level of the judgement at the end."""
        return LEVEL - self.spend

    @property
    def least_pairs(self) -> int:
        """The fewest pairs whose p can be as small as *spend*: the least p of n pairs is 2 / 2^n."""
        return math.ceil(math.log2(2 / self.spend))

    def stops(self, differences: Sequence[float]) -> bool:
        """Whether the campaign may stop now.

        Args:
            differences: The primary metric's log ratios of the pairs so far, in the order of the plan.
        """
        if len(differences) != self.after:
            return False
        return p_value(np.asarray(differences, dtype=np.float64)) <= self.spend


def plan(pairs: int, seed: int) -> tuple[Slot, ...]:
    """The order of a campaign's runs: for each pair a coin decides which arm comes first.

    The coin is what makes drift harmless and the sign-flip test exact.

    Args:
        pairs: How many.
        seed: Of the coins and of the arrivals.
    """
    coins = np.random.default_rng([seed, 1]).integers(0, 2, size=pairs)
    seeds = np.random.default_rng([seed, 2]).integers(1, 2**31, size=pairs)
    slots: list[Slot] = []
    for at in range(pairs):
        arms: tuple[Arm, Arm] = (TREATMENT, CONTROL) if coins[at] else (CONTROL, TREATMENT)
        slots += [Slot(at + 1, arm, int(seeds[at])) for arm in arms]
    return tuple(slots)


def remaining(planned: Sequence[Slot], done: Iterable[Done]) -> tuple[Slot, ...]:
    """What is still to run, in the plan's order.

    A pair with only one usable run is made again as a whole: its runs must be neighbours in time.
    """
    usable = {(run.pair, run.arm) for run in done if run.valid}
    whole = {slot.pair for slot in planned if {(slot.pair, TREATMENT), (slot.pair, CONTROL)} <= usable}
    return tuple(slot for slot in planned if slot.pair not in whole)


def gives_up(done: Sequence[Done]) -> bool:
    """Whether the last runs were all unusable: the machine is too busy, and more of the same is no help."""
    return len(done) >= GIVE_UP_AFTER and not any(run.valid for run in done[-GIVE_UP_AFTER:])


def minutes_left(slots: Sequence[Slot], seconds_each: Sequence[float], expected_s: float) -> float:
    """Time left, from the runs so far (their median), else from what one run is expected to take."""
    each = float(np.median(seconds_each)) if len(seconds_each) else expected_s
    return len(slots) * each / 60 if math.isfinite(each) else math.inf
