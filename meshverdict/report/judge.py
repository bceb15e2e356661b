"""Judge one run, because the exit code of ``chaos run`` is 0 for most ways to fail. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from meshverdict.analysis.cases import Case, cases
from meshverdict.analysis.flows import enforcement
from meshverdict.analysis.summary import Cell, summarise
from meshverdict.analysis.telemetry import crowded
from meshverdict.analysis.validity import invalid_reasons
from meshverdict.analysis.windows import Window, Windows, cut, moments_of, phases_of
from meshverdict.model.errors import EXIT_DEVIATES, EXIT_HOLDS, EXIT_INVALID

if TYPE_CHECKING:
    from meshverdict.report.contents import RunContents
    from meshverdict.report.journal import Journal

HOLDS: Final = "HOLDS"
DEVIATES: Final = "DEVIATES"
INVALID: Final = "INVALID"
_EXIT = {HOLDS: EXIT_HOLDS, DEVIATES: EXIT_DEVIATES, INVALID: EXIT_INVALID}
# The load starts within the journal's time, and is stopped after the experiment's last activity.
START_SLACK_S = 5.0
END_SLACK_S = 20.0


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one run says about its claim.

    Attributes:
        word: HOLDS, DEVIATES or INVALID (it could not be measured).
        reasons: Why, in words; empty for HOLDS.
        lines: What each case did before and during the treatment, a line each.
    """

    word: str
    reasons: tuple[str, ...]
    lines: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 holds, 1 deviates, 3 could not be measured."""
        return _EXIT[self.word]

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "verdict": self.word.lower(),
            "exit": self.exit_code,
            "reasons": list(self.reasons),
            "cases": list(self.lines),
        }


def judge(contents: RunContents) -> Judgement:
    """Judge a run; pure.

    What could not be measured comes first: a run whose activities failed, or whose generator was late, says
    nothing about the claim, whatever its hypothesis says.
    """
    lines = case_lines(contents)
    broken = could_not_measure(contents)
    if broken:
        return Judgement(INVALID, broken, lines)
    deviations = _deviations(contents)
    if deviations:
        return Judgement(DEVIATES, deviations, lines)
    missing = unproven(contents) or _unasked(contents)
    return Judgement(INVALID, missing, lines) if missing else Judgement(HOLDS, (), lines)


def could_not_measure(contents: RunContents) -> tuple[str, ...]:
    """Why the run says nothing, in words; empty when it says something."""
    reasons = list(contents.journal.problems)
    if contents.load is not None:
        reasons += invalid_reasons(contents.load)
        reasons += _clock(contents)
        if (time := contents.load_time()) is not None:
            reasons += crowded(contents.machine, *time)
    elif contents.run is not None or contents.load_problem:
        reasons.append(contents.load_problem or "load.jsonl is missing: nothing was measured")
    validity = contents.section("validity")
    if validity.get("valid") is False:
        stated = [str(reason) for reason in validity.get("reasons") or ()]
        reasons += stated or ["run.json says that the run is invalid, without a reason"]
    return tuple(dict.fromkeys(reasons))


def _deviations(contents: RunContents) -> tuple[str, ...]:
    journal = contents.journal
    missed = tuple(
        f"{probe.name}: expected {probe.tolerance}, found {probe.value}"
        for _, probe in journal.pairs()
        if probe is not None and probe.met is False
    )
    if journal.deviated or (journal.after is not None and not journal.after.met):
        return missed or ("the steady-state hypothesis was not met after the method",)
    return ()


def unproven(contents: RunContents) -> tuple[str, ...]:
    """A met hypothesis proves nothing when it was not checked, or its treatment was not seen to work."""
    journal = contents.journal
    unchecked = _unchecked(journal)
    if contents.run is None and journal.treatment:
        return ("run.json is missing, so nothing shows that the treatment was ever applied", *unchecked)
    if unchecked or contents.run is None or contents.run.get("arm") == "control" or not journal.treatment:
        return unchecked
    moments = moments_of(contents.run)
    if moments.applied is None:
        return ("run.json has no time at which the treatment was applied",)
    if journal.in_effect is not None:
        return _shown_by(journal.in_effect, contents)
    if moments.in_effect is None and enforcement(contents.flows, moments).to_denied_ms is None:
        return ("the treatment was applied but was never seen in effect",)
    return ()


def _unchecked(journal: Journal) -> tuple[str, ...]:
    """What of the hypothesis was left open after the method, in words."""
    if journal.declared and journal.after is None:
        return ("the steady-state hypothesis was not checked after the method",)
    after = [probe for _, probe in journal.pairs() if probe is not None]
    if any(probe.met is False for probe in after):
        return ()  # an answer: Chaos Toolkit asks no further
    names = [probe.name for probe in after if probe.met is None]
    return (f"probe {', '.join(names)} of the hypothesis was not checked after the method",) if names else ()


def _unasked(contents: RunContents) -> tuple[str, ...]:
    """A run that asked nothing has no answer; as half of a pair it may still be compared."""
    if contents.journal.declared:
        return ()
    return ("the experiment has no steady-state hypothesis, so it asks nothing that could hold or not",)


def _shown_by(name: str, contents: RunContents) -> tuple[str, ...]:
    """The treatment works when the activity that the experiment names for it says so."""
    found = [a for a in contents.journal.run if a.name == name]
    if not found:
        return (f"the treatment was applied, but {name!r}, which would show that it works, was not run",)
    if any(a.failure or a.met is False for a in found):
        return (f"the treatment was applied but was not seen in effect: {name!r} did not find it",)
    return ()


def _clock(contents: RunContents) -> list[str]:
    """The record must lie inside the journal's time, else a clock was set or the files are of two runs."""
    journal, time = contents.journal, contents.load_time()
    if time is None or journal.start is None or journal.end is None:
        return []
    first, last = time
    if first < journal.start - START_SLACK_S or last > journal.end + END_SLACK_S:
        return [
            "the load record lies outside the journal's time: a clock was set, or the files are of two runs"
        ]
    return []


def windows_of(contents: RunContents) -> Windows:
    """The windows of a run's load."""
    time = contents.load_time()
    if time is None:
        return Windows((), ())
    run = contents.run or {}
    return cut(phases_of(run), moments_of(run), load_start=time[0], load_end=time[1])


def case_lines(contents: RunContents) -> tuple[str, ...]:
    """One line a case: what it did in each phase."""
    table = contents.table
    if table is None:
        return ()
    windows = windows_of(contents).counted

    def line(case: Case) -> str:
        cells = [(window, summarise(table, case.title, case.names, window)) for window in windows]
        return f"{case.title.replace(': ', ', ')}: " + "; ".join(
            _cell_words(window, cell) for window, cell in cells if cell.requests
        )

    return tuple(line(case) for case in cases(table.names))


def _cell_words(window: Window, cell: Cell) -> str:
    return f"{window.name} {answered(cell)}"


def answered(cell: Cell) -> str:
    """What a cell says in words.

    >>> answered(Cell("/", "w", 10, 200, 200, (("ok", 200),), 2.04, 3, 9, 9))
    'answers (200 of 200, p50 2.0 ms)'
    """
    if not cell.requests:
        return "no requests"
    if not cell.ok:
        return f"fails every time ({cell.requests} of {cell.requests}, {cell.outcomes[0][0]})"
    median = f", p50 {cell.p50_ms:.1f} ms" if cell.p50_ms is not None else ""
    if cell.ok == cell.requests:
        return f"answers ({cell.ok} of {cell.requests}{median})"
    return f"answers {cell.ok} of {cell.requests}{median}"
