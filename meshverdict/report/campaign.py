"""What a campaign says: its usable pairs, the effect on each metric, and the verdict of the primary one. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from meshverdict.analysis.campaign import TREATMENT, StopRule
from meshverdict.analysis.pairs import (
    CPU,
    MEAN,
    P50,
    Paired,
    PairRun,
    measures,
    none_at_all,
    pair_up,
    requests_in,
)
from meshverdict.analysis.permutation import LEVEL, MIN_PAIRS
from meshverdict.analysis.spread import spread_p
from meshverdict.analysis.usage import cpu_per_request
from meshverdict.analysis.verdict import DEFAULT_MARGIN, Effect, judge, too_few
from meshverdict.analysis.windows import SETTLE_S, Window
from meshverdict.model.errors import EXIT_DEVIATES, EXIT_HOLDS, EXIT_INVALID
from meshverdict.report.judge import HOLDS, could_not_measure, unproven, windows_of
from meshverdict.report.judge import judge as judge_run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from meshverdict.analysis.campaign import Arm
    from meshverdict.report.claims import Expectation
    from meshverdict.report.contents import RunContents

DEFAULT_PRIMARY: Final = f"case-1 {P50}"
FORMAT: Final = "campaign/1"
PLAN_FORMAT: Final = "campaign-plan/1"


@dataclass(frozen=True, slots=True)
class Planned:
    """What was fixed before the first run.

    Attributes:
        pairs: How many.
        look: The one early look; None when there is none.
    """

    pairs: int
    look: StopRule | None = None


def read_plan(value: Mapping[str, Any]) -> Planned:
    """The plan in campaign.json.

    Raises:
        ValueError: It is of another format.
        KeyError: It lacks the number of pairs.
    """
    if value["format"] != PLAN_FORMAT:
        raise ValueError(f"format {value['format']!r}; this version reads {PLAN_FORMAT!r}")
    after = value.get("look_after")
    return Planned(int(value["pairs"]), None if after is None else StopRule(int(after)))


@dataclass(frozen=True, slots=True)
class CampaignRun:
    """One run of a campaign; ``contents`` is None when it could not be read, and ``problem`` says why."""

    pair: int
    arm: Arm
    origin: str
    contents: RunContents | None
    problem: str
    has_report: bool = True


@dataclass(frozen=True, slots=True)
class RunLine:
    """One run in the list of a campaign's runs."""

    pair: int
    arm: Arm
    origin: str
    word: str
    reasons: tuple[str, ...]
    has_report: bool = True


@dataclass(frozen=True, slots=True)
class Campaign:
    """A campaign, judged.

    Attributes:
        effects: The primary metric's first; empty when there is no pair at all.
        held: Treatment runs whose claim held, and how many were usable.
        spread: p of "both arms scatter alike from run to run" for the primary metric; None when not judged.
        expect: What the experiment expects of the primary metric; None when it does not say.
        left_out: What could not be used, and why.
        invalid: Why nothing may be judged; empty otherwise.
        level: 1 - confidence of the primary metric's judgement.
        stopped_early: It ended at its early look, by the rule fixed beforehand.
        findings: What the last usable run with the treatment found, in sentences.
        none: Of metrics that some run had none of at all: how many runs without and with the treatment had none. Half a
            request stands for none, so a ratio of theirs has a direction and no size.
    """

    origin: str
    title: str
    claim: str
    experiment_file: str
    primary: str
    margin: float
    expect: Expectation | None
    pairs: int
    effects: tuple[Effect, ...]
    held: tuple[int, int]
    spread: float | None
    runs: tuple[RunLine, ...]
    left_out: tuple[str, ...]
    invalid: str
    level: float = LEVEL
    stopped_early: bool = False
    findings: tuple[str, ...] = ()
    none: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def described(self) -> bool:
        """It has whole pairs, but too few to be judged, and nothing else is wrong."""
        return 0 < self.pairs < MIN_PAIRS and self.invalid == too_few(self.pairs)

    @property
    def verdict(self) -> str:
        """The primary metric's verdict: one of four."""
        return self.effects[0].verdict if self.effects else "invalid"

    @property
    def exit_code(self) -> int:
        """0 when it does not differ, 1 when it differs, 3 when it could not be measured."""
        word = self.effects[0].word if self.effects else "invalid"
        return {"differs": EXIT_DEVIATES, "invalid": EXIT_INVALID}.get(word, EXIT_HOLDS)

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "format": FORMAT,
            "origin": self.origin,
            "title": self.title,
            "verdict": self.verdict,
            "exit": self.exit_code,
            "primary": self.primary,
            "margin": self.margin,
            "pairs": self.pairs,
            "held": {"runs": self.held[0], "of": self.held[1]},
            "spread_p": self.spread,
            "effects": [_effect(effect) for effect in self.effects],
            "left_out": list(self.left_out),
            "invalid": self.invalid,
            "level": self.level,
            "stopped_early": self.stopped_early,
            "none": {name: {"control": c, "treatment": t} for name, (c, t) in self.none.items()},
        }


