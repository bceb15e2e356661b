"""All experiments, one campaign each: what `meshverdict verdict` runs, with its price in minutes known first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from meshverdict.chaos.campaign import CampaignPlan, expected_s, run_campaign, run_once
from meshverdict.model.errors import LabError, UsageError
from meshverdict.report.files import write_report

QUICK_S: Final = 540.0
FULL_PAIRS: Final = 8
QUICK_PAIRS: Final = 2


@dataclass(frozen=True, slots=True)
class SuitePlan:
    """What is run: the experiments, and pairs for each; 0 pairs are one run with the treatment alone."""

    experiments: tuple[Path, ...]
    pairs: int
    seconds: float

    @property
    def words(self) -> str:
        """The plan and its price in one line."""
        each = f"{self.pairs} pair{'s' * (self.pairs > 1)} each" if self.pairs else "one run each"
        return f"{len(self.experiments)} experiments, {each}: about {self.seconds / 60:.0f} minutes"


def suite_plan(folder: Path, *, quick: bool, seed: int, reports: Path) -> SuitePlan:
    """The experiments of *folder*, and how often each fits into the time.

    Raises:
        UsageError: There is no experiment in the folder.
    """
    files = tuple(sorted(folder.glob("*.json")))
    if not files:
        raise UsageError(f"{folder}: no experiment in it")
    once = sum(expected_s(CampaignPlan(file, 1, seed, {}, reports)) for file in files)
    if not quick:
        return SuitePlan(files, FULL_PAIRS, once * 2 * FULL_PAIRS)
    pairs = min(QUICK_PAIRS, int(QUICK_S // (2 * once)))
    return SuitePlan(files, pairs, once * max(1, 2 * pairs))


def run_suite(plan: SuitePlan, *, seed: int, reports: Path, progress: Callable[[str], None]) -> Sequence[str]:
    """Run the plan; an experiment that cannot be measured does not keep the others from it.

    Returns:
        What could not be measured, and why.
    """
    failed = []
    for number, file in enumerate(plan.experiments, 1):
        progress(f"experiment {number} of {len(plan.experiments)}: {file.stem}")
        try:
            if plan.pairs:
                campaign = run_campaign(CampaignPlan(file, plan.pairs, seed, {}, reports), progress)
                write_report(Path(campaign.origin))
            else:
                run_once(file, {}, seed=seed, reports=reports)
        except LabError as error:
            failed.append(f"{file.stem}: {error}")
            progress(f"{file.stem} could not be measured: {error}")
    return failed
