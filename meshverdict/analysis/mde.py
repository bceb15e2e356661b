"""What a campaign could have seen: without that number, "no difference found" says nothing.

The minimum detectable effect is the smallest true effect that this number of pairs, with the scatter that
they showed, would have called `differs` with probability POWER.

Source: the definition is J. Cohen's (Statistical Power Analysis, 1988); the scatter is taken from the pairs
by flipping the signs of their centred differences, which is the distribution that the test itself uses.
"""

from __future__ import annotations

import numpy as np

from meshverdict.analysis.permutation import LEVEL, Floats, sign_flips, subset_means

POWER = 0.8
_WORLDS = 512


def minimum_detectable_effect(differences: Floats, level: float = LEVEL, power: float = POWER) -> float:
    """The smallest log ratio that would have been found.

    In a world with effect x the lower bound of the interval is x plus the bound of the scatter alone, so x is
    found when it is larger than minus that bound; the answer is the power-quantile of that over the worlds.

    Args:
        differences: One log ratio per pair, shape (pairs,).
        level: Of the interval.
        power: Probability of finding it.

    Returns:
        A log ratio, at least 0; infinite when there are too few pairs.
    """
    pairs = len(differences)
    flips = sign_flips(pairs)
    rank = int(np.floor(level * len(flips) / 2 + 1e-9))
    if rank < 1:
        return float(np.inf)
    # Residuals are smaller than the scatter they come from: one degree of freedom went into their mean.
    residuals = (differences - differences.mean()) * np.sqrt(pairs / (pairs - 1))
    worlds = flips[:: max(1, len(flips) // _WORLDS)] * residuals
    lower = np.partition(subset_means(worlds, flips), rank - 1, axis=1)[:, rank - 1]
    return max(0.0, float(np.quantile(-lower, power)))
