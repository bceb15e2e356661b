"""All experiments, one campaign each: what `meshverdict verdict` runs, with its price in minutes known first."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from meshverdict.chaos.campaign import CampaignPlan, expected_s, run_campaign, run_once
from meshverdict.chaos.experiment_file import EXTENSION
from meshverdict.model.errors import LabError, UsageError
from meshverdict.report.files import write_report

QUICK_S: Final = 540.0
FULL_PAIRS: Final = 8


@dataclass(frozen=True, slots=True)
class SuitePlan:
    """What is run: the experiments, and pairs for each; 0 pairs are one run with the treatment alone."""

    experiments: tuple[Path, ...]
    pairs: int
    seconds: float
    quick: bool = False
    lab: str | None = None

    @property
    def words(self) -> str:
        """The plan and its price in one line."""
        each = f"{self.pairs} pair{'s' * (self.pairs > 1)} each" if self.pairs else "one run each"
        return f"{len(self.experiments)} experiments, {each}: about {self.seconds / 60:.0f} minutes"


def suite_plan(folder: Path, *, quick: bool, seed: int, reports: Path, lab: str | None = None) -> SuitePlan:
    """The experiments of *folder*, and how often each fits into the time.

    Raises:
        UsageError: There is no experiment in the folder.
    """
    files = tuple(sorted(folder.glob("*.json")))
    if not files:
        raise UsageError(f"{folder}: no experiment in it")
    each = [CampaignPlan(file, 1, seed, quick_values(file) if quick else {}, reports) for file in files]
    once = sum(map(expected_s, each))
    if not quick:
        return SuitePlan(files, FULL_PAIRS, once * 2 * FULL_PAIRS, lab=lab)
    pairs = min(FULL_PAIRS, int(QUICK_S // (2 * once)))
    return SuitePlan(files, pairs, once * max(1, 2 * pairs), quick=True, lab=lab)


def quick_values(file: Path) -> dict[str, str]:
    """The ``quick`` variables that the experiment's extension declares: shorter phases, as a rule."""
    extensions = json.loads(file.read_text()).get("extensions") or ()
    found = next((e.get("quick") for e in extensions if e.get("name") == EXTENSION), None) or {}
    return {str(name): str(value) for name, value in found.items()}


def run_suite(plan: SuitePlan, *, seed: int, reports: Path, progress: Callable[[str], None]) -> Sequence[str]:
    """Run the plan; an experiment that cannot be measured does not keep the others from it.

    Returns:
        What could not be measured, and why.
    """
    failed = []
    for number, file in enumerate(plan.experiments, 1):
        progress(f"experiment {number} of {len(plan.experiments)}: {file.stem}")
        values = quick_values(file) if plan.quick else {}
        try:
            if plan.pairs:
                wanted = CampaignPlan(file, plan.pairs, seed, values, reports, lab=plan.lab)
                write_report(Path(run_campaign(wanted, progress).origin))
            else:
                run_once(file, values, seed=seed, reports=reports, lab=plan.lab)
        except LabError as error:
            failed.append(f"{file.stem}: {error}")
            progress(f"{file.stem} could not be measured: {error}")
    return failed
