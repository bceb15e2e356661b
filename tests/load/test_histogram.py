"""The histogram: its error, its edges, and that merging loses nothing."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshverdict.model.errors import RecordError
from meshverdict.model.histogram import RATIO, Histogram

LATENCIES = st.lists(st.floats(min_value=1.0, max_value=1e9), min_size=1, max_size=200)


def of(values):
    histogram = Histogram()
    histogram.update(values)
    return histogram


@given(LATENCIES, st.sampled_from([0.0, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0]))
def test_a_quantile_is_the_sample_of_its_rank_within_half_a_bucket(values, share):
    """Every quantile lies within sqrt(ratio) - 1 of the sample of rank ceil(q n)."""
    rank = max(1, math.ceil(share * len(values) - 1e-9 * len(values)))
    sample = sorted(values)[rank - 1]
    assert of(values).quantile(share) == pytest.approx(sample, rel=math.sqrt(RATIO) - 1 + 1e-9)


@given(st.lists(LATENCIES, min_size=1, max_size=5))
def test_merging_parts_equals_one_histogram_of_all(parts):
    """Workers merged equal one recorder that was fed the same samples, exactly."""
    assert Histogram.merged(of(part) for part in parts) == of(value for part in parts for value in part)


@given(LATENCIES)
def test_json_and_back_is_the_same(values):
    """What is written is what is read."""
    histogram = of(values)
    assert Histogram.from_json(histogram.as_json()) == histogram


@given(st.floats(min_value=1.0, max_value=1e9))
def test_a_bucket_holds_what_falls_into_it(value):
    """Bucket i covers [ratio**i, ratio**(i + 1))."""
    histogram = Histogram()
    low, high = histogram.bounds(histogram.bucket(value))
    assert low * (1 - 1e-9) <= value < high * (1 + 1e-9)


def test_below_a_microsecond_is_bucket_zero():
    """Zero, negative (a send before its time) and tiny values do not fail."""
    assert of([0.0, -5.0, 0.3, 1.0]).as_json() == {"i": [0], "c": [4]}


def test_ranks_are_not_moved_by_floating_point():
    """The 99.9th percentile of 1000 samples is the 999th, though 0.999 * 1000 is a little more than 999."""
    values = [100.0] * 999 + [1e6]
    assert of(values).quantile(0.999) == pytest.approx(100.0, rel=0.006)


def test_no_sample_has_no_quantile():
    """An empty histogram says None, not 0."""
    assert Histogram().quantile(0.5) is None
    assert Histogram().mean() is None


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"i": [1]},
        {"i": [1], "c": [1, 2]},
        {"i": [1.5], "c": [1]},
        {"i": [1], "c": [-1]},
        {"i": 1, "c": 1},
        {"i": [10**9], "c": [1]},
    ],
)
def test_what_is_no_histogram_is_refused(value):
    """A wrong shape is a RecordError, never a wrong number."""
    with pytest.raises(RecordError):
        Histogram.from_json(value)


def test_two_ratios_do_not_merge():
    """Buckets of different sizes cannot be added."""
    with pytest.raises(RecordError, match="cannot be merged"):
        Histogram(1.01).merge(Histogram(1.005))


@pytest.mark.parametrize("ratio", [1.0, 0.5, float("nan"), float("inf")])
def test_a_ratio_must_be_above_one(ratio):
    """Buckets that do not grow are none."""
    with pytest.raises(RecordError):
        Histogram(ratio)


def test_the_mean_is_within_half_a_bucket():
    """The mean of the buckets' middles is as near as the buckets are fine."""
    values = [random.Random(1).uniform(100, 1e6) for _ in range(1000)]
    assert of(values).mean() == pytest.approx(sum(values) / len(values), rel=0.005)
