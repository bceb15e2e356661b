"""Spread as well as location: runs whose medians scatter, or whose latencies do, may have the same middle.

Within runs, spread is a metric like any other (`pairs.METRICS`: the log of the interquartile range and of the
tail ratio p99/p50). Between runs it is tested here.
"""

from __future__ import annotations

import numpy as np

from meshverdict.analysis.permutation import Floats, sign_flips

_TIE = 1e-12


def spread_p(control: Floats, treatment: Floats) -> float:
    """Two-sided p of "both arms scatter alike from run to run".

    Two paired values have equal variances exactly when their sum and their difference are uncorrelated; under
    no effect each pair's difference may have had the other sign. The location effect is taken out first.

    Source: E. J. G. Pitman, A note on normal correlation, Biometrika 31 (1939) 9-12, and W. A. Morgan, ibid.
    13-19; here with sign flips instead of normality.

    Args:
        control: Log of a metric per run, shape (pairs,).
        treatment: The same, pair by pair.
    """
    sums = control + treatment
    differences = treatment - control
    products = (sums - sums.mean()) * (differences - np.median(differences))
    totals = np.abs(sign_flips(len(products)) @ products)
    return float((totals >= totals[0] * (1 - _TIE) - _TIE).mean())
