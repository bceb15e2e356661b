"""Whole campaigns of a simulated queue: latencies that depend on each other, drift, and have two humps.

One run is a single-server queue (Lindley's recursion) with log-normal service times, so a slow request makes the
next ones wait; its speed drifts from run to run, and some requests take a second, slower path. All campaigns of
a batch are made at once, as arrays.
"""

import numpy as np

MODELS = ("autocorrelated", "drifting", "bimodal")


def campaigns(rng, model, *, count, pairs, requests=300, effect=1.0, spread=1.0):
    """Log metrics of both arms.

    Args:
        rng: Generator.
        model: One of MODELS.
        count: Campaigns.
        pairs: Pairs in each.
        requests: Requests in each run.
        effect: Factor on the treatment's service times.
        spread: Exponent that widens the treatment's latencies around the same median.

    Returns:
        Log ratios treatment / control of p50, p99, spread (p75 - p25) and goodput: (count, pairs, 4).
    """
    shape = (count, pairs, 2)
    first = rng.integers(0, 2, size=(count, pairs, 1))
    order = np.concatenate([first, 1 - first], axis=2)  # place in time of (control, treatment)
    log_speed = rng.normal(0, 0.02, size=shape)
    slow_share = np.zeros(shape)
    if model == "drifting":
        place = 2 * np.arange(pairs)[None, :, None] + order
        walk = np.cumsum(rng.normal(0, 0.04, size=(count, 2 * pairs)), axis=1)
        log_speed += np.take_along_axis(walk, place.reshape(count, -1), axis=1).reshape(shape) + 0.03 * place
    if model == "bimodal":
        slow_share = rng.beta(2, 60, size=shape)
    latencies = queue(rng, shape, requests, np.exp(log_speed), slow_share, effect)
    if spread != 1.0:
        middle = np.median(latencies[:, :, 1], axis=-1, keepdims=True)
        latencies[:, :, 1] = middle * (latencies[:, :, 1] / middle) ** spread
    return metrics(latencies)


def queue(rng, shape, requests, speed, slow_share, effect, load=0.6):
    """Sojourn times of one server: shape (*shape, requests)."""
    service = rng.lognormal(-0.18, 0.6, size=(*shape, requests)) * speed[..., None]
    service[:, :, 1] *= effect
    service *= np.where(rng.random(service.shape) < slow_share[..., None], 8.0, 1.0)
    arrivals = rng.exponential(1 / load, size=service.shape)
    steps = service[..., :-1] - arrivals[..., 1:]
    total = np.concatenate([np.zeros((*shape, 1)), np.cumsum(steps, axis=-1)], axis=-1)
    return total - np.minimum.accumulate(total, axis=-1) + service


def metrics(latencies):
    """Log ratios treatment / control of four metrics."""
    p25, p50, p75, p99 = np.quantile(latencies, (0.25, 0.5, 0.75, 0.99), axis=-1)
    good = (latencies < 12.0).mean(axis=-1)
    logs = np.stack([np.log(p50), np.log(p99), np.log(p75 - p25), np.log(good + 0.01)], axis=-1)
    return logs[:, :, 1] - logs[:, :, 0]
