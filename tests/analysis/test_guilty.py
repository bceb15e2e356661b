"""The guilty tier, from made-up edges whose answer is known."""

import pytest

from meshverdict.analysis.edges import EdgeTotal
from meshverdict.analysis.guilty import (
    Path,
    Waiting,
    guilty_tier,
    narrowed,
    own_extra_ms,
    suspects,
    waiting,
)
from meshverdict.model.histogram import Histogram

TRAEFIK, APACHE, APP, REDIS = "traefik", "apache", "app", "redis"
CASE_1, CASE_2 = (TRAEFIK, APACHE, APP, REDIS), (TRAEFIK, APACHE, REDIS)


def edges(*, apache=0.0, app=0.0, redis=0.0):
    """The lab, 60 requests of case 1 and 30 of case 2, where tiers take longer by so many milliseconds."""
    case_1, case_2 = app + redis, redis
    both = apache + (60 * case_1 + 30 * case_2) / 90
    return (
        Waiting(TRAEFIK, APACHE, 90, both),
        Waiting(APACHE, APP, 60, case_1),
        Waiting(APACHE, REDIS, 30, case_2),
        Waiting(APP, REDIS, 0, None),
    )


def paths(*, apache=0.0, app=0.0, redis=0.0):
    return (Path(CASE_1, apache + app + redis), Path(CASE_2, apache + redis))


@pytest.mark.parametrize("tier", [APACHE, APP, REDIS])
def test_tier_that_became_slow_is_named_by_what_the_mesh_saw(tier):
    """Twenty milliseconds, in each tier; what its callers wait in consequence is not theirs."""
    found = own_extra_ms(edges(**{tier: 20.0}))
    assert found == pytest.approx({APACHE: 0, APP: 0, REDIS: 0} | {tier: 20})
    assert guilty_tier(edges(**{tier: 20.0})) == tier


def test_nobody_is_named_while_nothing_is_wrong():
    """Less than what counts, in every tier."""
    assert guilty_tier(edges(apache=1.0, app=-2.0, redis=0.5)) is None
    assert guilty_tier(()) is None
    assert suspects(paths(apache=1.0)) == ()


def test_worse_of_two_is_named():
    """Both are slow, one slower."""
    assert guilty_tier(edges(apache=10.0, redis=15.0)) == REDIS


def test_client_names_a_tier_that_is_on_one_path_alone_and_leaves_three_otherwise():
    """Case 1 slow and case 2 not: the app. Both slow: whoever is on both."""
    assert suspects(paths(app=20.0)) == (APP,)
    assert suspects(paths(redis=20.0)) == (TRAEFIK, APACHE, REDIS)
    assert suspects(paths(apache=20.0)) == (TRAEFIK, APACHE, REDIS)


def test_busy_threads_of_the_app_tell_those_before_it_from_those_behind():
    """Threads wait for redis; they do not wait for Apache."""
    left = suspects(paths(redis=20.0))
    assert narrowed(left, paths(), {APP: (0.2, 2.0)}) == (REDIS,)
    assert narrowed(left, paths(), {APP: (0.2, 0.25)}) == (TRAEFIK, APACHE)
    assert narrowed((APP,), paths(), {APP: (0.2, 2.0)}) == (APP,)


def test_contradiction_clears_nobody():
    """Idle threads cannot leave nobody at all."""
    assert narrowed((APP,), paths(), {APP: (0.2, 0.2)}) == (APP,)


def test_growth_is_of_the_mean_of_the_same_edge():
    """10 ms then and 30 ms now; an edge that was not there before has no growth, and TCP never."""

    def edge(destination, ms, protocol="http"):
        found = EdgeTotal(APACHE, destination, destination, 80, protocol, 10.0, requests=5)
        if ms:
            found.latency.add(ms * 1000, 5)
        return found

    before = [edge(APP, 10), edge(REDIS, 0, "tcp")]
    during = [edge(APP, 30), edge(REDIS, 0, "tcp"), edge(TRAEFIK, 5)]
    found = {w.destination: w.extra_ms for w in waiting(before, during)}
    assert found == {APP: pytest.approx(20, rel=0.02), REDIS: None, TRAEFIK: None}
    assert Histogram().mean() is None
