"""Put two runs side by side: a description, never a verdict, because chance alone makes two runs differ.

What cannot be compared is refused with the reason: a run that was not carried out, whose activities failed,
whose load cannot be trusted, or that was of another experiment.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from meshverdict.analysis.cases import cases
from meshverdict.analysis.summary import Cell, Series, series, summarise
from meshverdict.model.errors import UsageError
from meshverdict.report.agreement import Agreement, agreement
from meshverdict.report.compare_campaigns import CampaignComparison, compare_campaigns
from meshverdict.report.files import is_campaign, judge_campaign, read_run
from meshverdict.report.judge import could_not_measure, judge, windows_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from meshverdict.report.contents import RunContents
    from meshverdict.report.journal import Probe

PAIRS_FOR_A_VERDICT: Final = 8
DESCRIPTION: Final = "description"
# What differs between any two runs of one machine.
_STATES: Final = ("load_average",)


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two."""

    origin: str
    title: str
    status: str
    verdict: str
    reasons: tuple[str, ...]
    seconds: float | None


@dataclass(frozen=True, slots=True)
class ProbeLine:
    """One steady-state probe on both sides; None where it was not checked."""

    name: str
    tolerance: str
    a_before: Probe | None
    a_after: Probe | None
    b_before: Probe | None
    b_after: Probe | None


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure on both sides.

    Attributes:
        ratio: b / a; None where there is none.
    """

    case: str
    window: str
    name: str
    unit: str
    a: float | None
    b: float | None

    @property
    def ratio(self) -> float | None:
        """How many times a's figure is b's."""
        if self.a is None or self.b is None or self.a == 0:
            return None
        return self.b / self.a


@dataclass(frozen=True, slots=True)
class Overlay:
    """One case's timeline on both sides, each from the start of its own load."""

    case: str
    a: Series
    b: Series


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs side by side.

    Attributes:
        refusals: Why they cannot be compared; empty when they can.
        warnings: What differs besides what was measured.
        command: What to type for a verdict.
        minutes: How long that takes, about; None when it is not known.
        agreement: Where the embedded lab and a real cluster agree, when there was one run on each.
    """

    a: Side
    b: Side
    refusals: tuple[str, ...]
    warnings: tuple[str, ...]
    probes: tuple[ProbeLine, ...]
    measures: tuple[Measure, ...]
    overlays: tuple[Overlay, ...]
    command: str
    minutes: float | None
    agreement: Agreement | None = None

    @property
    def comparable(self) -> bool:
        """Whether anything may be said about the two together."""
        return not self.refusals

    @property
    def differs(self) -> bool:
        """Whether the two runs answer differently: the claim, or a probe that was met in one of them alone.

        How far their figures are apart is not asked, because chance alone takes them apart.
        """
        ends = ((line.a_after, line.b_after) for line in self.probes)
        return self.a.verdict != self.b.verdict or any(
            one is not None and two is not None and one.met != two.met for one, two in ends
        )

    def render(self, output: str) -> str:
        """As ``text``, ``md``, ``json`` or ``html`` (a whole page)."""
        from meshverdict.report.render_compare import render_compare  # noqa: PLC0415 - it needs these values

        return render_compare(self, output)


def compare_paths(a: Path, b: Path) -> Comparison | CampaignComparison:
    """Compare two run folders or journals, or the folders of two campaigns.

    Raises:
        RecordError: One of them cannot be read as what it claims to be.
        UsageError: One is a run and the other a campaign.
    """
    kinds = (is_campaign(a), is_campaign(b))
    if all(kinds):
        return compare_campaigns(judge_campaign(a), judge_campaign(b))
    if any(kinds):
        run, campaign = (b, a) if kinds[0] else (a, b)
        raise UsageError(f"{run} is a run and {campaign} a campaign: compare two of a kind")
    return compare(read_run(a), read_run(b))


def compare(a: RunContents, b: RunContents) -> Comparison:
    """Compare two runs. Pure."""
    refusals = _refusals(a, b)
    seconds = _seconds(a) or _seconds(b)
    return Comparison(
        a=_side(a),
        b=_side(b),
        refusals=refusals,
        warnings=_warnings(a, b),
        probes=() if refusals else _probes(a, b),
        measures=() if refusals else _measures(a, b),
        overlays=() if refusals else _overlays(a, b),
        command=f"meshverdict run {_experiment_file(a)} --pairs {PAIRS_FOR_A_VERDICT}",
        minutes=None if seconds is None else 2 * PAIRS_FOR_A_VERDICT * seconds / 60,
        agreement=None if refusals else agreement(a, b),
    )


def _side(contents: RunContents) -> Side:
    judgement = judge(contents)
    journal = contents.journal
    return Side(
        origin=contents.origin,
        title=journal.title,
        status=journal.status or "cut short",
        verdict=judgement.word,
        reasons=judgement.reasons,
        seconds=_seconds(contents),
    )


def _refusals(a: RunContents, b: RunContents) -> tuple[str, ...]:
    reasons = [f"A: {reason}" for reason in could_not_measure(a)]
    reasons += [f"B: {reason}" for reason in could_not_measure(b)]
    if a.journal.title != b.journal.title:
        reasons.append(f"different experiments: A is “{a.journal.title}”, B is “{b.journal.title}”")
    elif set(_probe_names(a)).isdisjoint(_probe_names(b)) and (_probe_names(a) or _probe_names(b)):
        reasons.append("different experiments: their hypotheses have no probe in common")
    if not _probe_names(a) and not _probe_names(b) and (a.load is None or b.load is None):
        reasons.append("nothing to compare: neither has a steady-state hypothesis, nor both a load record")
    return tuple(reasons)


def _warnings(a: RunContents, b: RunContents) -> tuple[str, ...]:
    found = []
    for key, words in (
        ("experiment", "the experiment files differ"),
        ("settings", "the lab's settings differ"),
        ("variables", "the experiment's variables differ"),
        ("cluster", "the clusters differ"),
        ("software", "software versions differ"),
        ("machine", "the machines differ"),
    ):
        changed = _changed(a.section(key), b.section(key))
        if a.run is not None and b.run is not None and changed:
            found.append(f"{words}: {', '.join(changed)}")
    found += [
        f"{words} differs: {value_a} and {value_b}"
        for words, value_a, value_b in (
            ("arm", (a.run or {}).get("arm"), (b.run or {}).get("arm")),
            ("seed", (a.run or {}).get("seed"), (b.run or {}).get("seed")),
        )
        if value_a != value_b
    ]
    found += [
        f"{name} differs: {value} and {dict(b.journal.software).get(name)}"
        for name, value in a.journal.software
        if dict(b.journal.software).get(name) != value
    ]
    found += [f"{who} has no load record" for who, c in (("A", a), ("B", b)) if c.load is None]
    if len(set(_probe_names(a)) ^ set(_probe_names(b))):
        found.append("the hypotheses differ in some probes")
    return tuple(found)


def _changed(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    keys = [key for key in dict.fromkeys([*a, *b]) if key not in _STATES]
    return [f"{key} {_brief(a.get(key))} → {_brief(b.get(key))}" for key in keys if a.get(key) != b.get(key)]


def _brief(value: object) -> str:
    text = str(value)
    return text if len(text) <= 24 else text[:10] + "…"


def _probes(a: RunContents, b: RunContents) -> tuple[ProbeLine, ...]:
    left = {before.name: (before, after) for before, after in a.journal.pairs()}
    right = {before.name: (before, after) for before, after in b.journal.pairs()}
    lines = []
    for name in dict.fromkeys([*left, *right]):
        a_before, a_after = left.get(name, (None, None))
        b_before, b_after = right.get(name, (None, None))
        words = dict.fromkeys(p.tolerance for p in (a_before, b_before) if p is not None)
        lines.append(ProbeLine(name, " / ".join(words), a_before, a_after, b_before, b_after))
    return tuple(lines)


def _measures(a: RunContents, b: RunContents) -> tuple[Measure, ...]:
    left, right = _cells(a), _cells(b)
    found = []
    for key in left:
        if key not in right:
            continue
        one, two = left[key], right[key]
        found += [
            Measure(*key, "goodput", "requests/s", one.goodput, two.goodput),
            Measure(*key, "errors", "%", _percent(one.error_share), _percent(two.error_share)),
            Measure(*key, "p50", "ms", one.p50_ms, two.p50_ms),
            Measure(*key, "p99", "ms", one.p99_ms, two.p99_ms),
        ]
    return tuple(found)


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _cells(contents: RunContents) -> dict[tuple[str, str], Cell]:
    table = contents.table
    if table is None:
        return {}
    return {
        (case.title, window.name): summarise(table, case.title, case.names, window)
        for case in cases(table.names)
        for window in windows_of(contents).counted
    }


def _overlays(a: RunContents, b: RunContents) -> tuple[Overlay, ...]:
    left, right = a.table, b.table
    if left is None or right is None:
        return ()
    others = {case.key: case for case in cases(right.names)}
    return tuple(
        Overlay(
            case.title,
            series(left, case.title, case.names),
            series(right, case.title, others[case.key].names),
        )
        for case in cases(left.names)
        if case.key in others
    )


def _probe_names(contents: RunContents) -> tuple[str, ...]:
    return tuple(before.name for before, _ in contents.journal.pairs())


def _seconds(contents: RunContents) -> float | None:
    start, end = contents.journal.start, contents.journal.end
    return None if start is None or end is None or not math.isfinite(end - start) else max(0.0, end - start)


def _experiment_file(contents: RunContents) -> str:
    name = contents.section("experiment").get("file")
    return f"experiments/{str(name).rsplit('/', 1)[-1]}" if name else "EXPERIMENT"
