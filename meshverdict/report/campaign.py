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
from meshverdict.analysis.windows import SETTLE_S, Window, phases_of
from meshverdict.model.errors import EXIT_DEVIATES, EXIT_HOLDS, EXIT_INVALID
from meshverdict.report.claims import decide
from meshverdict.report.judge import HOLDS, INVALID, Judgement, could_not_measure, unproven, windows_of
from meshverdict.report.judge import judge as judge_run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from meshverdict.analysis.campaign import Arm
    from meshverdict.report.claims import Expectation
    from meshverdict.report.contents import RunContents

DEFAULT_PRIMARY: Final = f"case-1 {P50}"
FORMAT: Final = "campaign/1"
PLAN_FORMAT: Final = "campaign-plan/1"
# The phase that begins where the treatment would, in runs without it.
_STANDS_FOR: Final = {"untreated": "treated"}


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
    """One run in the list of a campaign's runs.

    Attributes:
        word: What it says about its claim alone.
        unusable: Why it cannot be compared with the pair's other run, in words; empty when it can.
    """

    pair: int
    arm: Arm
    origin: str
    word: str
    reasons: tuple[str, ...]
    has_report: bool = True
    unusable: tuple[str, ...] = ()


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
        """As its claim came out: 0 holds, 1 does not, 3 could not be measured or not be decided.

        An experiment that does not say what it expects of its primary metric asks only whether anything differs: 0 when
        nothing was seen to, 1 when it differs or its hypothesis failed in a run with the treatment.
        """
        first = self.effects[0] if self.effects else None
        held, usable = self.held
        if first is None or first.word == "invalid":
            return EXIT_INVALID
        if self.expect is not None:
            word = decide(held=held, usable=usable, effect=first, expect=self.expect)
            return {"holds": EXIT_HOLDS, "does not hold": EXIT_DEVIATES}.get(word, EXIT_INVALID)
        return EXIT_DEVIATES if first.word == "differs" or held < usable else EXIT_HOLDS

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
    pair_runs = _pair_runs(runs, primary)
    paired = pair_up(pair_runs)
    stopped, level = _level(paired, primary, planned)
    invalid = _invalid(runs, paired, primary)
    if not invalid and planned is not None and not stopped and len(paired.pairs) < planned.pairs:
        invalid = _unfinished(len(paired.pairs), planned)
    differences = paired.differences if primary in paired.differences else {primary: (), **paired.differences}
    effects = judge(differences, primary=primary, margin=margin, level=level, invalid=invalid)
    judged = effects[0].word != "invalid"
    lines = tuple(_line(run, found.invalid) for run, found in zip(runs, pair_runs, strict=True))
    treated = [line for line in lines if _answers(line)]
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
        if run.contents is not None and _answers(line)
    ]
    return found[-1] if found else ()


def _answers(line: RunLine) -> bool:
    """Whether a run with the treatment says anything about the claim."""
    return line.arm == TREATMENT and not line.unusable and line.word != INVALID


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
    treated = [run.contents for run in runs if run.contents is not None and run.arm == TREATMENT]
    outside = {w.name for contents in treated for w in windows_of(contents).counted if w.role != "during"}
    compared = _Compared(_left_out(treated), frozenset(outside))
    return [_pair_run(run, compared, primary) for run in runs]


def _pair_run(run: CampaignRun, compared: _Compared, primary: str) -> PairRun:
    contents = run.contents
    if contents is None:
        return PairRun(run.pair, run.arm, (run.problem,), {}, run.origin)
    invalid = could_not_measure(contents) or (unproven(contents) if run.arm == TREATMENT else ())
    if invalid or contents.table is None:
        return PairRun(run.pair, run.arm, invalid or ("no load record",), {}, run.origin)
    windows = compared.windows(contents, run.arm)
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


@dataclass(frozen=True, slots=True)
class _Compared:
    """Which seconds of a run are compared: in both arms the same ones of the same phases.

    Attributes:
        lost: By name of the phases in which the treatment is in place, the whole seconds at their beginnings that the
            treatment arm does not count.
        outside: Names of the phases in which it is not.
    """

    lost: Mapping[str, float]
    outside: frozenset[str]

    def windows(self, contents: RunContents, arm: Arm) -> list[Window]:
        """The windows in which the treatment is in place; in the control arm, those in their stead."""
        counted = windows_of(contents).counted
        if arm == TREATMENT:
            return [window for window in counted if window.role == "during"]
        known = [
            (window, self.lost[name])
            for window in counted
            if (name := _STANDS_FOR.get(window.name, window.name)) in self.lost
        ]
        if known:
            begun = [replace(w, start=max(w.start, _first_second(contents, w) + lost)) for w, lost in known]
        else:  # without phases of its own, the arm is one window: what the other one lost to the change is left out
            begun = [replace(w, start=w.start + SETTLE_S) for w in counted if w.name not in self.outside]
        return [window for window in begun if window.seconds >= 1]


def _left_out(treated: Sequence[RunContents]) -> dict[str, float]:
    lost: dict[str, float] = {}
    for contents in treated:
        for window in windows_of(contents).of("during"):
            left_out = window.start - _first_second(contents, window)
            lost[window.name] = max(left_out, lost.get(window.name, 0.0))
    return lost


def _first_second(contents: RunContents, window: Window) -> float:
    """The first whole second of the phase that a window is cut from; without such a phase, of the window."""
    starts = [
        phase.start
        for phase in phases_of(contents.run or {})
        if phase.name == window.name and phase.start <= window.start < phase.end
    ]
    return float(math.ceil(starts[-1])) if starts else window.start


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


def _line(run: CampaignRun, unusable: tuple[str, ...]) -> RunLine:
    said = judge_run(run.contents) if run.contents is not None else Judgement(INVALID, (run.problem,))
    return RunLine(run.pair, run.arm, run.origin, said.word, said.reasons, run.has_report, unusable)


def _effect(effect: Effect) -> Mapping[str, Any]:
    judged = effect.word != "invalid"
    return {
        "metric": effect.metric,
        "primary": effect.primary,
        "verdict": effect.verdict,
        "ratio": _finite(effect.ratio) if len(effect.ratios) else None,
        "low": _finite(effect.low) if judged else None,
        "high": _finite(effect.high) if judged else None,
        "p": effect.p if judged else None,
        "could_see": _finite(effect.could_see) if judged else None,
        "pairs": [_finite(ratio) for ratio in effect.ratios],
        "reason": effect.reason,
    }


def _finite(value: float) -> float | None:
    """JSON has no infinity: a bound that there is not is null."""
    return value if math.isfinite(value) else None
