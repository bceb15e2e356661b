"""Run an experiment again and again, in interleaved pairs with and without its treatment.

Each run is a plain ``chaos run`` of its own, with the arm, the pair and the seed in its environment, on a lab
of its own unless one is up. What is done is read from the run folders, so a campaign that was interrupted
goes on where it was when the same command is typed again.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from meshverdict.analysis.campaign import Done, Slot, gives_up, minutes_left, plan, remaining
from meshverdict.chaos.experiment_file import numbers, planned_seconds
from meshverdict.chaos.files import Source, reports_folder
from meshverdict.model.errors import LabError, UsageError
from meshverdict.report.campaign import Campaign, assess
from meshverdict.report.files import read_campaign

FORMAT: Final = "campaign-plan/1"
PLAN_FILE: Final = "campaign.json"
EARLIER: Final = "earlier"
_OVERHEAD_S: Final = 10.0  # start of lab and chaos, pictures before and after
# What a person may have exported for single runs, and what would change the plan.
_OWN: Final = ("MESHVERDICT_ARM", "MESHVERDICT_PAIR", "MESHVERDICT_SEED", "MESHVERDICT_TELL")


@dataclass(frozen=True, slots=True)
class CampaignPlan:
    """What was asked for, fixed before the first run.

    Attributes:
        experiment: The experiment's file.
        pairs: How many pairs; 6 are the least that can reach p < 0.05.
        seed: Of the order of the arms and of the arrivals.
        variables: ``--var`` values.
        reports: Folder of all reports.
    """

    experiment: Path
    pairs: int
    seed: int
    variables: Mapping[str, str] = field(default_factory=dict)
    reports: Path | None = None

    @property
    def folder(self) -> Path:
        """Where the campaign's run folders are."""
        root = self.reports or reports_folder(Source(self.experiment), os.environ)
        return root / self.experiment.stem

    def as_dict(self) -> dict[str, Any]:
        """What makes a campaign the same one when its command is typed again."""
        digest = hashlib.sha256(self.experiment.read_bytes()).hexdigest()
        return {
            "format": FORMAT,
            "experiment": {"file": self.experiment.name, "sha256": digest},
            "pairs": self.pairs,
            "seed": self.seed,
            "variables": dict(self.variables),
        }


def run_campaign(wanted: CampaignPlan, progress: Callable[[str], None]) -> Campaign:
    """Make the runs that are still missing, and judge them all.

    Raises:
        UsageError: The experiment or the number of pairs is wrong.
        LabError: Runs cannot be made here (three in a row were unusable).
    """
    if wanted.pairs < 1:
        raise UsageError(
            f"--pairs {wanted.pairs}: at least 1; 6 are the least that can be judged, plan 8 to 12"
        )
    _take_up(wanted, progress)
    planned = plan(wanted.pairs, wanted.seed)
    seconds: list[float] = []
    fresh: list[Done] = []
    while to_do := remaining(planned, _done(wanted.folder)):
        slot = to_do[0] if not fresh else _next(to_do, fresh[-1])
        left = minutes_left(to_do, seconds, expected_s(wanted))
        place = f"pair {slot.pair} of {wanted.pairs}, {slot.arm}"
        progress(f"{place}; {len(to_do)} runs to make, about {left:.0f} min left")
        begun = time.monotonic()
        folder = run_once(wanted.experiment, wanted.variables, slot=slot, reports=wanted.reports)
        seconds.append(time.monotonic() - begun)
        fresh.append(Done(slot.pair, slot.arm, valid=_usable(wanted.folder, folder)))
        if gives_up(fresh):
            raise LabError(
                f"{place}: the last {len(fresh[-3:])} runs were unusable (see {folder}); quieten the machine, then "
                "type the same command to go on"
            )
    return assess(read_campaign(wanted.folder), origin=str(wanted.folder))


