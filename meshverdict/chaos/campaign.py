"""Run an experiment again and again, in interleaved pairs with and without its treatment.

Each run is a plain ``chaos run`` of its own, with the arm, the pair and the seed in its environment, on a lab
of its own unless one is up. What is done is read from the run folders, so a campaign that was interrupted
goes on where it was when the same command is typed again.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from meshverdict.analysis.campaign import (
    GIVE_UP_AFTER,
    Done,
    Slot,
    StopRule,
    gives_up,
    minutes_left,
    plan,
    remaining,
)
from meshverdict.analysis.permutation import MIN_PAIRS
from meshverdict.chaos.announced import read_document
from meshverdict.chaos.child import chaos_run, held
from meshverdict.chaos.experiment_file import numbers, planned_seconds, seconds_of
from meshverdict.chaos.files import Source, reports_folder
from meshverdict.model.errors import LabError, UsageError
from meshverdict.report.campaign import PLAN_FORMAT, Campaign
from meshverdict.report.files import EARLIER, PLAN_FILE, judge_campaign, pair_folders

LOCK: Final = ".campaign.lock"
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
        look_after: Look once after this many pairs, and stop there if the primary metric differs clearly.
        lab: Name of the lab; by default the environment's.
        seconds: What is left of the time: a run that is still under way then is interrupted, and none is begun later.
    """

    experiment: Path
    pairs: int
    seed: int
    variables: Mapping[str, str] = field(default_factory=dict)
    reports: Path | None = None
    look_after: int | None = None
    lab: str | None = None
    seconds: float | None = None

    @property
    def folder(self) -> Path:
        """Where the campaign's run folders are."""
        root = self.reports or reports_folder(Source(self.experiment), os.environ)
        return root / self.experiment.stem

    def as_dict(self) -> dict[str, Any]:
        """What makes a campaign the same one when its command is typed again."""
        digest = hashlib.sha256(self.experiment.read_bytes()).hexdigest()
        early = {} if self.look_after is None else {"look_after": self.look_after}
        return {
            "format": PLAN_FORMAT,
            "experiment": {"file": self.experiment.name, "sha256": digest},
            "pairs": self.pairs,
            "seed": self.seed,
            "variables": dict(self.variables),
            **early,
        }

    def refuse_nonsense(self) -> None:
        """Refuse numbers that cannot be meant.

        Raises:
            UsageError: Naming the option.
        """
        if self.pairs < 1:
            raise UsageError(
                f"--pairs {self.pairs}: at least 1; {MIN_PAIRS} are the least that can be judged, plan 8 to 12"
            )
        if self.look_after is None:
            return
        least = StopRule(self.look_after).least_pairs
        if not least <= self.look_after < self.pairs:
            raise UsageError(
                f"--look-after {self.look_after}: at least {least}, since fewer pairs cannot pass the early look's"
                f" level, and fewer than --pairs {self.pairs}"
            )


def run_campaign(wanted: CampaignPlan, progress: Callable[[str], None]) -> Campaign:
    """Make the runs that are still missing, and judge them all.

    Raises:
        UsageError: The experiment, or a number of pairs, is wrong.
        LabError: Runs cannot be made here (three in a row were unusable), or somebody else makes them.
        KeyboardInterrupt: Somebody interrupted it; the run under way has been rolled back.
    """
    wanted.refuse_nonsense()
    wanted.folder.mkdir(parents=True, exist_ok=True)
    with held(wanted.folder / LOCK, progress) as lock:
        _take_up(wanted, progress)
        try:
            _make_runs(wanted, progress, lock)
        except KeyboardInterrupt:
            left = len(remaining(plan(wanted.pairs, wanted.seed), _done(wanted.folder)))
            progress(
                f"interrupted: the run under way was rolled back, and {2 * wanted.pairs - left} of"
                f" {2 * wanted.pairs} runs are made; type the same command to go on"
            )
            raise
    return judge_campaign(wanted.folder)


