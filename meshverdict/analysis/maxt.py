"""Several metrics at once: the more one looks at, the more chance shows, so all of them pay for it together.

Every sign pattern is applied to all metrics of a pair jointly, which keeps their dependence (p50 and p99 move
together), and each metric is compared with the largest statistic of all: max-T. Holm's correction could never
reject seven metrics at eight pairs, since the least p of eight pairs is 2/256; the maximum can.

Source: P. H. Westfall, S. S. Young, Resampling-Based Multiple Testing (1993), single-step max-T; the
sign flips as in J. P. Romano, M. Wolf, Exact and approximate stepdown methods, JASA 100 (2005) 94-108.
"""

from __future__ import annotations

import numpy as np

from meshverdict.analysis.permutation import LEVEL, Floats, sign_flips

_BISECTIONS = 40
_TIE = 1e-9


def adjusted_p(differences: Floats) -> Floats:
    """Family-wise p of "no effect" for each metric: 0 lies outside a metric's interval exactly when p <= level.

    Args:
        differences: Log ratios, shape (pairs, metrics).

    Returns:
        Shape (metrics,).
    """
    centred = _statistics(differences - differences.mean(axis=0))
    return np.array([_p(differences[:, at], _others(centred, at)) for at in range(differences.shape[1])])


def simultaneous_intervals(differences: Floats, level: float = LEVEL) -> list[tuple[float, float]]:
    """Intervals of all metrics that hold together with probability 1 - level.

    A value of one metric is kept when the max-T test does not reject it, the other metrics being shifted by
    their own means: their truth is not known. That both the false alarms and the joint coverage keep their
    promise all the same is checked by simulation (tests/analysis/test_false_alarms.py).

    Args:
        differences: Log ratios, shape (pairs, metrics).
        level: One minus the joint confidence.

    Returns:
        Bounds per metric; infinite when there are too few pairs.
    """
    pairs, metrics = differences.shape
    if 2 / len(sign_flips(pairs)) > level:
        return [(-np.inf, np.inf)] * metrics
    centred = _statistics(differences - differences.mean(axis=0))
    found = []
    for metric in range(metrics):
        others = _others(centred, metric)
        column = differences[:, metric]
        found.append((_bound(column, others, level, side=-1.0), _bound(column, others, level, side=1.0)))
    return found


def _bound(column: Floats, others: Floats, level: float, *, side: float) -> float:
    """The last value that is not rejected on one side of the mean, by bisection."""
    centre = float(column.mean())
    reach = float(np.abs(column - centre).max())
    if reach == 0:
        return centre
    inside, outside = 0.0, reach
    while _p(column - centre - side * outside, others) > level:
        outside *= 2
        if outside > reach * 2**20:
            return side * np.inf
    for _ in range(_BISECTIONS):
        middle = (inside + outside) / 2
        if _p(column - centre - side * middle, others) <= level:
            outside = middle
        else:
            inside = middle
    return centre + side * outside


def _p(shifted: Floats, others: Floats) -> float:
    """Share of the patterns in which this metric or another one shows as much as this one did."""
    own = _statistics(shifted[:, None])[:, 0]
    return float((np.maximum(own, others) >= own[0] - _TIE).mean())


def _others(centred: Floats, metric: int) -> Floats:
    """The largest statistic of the other metrics, for every pattern."""
    largest: Floats = np.delete(centred, metric, axis=1).max(axis=1, initial=0.0)
    return largest


def _statistics(differences: Floats) -> Floats:
    """|sum of flipped differences| / root of the sum of squares, for every pattern: shape (flips, metrics).

    The root of the sum of squares does not change under flips, and the ratio grows with Student's t, so it
    compares metrics of any unit. A metric without any difference has statistic 0.
    """
    scale = np.sqrt((differences**2).sum(axis=0))
    sums = np.abs(sign_flips(len(differences)) @ differences)
    statistics: Floats = np.divide(sums, scale, out=np.zeros_like(sums), where=scale > 0)
    return statistics