def run_once(
    experiment: Path,
    variables: Mapping[str, str],
    *,
    slot: Slot | None = None,
    seed: int | None = None,
    reports: Path | None = None,
    lab: str | None = None,
) -> Path:
    """One ``chaos run``; returns its run folder.

    Args:
        experiment: Its file.
        variables: ``--var`` values.
        slot: The run's place in a campaign.
        seed: Of the arrivals, where there is no slot.
        reports: Folder of all reports; by default beside the experiment's folder.
        lab: Name of the lab; by default the environment's.

    Raises:
        LabError: It wrote no run folder; its own messages say why.
    """
    with tempfile.TemporaryDirectory() as scratch:
        told = Path(scratch) / "run-folder"
        environment = {k: v for k, v in os.environ.items() if k not in _OWN}
        environment["MESHVERDICT_TELL"] = str(told)
        if lab is not None:
            environment["MESHVERDICT_LAB"] = lab
        if reports is not None:
            environment["MESHVERDICT_REPORTS"] = str(reports)
        if slot is not None:
            environment |= {"MESHVERDICT_ARM": slot.arm, "MESHVERDICT_PAIR": str(slot.pair)}
        number = slot.seed if slot is not None else seed
        if number is not None:
            environment["MESHVERDICT_SEED"] = str(number)
        given = [word for name, value in variables.items() for word in ("--var", f"{name}={value}")]
        journal = ["--journal-path", str(Path(scratch) / "journal.json")]
        argv = [sys.executable, "-m", "chaostoolkit", "--no-version-check", "run", *journal, *given]
        # Its words are for the person who waits; standard output is for the answer alone.
        finished = subprocess.run([*argv, str(experiment)], env=environment, stdout=sys.stderr, check=False)
        if not told.is_file():
            raise LabError(
                f"`chaos run {experiment}` ended with status {finished.returncode} and wrote no run folder; "
                "its messages are above"
            )
        return Path(told.read_text().strip())


def _take_up(wanted: CampaignPlan, progress: Callable[[str], None]) -> None:
    """Go on with the campaign in the folder if it is this one; put another one aside."""
    folder, file = wanted.folder, wanted.folder / PLAN_FILE
    identity = wanted.as_dict()
    try:
        known = json.loads(file.read_text())
    except (FileNotFoundError, ValueError):
        known = None
    made = [p for p in folder.glob("*-pair*") if p.is_dir()] if folder.is_dir() else []
    if known == identity:
        if made:
            progress(f"going on with the campaign in {folder}, {len(made)} runs are made")
        return
    if made:
        aside = folder / EARLIER / time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        aside.mkdir(parents=True)
        for path in (*made, *([file] if known is not None else [])):
            path.rename(aside / path.name)
        progress(f"{len(made)} runs of another campaign were put aside in {aside}")
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(identity, indent=2) + "\n")


def _done(folder: Path) -> list[Done]:
    """What the run folders say."""
    if not any(folder.glob("*-pair*")):
        return []
    campaign = assess(read_campaign(folder), origin=str(folder))
    return [Done(line.pair, line.arm, valid=line.word != "INVALID") for line in campaign.runs]


def _usable(campaign: Path, run: Path) -> bool:
    lines = assess(read_campaign(campaign), origin=str(campaign)).runs
    return any(Path(line.origin).name == run.name and line.word != "INVALID" for line in lines)


def _next(to_do: Sequence[Slot], last: Done) -> Slot:
    """The other arm of the pair just begun comes first; a pair's runs are neighbours in time."""
    other = [slot for slot in to_do if slot.pair == last.pair and slot.arm != last.arm]
    return other[0] if other and last.valid else to_do[0]


def expected_s(wanted: CampaignPlan) -> float:
    """What one run is planned to take, from the experiment's own pauses and durations."""
    experiment = json.loads(wanted.experiment.read_text())
    declared = experiment.get("configuration") or {}
    values = {**declared, **numbers(declared, wanted.variables)}
    return planned_seconds(experiment, values) + float(values.get("baseline_s", 0)) + _OVERHEAD_S
