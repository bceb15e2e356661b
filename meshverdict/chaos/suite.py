"""All experiments, one campaign each: what `meshverdict verdict` runs, with its price in minutes known first.

The quick form has an end: an experiment that would not fit into what is left is not begun, one that takes longer than it
was planned to is interrupted and rolled back, and both are told, since a missing row would look like an answer.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from meshverdict.chaos.campaign import CampaignPlan, expected_s, run_campaign, run_once
from meshverdict.chaos.experiment_file import EXTENSION
from meshverdict.model.errors import LabError, UsageError
from meshverdict.report.claims import CLAIMS
from meshverdict.report.files import write_report

# Ten minutes from the command to the page: the rest is for rolling back what had to be interrupted, and for the page.
QUICK_S: Final = 560.0
FULL_PAIRS: Final = 8
# A lab of the suite's own: each experiment says what it must be like, and no lab can be like all of them.
LAB: Final = "verdict"


@dataclass(frozen=True, slots=True)
class Part:
    """One experiment of the suite.

    Attributes:
        file: Its file.
        pairs: How many pairs; 0 is one run with the treatment alone.
        seconds: What that is expected to take.
        values: ``--var`` values of the quick form.
    """

    file: Path
    pairs: int
    seconds: float
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SuitePlan:
    """What is run, in this order.

    Attributes:
        parts: The experiments.
        budget_s: Seconds in which all must be over; None when it may take as long as it takes.
        lab: Name of the lab; by default the environment's.
    """

    parts: tuple[Part, ...]
    budget_s: float | None = None
    lab: str | None = None

    @property
    def words(self) -> str:
        """The plan and its price in one line."""
        seconds = sum(part.seconds for part in self.parts)
        pairs = sorted({part.pairs for part in self.parts if part.pairs})
        each = f"{' or '.join(map(str, pairs))} pair{'s' * (pairs != [1])} each" if pairs else "one run each"
        if pairs and not all(part.pairs for part in self.parts):
            each += f" (one run of {sum(not part.pairs for part in self.parts)})"
        limit = f", at most {self.budget_s / 60:.0f}" if self.budget_s is not None else ""
        return f"{len(self.parts)} experiments, {each}: about {seconds / 60:.0f} minutes{limit}"


def suite_plan(folder: Path, *, quick: bool, seed: int, reports: Path, lab: str | None = None) -> SuitePlan:
    """The experiments of *folder*, those of a claim first, and how often each fits into the time.

    In the quick form the short ones come first, so that as many as possible are measured before the time is over.

    Raises:
        UsageError: There is no experiment in the folder.
    """
    found = sorted(folder.glob("*.json"), key=_place)
    # A form to be filled in measures no claim of its own, and says `suite: false`.
    files = [file for file in found if _declaration(file).get("suite", True)]
    if not files:
        raise UsageError(f"{folder}: no experiment in it")
    declared = {file: _declaration(file) for file in files}
    values = {file: quick_values(declared[file]) if quick else {} for file in files}
    once = {file: expected_s(CampaignPlan(file, 1, seed, values[file], reports)) for file in files}
    paired = [file for file in files if declared[file].get("paired", True)]
    pairs = FULL_PAIRS
    if quick:
        single = sum(once[file] for file in files if file not in paired)
        fits = (QUICK_S - single) / (2 * max(1.0, sum(once[file] for file in paired)))
        # One pair says no more than one run, and costs two.
        pairs = min(FULL_PAIRS, int(fits)) if fits >= 2 else 0
    parts = [
        Part(file, n, once[file] * max(1, 2 * n), values[file])
        for file in files
        for n in [pairs if file in paired else 0]
    ]
    if quick:
        parts.sort(key=lambda part: (_place(part.file)[0] == len(CLAIMS), part.seconds))
    return SuitePlan(tuple(parts), QUICK_S if quick else None, lab)


def _place(file: Path) -> tuple[int, str]:
    """The order of the claims; experiments of no claim come last."""
    names = [claim.experiment for claim in CLAIMS]
    return (names.index(file.stem) if file.stem in names else len(names), file.stem)


def _declaration(file: Path) -> Mapping[str, Any]:
    extensions = json.loads(file.read_text()).get("extensions") or ()
    return next((e for e in extensions if e.get("name") == EXTENSION), {})


def quick_values(declaration: Mapping[str, Any]) -> dict[str, str]:
    """The ``quick`` variables that an experiment's extension declares: shorter phases, as a rule."""
    return {str(name): str(value) for name, value in (declaration.get("quick") or {}).items()}


def run_suite(
    plan: SuitePlan,
    *,
    seed: int,
    reports: Path,
    progress: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, str]:
    """Run the plan; an experiment that cannot be measured does not keep the others from it.

    Returns:
        By experiment, why it could not be measured.
    """
    failed: dict[str, str] = {}
    end = None if plan.budget_s is None else clock() + plan.budget_s
    for number, part in enumerate(plan.parts, 1):
        name = part.file.stem
        left = None if end is None else end - clock()
        if left is not None and left < part.seconds:
            failed[name] = (
                f"not begun: {max(0.0, left):.0f} s were left, and it takes about {part.seconds:.0f} s"
            )
            progress(f"experiment {number} of {len(plan.parts)}: {name} {failed[name]}")
            continue
        progress(f"experiment {number} of {len(plan.parts)}: {name}")
        try:
            _run(part, plan, seed=seed, reports=reports, progress=progress, left=left)
        except LabError as error:
            failed[name] = str(error)
            progress(f"{name} could not be measured: {error}")
    return failed


def _run(
    part: Part,
    plan: SuitePlan,
    *,
    seed: int,
    reports: Path,
    progress: Callable[[str], None],
    left: float | None,
) -> None:
    if part.pairs:
        wanted = CampaignPlan(part.file, part.pairs, seed, part.values, reports, lab=plan.lab, seconds=left)
        write_report(Path(run_campaign(wanted, progress).origin))
    else:
        run_once(part.file, part.values, seed=seed, reports=reports, lab=plan.lab, seconds=left)