def _make_runs(wanted: CampaignPlan, progress: Callable[[str], None], lock: int) -> None:
    planned = plan(wanted.pairs, wanted.seed)
    end = None if wanted.seconds is None else time.monotonic() + wanted.seconds
    seconds: list[float] = []
    fresh: list[Done] = []
    while to_do := remaining(planned, _done(wanted.folder)):
        if judge_campaign(wanted.folder, missing_is_empty=True).stopped_early:
            progress(f"stopped after {wanted.look_after} pairs by the rule fixed beforehand")
            return
        slot = to_do[0] if not fresh else _next(to_do, fresh[-1])
        left = minutes_left(to_do, seconds, expected_s(wanted))
        place = f"pair {slot.pair} of {wanted.pairs}, {slot.arm}"
        progress(f"{place}; {len(to_do)} runs to make, about {left:.0f} min left")
        begun = time.monotonic()
        if end is not None and begun >= end:
            raise LabError(f"{place}: its time is over; `meshverdict run` goes on with it")
        try:
            folder = run_once(
                wanted.experiment,
                wanted.variables,
                slot=slot,
                reports=wanted.reports,
                lab=wanted.lab,
                lock=lock,
                seconds=None if end is None else end - begun,
            )
        except LabError as error:
            if not any(run.valid for run in fresh):
                raise  # it never worked, so trying again is no help
            progress(f"{place}: {error}")
            fresh.append(Done(slot.pair, slot.arm, valid=False))
        else:
            seconds.append(time.monotonic() - begun)
            unusable = _unusable(wanted.folder, folder)
            if unusable:
                progress(f"{place}: not usable, so its pair is made again: {'; '.join(unusable)}")
            fresh.append(Done(slot.pair, slot.arm, valid=not unusable))
        if gives_up(fresh):
            raise LabError(
                f"{place}: the last {GIVE_UP_AFTER} runs were unusable (see {wanted.folder}); quieten the machine,"
                " then type the same command to go on"
            )


def run_once(
    experiment: Path,
    variables: Mapping[str, str],
    *,
    slot: Slot | None = None,
    seed: int | None = None,
    reports: Path | None = None,
    lab: str | None = None,
    lock: int | None = None,
    seconds: float | None = None,
) -> Path:
    """One ``chaos run``; returns its run folder.

    Args:
        experiment: Its file.
        variables: ``--var`` values.
        slot: The run's place in a campaign.
        seed: Of the arrivals, where there is no slot.
        reports: Folder of all reports; by default beside the experiment's folder.
        lab: Name of the lab; by default the environment's.
        lock: A file descriptor that the run keeps open until its end.
        seconds: After so long it is interrupted, and rolls back; its run folder says so.

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
        began = time.monotonic()
        status = chaos_run([*journal, *given, str(experiment)], environment, lock=lock, seconds=seconds)
        if not told.is_file() and seconds is not None and time.monotonic() - began >= seconds:
            raise LabError(
                f"interrupted after {seconds:.0f} s, when the time was over, before there was anything to keep"
            )
        if not told.is_file():
            raise LabError(
                f"`chaos run {experiment}` ended with status {status} and wrote no run folder; "
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
    made = [path for path, _, _ in pair_folders(folder)]
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
    campaign = judge_campaign(folder, missing_is_empty=True)
    return [Done(line.pair, line.arm, valid=not line.unusable) for line in campaign.runs]


def _unusable(campaign: Path, run: Path) -> tuple[str, ...]:
    """Why the run cannot be used; empty when it can."""
    lines = [line for line in judge_campaign(campaign).runs if Path(line.origin).name == run.name]
    if not lines:
        return (f"{run} is not in the campaign's folder",)
    return lines[0].unusable


def _next(to_do: Sequence[Slot], last: Done) -> Slot:
    """The other arm of the pair just begun comes first; a pair's runs are neighbours in time."""
    other = [slot for slot in to_do if slot.pair == last.pair and slot.arm != last.arm]
    return other[0] if other and last.valid else to_do[0]


def expected_s(wanted: CampaignPlan) -> float:
    """What one run is planned to take, from the experiment's own pauses and durations."""
    experiment = read_document(wanted.experiment)
    declared = experiment.get("configuration") or {}
    values = {**declared, **numbers(declared, wanted.variables)}
    return planned_seconds(experiment, values) + seconds_of(values.get("baseline_s"), values) + _OVERHEAD_S
