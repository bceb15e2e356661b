"""The paired sign-flip test and its interval: exact at any number of pairs, whatever the latencies look like.

Within a pair the order of the arms was drawn by a coin. If the treatment does nothing, the sign of each
pair's log ratio is that coin's, so every pattern of signs was equally likely: that is the whole assumption.
Nothing is said about single requests, which depend on each other and make any test on them lie.

Sources: R. A. Fisher, The Design of Experiments (1935), section 21, for the test; J. A. Hartigan, Using
subsample values as typical values, JASA 64 (1969) 1303-1317, for the interval.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

LEVEL = 0.05
MIN_PAIRS = 6
EXACT_PAIRS = 14
SAMPLED_FLIPS = 2**14
# Two sums that differ by less than this share are ties: they differ by rounding alone.
_TIE = 1e-12


@lru_cache(maxsize=8)
def sign_flips(pairs: int) -> Floats:
    """All patterns of signs, shape (2^pairs, pairs), the pattern without a flip first.

    Above EXACT_PAIRS pairs: SAMPLED_FLIPS patterns drawn with a fixed seed, the first one without a flip,
    which keeps the test valid (B. Phipson, G. K. Smyth, Permutation p-values should never be zero, 2010).
    """
    if pairs <= EXACT_PAIRS:
        patterns = np.arange(2**pairs, dtype=np.int64)[:, None] >> np.arange(pairs)
        return (1 - 2 * (patterns & 1)).astype(np.float64)
    drawn = np.random.default_rng(pairs).integers(0, 2, size=(SAMPLED_FLIPS, pairs))
    drawn[0] = 0
    return (1 - 2 * drawn).astype(np.float64)


def p_value(differences: Floats) -> float:
    """Two-sided p of "no effect": the share of sign patterns whose mean is at least as far from 0.

    Args:
        differences: One log ratio per pair, shape (pairs,).
    """
    means = np.abs(sign_flips(len(differences)) @ differences)
    return float((means >= means[0] * (1 - _TIE) - _TIE).mean())


def interval(differences: Floats, level: float = LEVEL) -> tuple[float, float]:
    """All effects that the sign-flip test does not reject at *level*: a 1 - level confidence interval.

    The test rejects an effect below the mean exactly when fewer than floor(level 2^pairs / 2) of the means of
    the non-empty subsets of the differences lie at or below it, so the bounds are order statistics of those
    subset means.

    Args:
        differences: One log ratio per pair, shape (pairs,).
        level: One minus the confidence.

    Returns:
        Lower and upper bound; infinite when there are too few pairs to reject anything (5 at level 0.05).
    """
    pairs = len(differences)
    flips = sign_flips(pairs)
    rank = int(np.floor(level * len(flips) / 2 + 1e-9))
    if rank < 1:
        return -np.inf, np.inf
    means = np.sort(subset_means(differences[None, :], flips)[0])
    return float(means[rank - 1]), float(means[-rank])


def subset_means(rows: Floats, flips: Floats) -> Floats:
    """Means of the subsets that the patterns flip, the empty one left out.

    Args:
        rows: Shape (n, pairs).
        flips: From `sign_flips`.

    Returns:
        Shape (n, non-empty patterns).
    """
    chosen = flips < 0
    chosen = chosen[chosen.any(axis=1)].astype(np.float64)
    means: Floats = rows @ chosen.T / chosen.sum(axis=1)
    return means
