"""Phase-aware probes of an overload: what must be found under the treatment, and what without it.

Each answers a sentence that begins with "as expected", also before there is anything to be found: a hypothesis is asked
before the method as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from meshverdict.analysis.overload import TRIGGER, all_busy_share, flow_of, limited_share
from meshverdict.analysis.snowball import rejected_share
from meshverdict.chaos import overload
from meshverdict.chaos.answers import AS_EXPECTED, NOT_EXPECTED
from meshverdict.chaos.session import current
from meshverdict.model.errors import RecordError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

# Of what was offered before a trigger, this share must have been served well: else there is nothing to come back to.
SOUND: Final = 0.8
_ANY: Final = "any"
# Telemetry tells once a second, and a sidecar looks for those to take back once an interval.
_SAMPLING_S: Final = 2.0


def comes_back(treated: str = "recovers", untreated: str = "any") -> str:
    """Whether the service came back after the trigger; phase-aware.

    Args:
        treated: What must be found under the treatment: "recovers", "collapses" (metastable) or "any".
        untreated: What must be found without it.
    """
    expected = _expected("comes_back", treated, untreated, ("recovers", "collapses"))
    if current().timeline.find(TRIGGER) is None:
        return _not_there("nothing was triggered")
    found = overload.story_so_far()
    if found.share_before is None or found.share_before < SOUND:
        return _said(
            f"the service was not sound before the trigger ({found.before or 0.0:.1f} a second)", right=False
        )
    back = found.metastable is not True and found.recovery_s is not None
    # Not back yet, and not watched for long enough to say more, is neither.
    right = back if expected == "recovers" else found.metastable is True
    return _said(f"it {found.words}", right=expected == _ANY or right)


def threads_as_expected(phase: str = "overload", treated: str = "free", untreated: str = "busy") -> str:
    """Whether the app ever had no thread left; phase-aware.

    Args:
        phase: Name of the phase that is asked about; before it there is nothing to be found.
        treated: What must be found under the treatment: "free" (in no second were all threads busy), "busy" (in some
            they were) or "any".
        untreated: What must be found without it.
    """
    expected = _expected("threads_as_expected", treated, untreated, ("free", "busy"))
    if current().timeline.find(phase) is None:
        return _not_yet(phase)
    window = overload.window_of(phase)
    share = all_busy_share(overload.pods(), window.start, window.end)
    if share is None:
        raise RecordError(
            f"no app told of its threads in phase {phase!r}: the control's `telemetry` must be on"
        )
    words = f"all threads of a replica were busy in {share:.0%} of its samples in phase {phase!r}"
    return _said(words, right=expected == _ANY or (share > 0) == (expected == "busy"))


def latency_bounded(below_ms: float, q: float = 0.99, phase: str = "overload") -> str:
    """Whether a quantile of the latency of good answers stays below a bound under the treatment; phase-aware.

    Args:
        below_ms: The bound, in milliseconds.
        q: Quantile, such as 0.99.
        phase: Name of the phase that is asked about; before it there is nothing to be found.
    """
    session = current()
    if session.timeline.find(phase) is None:
        return _not_yet(phase)
    value = overload.good_latency_ms(overload.window_of(phase), float(q))
    words = "no good answer" if value is None else f"p{100 * float(q):g} of good answers {value:.0f} ms"
    right = not session.timeline.treated or (value is not None and value <= float(below_ms))
    return _said(f"{words}, bound {float(below_ms):g} ms", right=right)


def limited_as_computed(within: float = 0.05, phase: str = "overload") -> str:
    """Whether the share that is turned away is what limit and offered load say, 1 - limit / offered; phase-aware.

    Without the treatment nobody must be turned away.

    Args:
        within: How far off it may be, as a share of the computed share.
        phase: Name of the phase that is asked about; before it there is nothing to be found.
    """
    session = current()
    if session.timeline.find(phase) is None:
        return _not_yet(phase)
    window = overload.window_of(phase)
    loaded = overload.record_until(window)
    share, flow = limited_share(loaded, window.start, window.end), flow_of(loaded)
    if share is None or flow is None:
        raise RecordError(f"no request in phase {phase!r}, so none was turned away")
    if not session.timeline.treated:
        return _said(f"{share:.1%} were turned away, expected: none", right=share == 0)
    limit = session.measures.get("limit_per_s")
    if limit is None:
        return _said(f"{share:.1%} were turned away, and apply_policy set no limit", right=False)
    offered = float(flow.between(window.start, window.end).offered.mean())
    computed = rejected_share(offered, float(limit))
    return _said(
        f"{share:.1%} were turned away; {offered:.1f} a second offered and {limit:.1f} allowed make {computed:.1%}",
        right=abs(share - computed) <= float(within) * computed,
    )


def goodput_kept(
    least: float = 0.8, phase: str = "overload", treated: str = "keeps", untreated: str = "any"
) -> str:
    """How much of the possible goodput of case 1 there was: the capacity, or the offered load if that is less.

    Args:
        least: The share of it that counts as kept.
        phase: Name of the phase that is asked about; before it there is nothing to be found.
        treated: What must be found under the treatment: "keeps", "loses" or "any"; phase-aware.
        untreated: What must be found without it.
    """
    expected = _expected("goodput_kept", treated, untreated, ("keeps", "loses"))
    session = current()
    if session.timeline.find(phase) is None:
        return _not_yet(phase)
    window = overload.window_of(phase)
    loaded = overload.record_until(window)
    flow = flow_of(loaded)
    good = overload.case_1_goodput(loaded, window)
    if flow is None:
        raise RecordError(f"no request in phase {phase!r}")
    possible = min(session.found_capacity(), float(flow.between(window.start, window.end).offered.mean()))
    if possible <= 0:
        raise RecordError(f"no request was due in phase {phase!r}, so there was no goodput to keep")
    share = good / possible
    words = f"goodput {good:.1f} a second of {possible:.1f} that are possible ({share:.0%}, lost {possible - good:.1f})"
    return _said(words, right=expected == _ANY or (share >= float(least)) == (expected == "keeps"))


def ejections_as_expected(pod: str, base_s: float, interval_s: float, phase: str = "overload") -> str:
    """Whether a replica was ejected and taken back at the times that outlier detection was told; phase-aware.

    The n-th ejection lasts n times the base time, and ends with the next look, one interval at most later (Envoy). Without
    the treatment the replica must never be left out.

    Args:
        pod: Beginning of ``namespace/pod``.
        base_s: ``baseEjectionTime``, in seconds.
        interval_s: ``interval``, in seconds.
        phase: Name of the phase that is asked about; before it there is nothing to be found.
    """
    session = current()
    if session.timeline.find(phase) is None:
        return _not_yet(phase)
    untreated = not session.timeline.treated
    found = overload.replica_absences(pod, at_least_s=0.6 * float(base_s), phase=phase, unfinished=untreated)
    lengths = [times["back"] - times["gone"] for times in found]
    listed = ", ".join(f"{length:.0f} s" for length in lengths) or "never"
    if untreated:
        if not overload.replica_was_asked(pod, phase):
            raise RecordError(f"{pod} got no request in the whole of phase {phase!r}: nothing was tried")
        return _said(f"{pod} was left out: {listed}; expected: never", right=not lengths)
    late = float(interval_s) + _SAMPLING_S
    return _said(
        f"{pod} was left out {len(lengths)} times ({listed}) and came back; expected {float(base_s):g} s more each time",
        right=ejections_fit(lengths, float(base_s), late),
    )


def ejections_fit(lengths: Sequence[float], base_s: float, late_s: float) -> bool:
    """Whether there are ejections, and the n-th lasted n times *base_s*, or up to *late_s* longer. Pure.

    >>> ejections_fit([5.9, 10.2, 16.0], 5, 3), ejections_fit([5.0, 5.0], 5, 3), ejections_fit([], 5, 3)
    (True, False, False)
    """
    slack = 1.0  # a sample may be early by its distance to the one before
    return bool(lengths) and all(
        n * base_s - slack <= length <= n * base_s + late_s for n, length in enumerate(lengths, 1)
    )


def _expected(what: str, treated: str, untreated: str, words: tuple[str, ...]) -> str:
    for value in (treated, untreated):
        if value not in {*words, _ANY}:
            raise UsageError(f"{what}: {value!r}: one of {', '.join((*words, _ANY))}")
    return treated if current().timeline.treated else untreated


def _not_yet(phase: str) -> str:
    return _not_there(f"phase {phase!r} has not begun")


def _not_there(words: str) -> str:
    """Nothing is to be found before it happened; a treatment whose method is over must have had it."""
    timeline = current().timeline
    if timeline.treated and timeline.method_over:
        return (
            f"{NOT_EXPECTED}{words}, and the method is over: see whether an activity makes it, by this name"
        )
    return f"{AS_EXPECTED}{words} yet"


def _said(words: str, *, right: bool) -> str:
    return f"{AS_EXPECTED if right else NOT_EXPECTED}{words}"
