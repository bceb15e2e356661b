"""Pods of two zones in a proportion: what the scheduler is told, and that the lab's does so."""

import pytest

from meshverdict.chaos.placement import placing
from meshverdict.model.errors import UsageError

SELECTOR = {"matchLabels": {"app": "pippo"}}


@pytest.mark.parametrize(("count", "skew"), [(5, 1), (6, 2), (7, 4), (10, 10)])
def test_skew_is_the_difference_between_the_zones(count, skew):
    """Ten pods; an even spread prefers nobody."""
    found = placing("zone-a", count, 10, SELECTOR)
    assert found["topologySpreadConstraints"][0]["maxSkew"] == skew
    assert (found["affinity"] is None) is (count == 5)


@pytest.mark.parametrize("count", [4, 11])
def test_less_than_half_is_asked_of_the_other_zone(count):
    """A preference for a zone cannot make it the smaller one."""
    with pytest.raises(UsageError, match=f"{count} of 10 pods"):
        placing("zone-a", count, 10, SELECTOR)
