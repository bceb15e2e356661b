"""Runs turned into pairs, and pairs into log ratios: one number per pair and metric, nothing per request."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from meshverdict.analysis.cases import Case, cases
from meshverdict.analysis.load_table import OK, LoadTable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from meshverdict.analysis.campaign import Arm
    from meshverdict.analysis.load_table import Mask
    from meshverdict.analysis.windows import Window

P50: Final = "p50"
P99: Final = "p99"
# Of all but the slowest hundredth: one pause of the machine would decide the plain mean. For claims about a sum, such as
# the time of some of the requests; compared only where a campaign declares it.
MEAN: Final = "mean"
MEAN_TRIM: Final = 0.01
IQR: Final = "spread (p75 - p25)"
TAIL: Final = "tail ratio (p99 / p50)"
GOODPUT: Final = "goodput"
ERRORS: Final = "error share"
CPU: Final = "pods' CPU per request"
METRICS: Final = (P50, P99, IQR, TAIL, GOODPUT, ERRORS)


@dataclass(frozen=True, slots=True)
class PairRun:
    """One run of a campaign as far as the statistics need it.

    Attributes:
        pair: Number of its pair.
        arm: With or without the treatment.
        invalid: Why it must not be used, in words; empty when it may be.
        measures: Logarithm of each metric, by name (``case-1 p50``).
        none: Names of metrics of which it had none at all, so that half a request stands for it: a ratio with it has a
            direction and no size.
        origin: Its run folder.
    """

    pair: int
    arm: Arm
    invalid: tuple[str, ...]
    measures: Mapping[str, float]
    origin: str = ""
    none: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Paired:
    """The usable pairs of a campaign.

    Attributes:
        pairs: Their numbers, in order.
        differences: Log ratio treatment / control per pair, by metric; only metrics that every pair has.
        control: Log values of the control arm, by metric, in the order of the pairs.
        treatment: The same of the treatment arm.
        left_out: Pairs and metrics that could not be used, with the reason.
        none: Of metrics that some run had none of at all: how many of the control and of the treatment runs had none.
    """

    pairs: tuple[int, ...]
    differences: Mapping[str, tuple[float, ...]]
    control: Mapping[str, tuple[float, ...]]
    treatment: Mapping[str, tuple[float, ...]]
    left_out: tuple[str, ...]
    none: Mapping[str, tuple[int, int]] = field(default_factory=dict)


def measures(table: LoadTable, windows: Sequence[Window]) -> dict[str, float]:
    """Logarithms of all metrics of one run, by case, over the given windows together."""
    found: dict[str, float] = {}
    seconds = sum(window.seconds for window in windows)
    for case in cases(table.names):
        found |= {f"{case.key} {name}": value for name, value in _case(table, case, windows, seconds).items()}
    return found


def requests_in(table: LoadTable, windows: Sequence[Window]) -> int:
    """Requests to all endpoints, however they ended, over the windows together."""
    return sum(int(table.n[table.rows(start=w.start, end=w.end)].sum()) for w in windows)


def none_at_all(table: LoadTable, windows: Sequence[Window]) -> frozenset[str]:
    """Error shares without an error and goodputs without a good answer over the windows: names of metrics."""
    found = set()
    for case in cases(table.names):
        rows = _rows(table, case, windows)
        good = rows & table.rows(outcomes=(OK,))
        found |= {f"{case.key} {ERRORS}"} if not table.n[rows & ~good].any() else set()
        found |= {f"{case.key} {GOODPUT}"} if not table.n[good].any() else set()
    return frozenset(found)


def _rows(table: LoadTable, case: Case, windows: Sequence[Window]) -> Mask:
    rows = table.rows(start=math.inf)
    for window in windows:
        rows |= table.rows(start=window.start, end=window.end, names=case.names)
    return rows


def _case(table: LoadTable, case: Case, windows: Sequence[Window], seconds: float) -> dict[str, float]:
    rows = _rows(table, case, windows)
    good = rows & table.rows(outcomes=(OK,))
    requests, ok = int(table.n[rows].sum()), int(table.n[good].sum())
    if not requests or not seconds:
        return {}
    # Half a request is added to each side, so that a run without errors has a logarithm too (F. J. Anscombe,
    # On estimating binomial response relations, 1956).
    found = {
        ERRORS: math.log((requests - ok + 0.5) / (requests + 1)),
        GOODPUT: math.log((ok + 0.5) / seconds),
    }
    p25, p50, p75, p99 = table.quantiles_ms(good, (0.25, 0.5, 0.75, 0.99))
    if p25 is not None and p50 is not None and p75 is not None and p99 is not None:
        found |= {P50: math.log(p50), P99: math.log(p99), TAIL: math.log(p99 / p50)}
        found[MEAN] = math.log(table.mean_ms(good, MEAN_TRIM) or p50)
        if p75 > p25:
            found[IQR] = math.log(p75 - p25)
    return found


def pair_up(runs: Sequence[PairRun]) -> Paired:
    """Match the runs of each pair; a pair counts when both its arms are there and usable.

    Of several usable runs of one slot (a campaign that was resumed) the last one counts.
    """
    by_slot: dict[tuple[int, str], PairRun] = {}
    left_out: list[str] = []
    for run in runs:
        if run.invalid:
            left_out.append(f"pair {run.pair}, {run.arm}: {run.invalid[0]}")
        else:
            by_slot[run.pair, run.arm] = run
    numbers = sorted({run.pair for run in runs})
    whole = [n for n in numbers if (n, "treatment") in by_slot and (n, "control") in by_slot]
    left_out += [
        f"pair {n}: one arm is missing" for n in numbers if n not in whole and not _explained(n, left_out)
    ]
    both = [(by_slot[n, "control"].measures, by_slot[n, "treatment"].measures) for n in whole]
    names = list(dict.fromkeys(name for control, treatment in both for name in (*control, *treatment)))
    common = [name for name in names if all(name in c and name in t for c, t in both)]
    left_out += [f"{name}: some run has none" for name in names if name not in common]
    usable = [run for run in by_slot.values() if run.pair in whole]
    quiet = [name for name in common if usable and all(name in run.none for run in usable)]
    left_out += [f"{name}: no run had any" for name in quiet]
    common = [name for name in common if name not in quiet]
    return Paired(
        pairs=tuple(whole),
        differences={name: tuple(t[name] - c[name] for c, t in both) for name in common},
        control={name: tuple(c[name] for c, _ in both) for name in common},
        treatment={name: tuple(t[name] for _, t in both) for name in common},
        left_out=tuple(left_out),
        none={
            name: counts
            for name in common
            if any(
                counts := (
                    _without(by_slot, whole, "control", name),
                    _without(by_slot, whole, "treatment", name),
                )
            )
        },
    )


def _without(by_slot: Mapping[tuple[int, str], PairRun], pairs: Sequence[int], arm: str, name: str) -> int:
    return sum(name in by_slot[pair, arm].none for pair in pairs)


def _explained(pair: int, reasons: Sequence[str]) -> bool:
    return any(reason.startswith(f"pair {pair},") for reason in reasons)
