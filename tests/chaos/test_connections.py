"""What probers saw, turned into answers."""

from types import SimpleNamespace

import pytest

from meshverdict.chaos.connections import SILENT_S, Connection, Seen, as_expected
from meshverdict.chaos.prober import Probers
from meshverdict.chaos.run_json import elapsed_ms, treatment
from meshverdict.chaos.timeline import Timeline
from meshverdict.model.errors import UsageError

DENIED = Connection("b", "redis.d:6379", treated="closed", every_ms=5)
ALLOWED = Connection("c", "redis.d:6379")
NOW = 40.0


def seen(connection, *changes):
    """A record with these (time, state) changes."""
    made = Seen(connection)
    for t, state in changes:
        made.take(
            {"to": connection.to, "state": state, "t": t, "why": None if state == "open" else "timeout"}
        )
    return made


def test_change_is_dated_by_the_attempt_that_began_it():
    """The state at a moment is that of the last change before it."""
    record = seen(DENIED, (10, "open"), (20.005, "closed"), (30.001, "open"))
    assert [record.state(t) for t in (9, 10, 20, 20.005, 31)] == [None, "open", "open", "closed", "open"]


def test_lines_that_come_twice_count_once():
    """A reader that reconnects sees old lines again."""
    record = seen(DENIED, (10, "open"), (20, "closed"), (10, "open"), (20, "closed"))
    for _ in range(2):
        record.take({"to": DENIED.to, "second": 11, "open": 3, "closed": 1})
    assert [c.state for c in record.changes] == ["open", "closed"]
    assert (record.opened, record.closed) == (3, 1)


def test_measure_says_how_long_the_policy_took_and_whether_it_leaked():
    """Times count from apply and removal; a connection that opened in between is a leak."""
    record = seen(DENIED, (10, "open"), (20.005, "closed"), (22, "open"), (22.01, "closed"), (30.004, "open"))
    measured = record.measure(applied=20.0, removed=30.0)
    assert measured["apply_to_denied_ms"] == 5.0
    assert measured["remove_to_allowed_ms"] == 4.0
    assert measured["denied_as"] == "timeout"
    assert measured["opened_after_denial"] == 1


def test_measure_of_an_open_connection_says_what_became_of_it():
    """With `talk`, a connection that was open before the policy shows whether it was cut."""
    record = Seen(Connection("b", "redis.d:6379", talk="PING\r\n"))
    for t, word in ((10, "answered"), (20.02, "silent")):
        record.take({"to": "redis.d:6379", "talk": word, "t": t})
    assert record.measure(20.0, None)["open_connection"] == {"ended_as": "silent", "after_ms": 20.0}


def test_expectation_changes_with_the_treatment():
    """The same connections, judged before and under the treatment."""
    records = [seen(DENIED, (10, "open")), seen(ALLOWED, (10, "open"))]
    assert as_expected(records, treated=False, now=NOW) == (True, "all 2 as expected: 2 open, 0 closed")
    assert as_expected(records, treated=True, now=NOW) == (False, "b → redis.d:6379 is open, expected closed")


def test_a_prober_that_fell_silent_is_not_believed():
    """Its last word says nothing of now; a run in which one was silent at the end is not whole."""
    probers = Probers(SimpleNamespace(), [ALLOWED])
    record = probers.seen[0]
    record.take({"to": ALLOWED.to, "state": "open", "t": 10})
    record.heard = NOW
    assert as_expected(probers.seen, treated=False, now=NOW + SILENT_S)[0]
    right, words = as_expected(probers.seen, treated=False, now=NOW + SILENT_S + 1)
    assert (right, words) == (False, "c → redis.d:6379 was not tried for 21 s: its prober is silent")
    assert "has been silent for" in str(probers.failure)


@pytest.mark.parametrize("every", ["abc", float("nan"), float("inf"), 0, None, []])
def test_an_interval_that_is_none(every):
    """Named with the connection, the field and its bounds."""
    with pytest.raises(UsageError, match=r"connections: .*`every_ms` from 1 to 10000"):
        Connection.parse({"from": "a", "to": "b.c:1", "every_ms": every})


def test_moments_come_from_connections_that_must_change():
    """A connection that is allowed throughout does not date the treatment."""
    timeline = Timeline(applied=20.0, removed=30.0)
    records = [
        seen(ALLOWED, (10, "open"), (20.001, "closed"), (20.002, "open")),
        seen(DENIED, (10, "open"), (20.005, "closed"), (30.01, "open")),
    ]
    moments = treatment(timeline, records)
    assert moments == {"applied": 20.0, "in_effect": 20.005, "removed": 30.0, "restored": 30.01}
    assert elapsed_ms(moments, "applied", "in_effect") == 5.0


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"from": "a"}, "an object with `from` and `to`"),
        ({"from": "a", "to": "b:1", "expect": "open"}, "and any of untreated"),
        ({"from": "a", "to": "b"}, "`to` is name:port"),
        ({"from": "a", "to": "b:1", "treated": "shut"}, "one of open, closed"),
        ({"from": "a", "to": "b:1", "every_ms": 0}, "`every_ms` from 1 to 10000"),
    ],
)
def test_wrong_connections_are_refused(value, words):
    """A connection that would never be tried must not look like one that is."""
    with pytest.raises(UsageError, match=words):
        Connection.parse(value)