def assess(runs: Sequence[CampaignRun], *, origin: str, planned: Planned | None = None) -> Campaign:
    """Judge a campaign.

    Args:
        runs: In the order in which they were made.
        origin: How to name it.
        planned: What was fixed beforehand; without it all pairs that are there are judged.
    """
    first = next((run.contents for run in runs if run.contents is not None), None)
    journal = first.journal if first else None
    primary = (journal.primary if journal else None) or DEFAULT_PRIMARY
    margin = (journal.margin if journal else None) or DEFAULT_MARGIN
    paired = pair_up(_pair_runs(runs, primary))
    stopped, level = _level(paired, primary, planned)
    invalid = _invalid(runs, paired, primary)
    if not invalid and planned is not None and not stopped and len(paired.pairs) < planned.pairs:
        invalid = _unfinished(len(paired.pairs), planned)
    differences = paired.differences if primary in paired.differences else {primary: (), **paired.differences}
    effects = judge(differences, primary=primary, margin=margin, level=level, invalid=invalid)
    judged = effects[0].word != "invalid"
    lines = tuple(_line(run) for run in runs)
    treated = [line for line in lines if line.arm == TREATMENT and line.word != "INVALID"]
    return Campaign(
        origin=origin,
        title=journal.title if journal else "unreadable campaign",
        claim=journal.description if journal else "",
        experiment_file=str(first.section("experiment").get("file") or "EXPERIMENT")
        if first
        else "EXPERIMENT",
        primary=primary,
        margin=margin,
        expect=journal.expect if journal else None,
        pairs=len(paired.pairs),
        effects=effects,
        held=(sum(line.word == HOLDS for line in treated), len(treated)),
        spread=_spread(paired, primary) if judged else None,
        runs=lines,
        left_out=paired.left_out,
        invalid=effects[0].reason,
        level=level,
        stopped_early=stopped,
        findings=_findings(runs, lines),
        none=paired.none,
    )


def _findings(runs: Sequence[CampaignRun], lines: Sequence[RunLine]) -> tuple[str, ...]:
    found = [
        run.contents.journal.findings
        for run, line in zip(runs, lines, strict=True)
        if run.contents is not None and run.arm == TREATMENT and line.word != "INVALID"
    ]
    return found[-1] if found else ()


def _level(paired: Paired, primary: str, planned: Planned | None) -> tuple[bool, float]:
    """Whether the campaign stopped at its early look, and the level at which it is judged."""
    if planned is None or planned.look is None:
        return False, LEVEL
    look = planned.look
    # Pairs are made in the plan's order, but a pair with an unusable run is made later.
    seen = paired.differences.get(primary, ()) if paired.pairs == tuple(range(1, look.after + 1)) else ()
    return (True, look.spend) if look.stops(seen) else (False, look.final_level)


def _unfinished(pairs: int, planned: Planned) -> str:
    return (
        f"the campaign is not finished: {pairs} of {planned.pairs} pairs are usable, and to judge it before"
        " the end it was planned for would break the error rate that the verdict promises"
    )


def _pair_runs(runs: Sequence[CampaignRun], primary: str) -> list[PairRun]:
    outside = {
        window.name
        for run in runs
        if run.contents is not None and run.arm == TREATMENT
        for window in windows_of(run.contents).counted
        if window.role != "during"
    }
    return [_pair_run(run, outside, primary) for run in runs]


def _pair_run(run: CampaignRun, outside: set[str], primary: str) -> PairRun:
    contents = run.contents
    if contents is None:
        return PairRun(run.pair, run.arm, (run.problem,), {}, run.origin)
    invalid = could_not_measure(contents) or (unproven(contents) if run.arm == TREATMENT else ())
    if invalid or contents.table is None:
        return PairRun(run.pair, run.arm, invalid or ("no load record",), {}, run.origin)
    windows = _compared(contents, run.arm, outside)
    if not windows:
        return PairRun(run.pair, run.arm, ("no phase to compare",), {}, run.origin)
    table = contents.table
    found = {
        name: value
        for name, value in measures(table, windows).items()
        if not name.endswith(f" {MEAN}") or name == primary
    }
    price = cpu_per_request(contents.usage, windows, requests_in(table, windows))
    if price is not None:
        found[CPU] = math.log(price)
    return PairRun(run.pair, run.arm, (), found, run.origin, none_at_all(table, windows))


def _compared(contents: RunContents, arm: Arm, outside: set[str]) -> list[Window]:
    """The windows in which the treatment is in place; in the control arm, those in their stead."""
    counted = windows_of(contents).counted
    if arm == TREATMENT:
        return [window for window in counted if window.role == "during"]
    # The treatment arm lost its first seconds to the change, so the control arm leaves them out as well.
    settled = [
        replace(window, start=window.start + SETTLE_S) for window in counted if window.name not in outside
    ]
    return [window for window in settled if window.seconds >= 1]


def _invalid(runs: Sequence[CampaignRun], paired: Paired, primary: str) -> str:
    titles = {run.contents.journal.title for run in runs if run.contents is not None}
    if len(titles) > 1:
        return f"the runs are of different experiments: {', '.join(sorted(titles))}"
    hashes = {run.contents.section("experiment").get("sha256") for run in runs if run.contents is not None}
    if len(hashes) > 1:
        return "the experiment's file changed between the runs"
    if paired.pairs and primary not in paired.differences:
        known = ", ".join(paired.differences) or "none"
        return f"the primary metric {primary!r} was not measured in every pair (measured: {known})"
    return ""


def _spread(paired: Paired, primary: str) -> float | None:
    if len(paired.pairs) < MIN_PAIRS:
        return None
    return spread_p(np.asarray(paired.control[primary]), np.asarray(paired.treatment[primary]))


def _line(run: CampaignRun) -> RunLine:
    if run.contents is None:
        return RunLine(run.pair, run.arm, run.origin, "INVALID", (run.problem,), run.has_report)
    judgement = judge_run(run.contents)
    return RunLine(run.pair, run.arm, run.origin, judgement.word, judgement.reasons, run.has_report)


def _effect(effect: Effect) -> Mapping[str, Any]:
    judged = effect.word != "invalid"
    return {
        "metric": effect.metric,
        "primary": effect.primary,
        "verdict": effect.verdict,
        "ratio": effect.ratio if len(effect.ratios) else None,
        "low": effect.low if judged else None,
        "high": effect.high if judged else None,
        "p": effect.p if judged else None,
        "could_see": effect.could_see if judged else None,
        "pairs": list(effect.ratios),
        "reason": effect.reason,
    }
