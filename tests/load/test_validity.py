"""A generator that was not on time, lost something or lacked CPU makes an invalid run."""

from dataclasses import replace

import pytest

from meshverdict.model.histogram import Histogram
from meshverdict.model.record import GeneratorSecond, Header, Second
from meshverdict.model.record_reader import LoadRecord
from meshverdict.model.validity import check_load

HEADER = Header(0.0, 1, "poisson", 10.0, None, 1, "l.py", "http://x")
LATENCY = Histogram(counts={600: 10})


def record(**changes):
    lag = Histogram()
    lag.add(100.0, 10)
    generator = [GeneratorSecond(t, 0, 10, 10, 0, 0, 1, lag, 0.1, "fifo", pressure=0.1) for t in range(10)]
    healthy = LoadRecord(HEADER, [Second(t, 0, "/a", "ok", 200, 10, LATENCY) for t in range(10)], generator)
    return replace(healthy, **changes)


def with_generator(**changes):
    return record(generator=[replace(second, **changes) for second in record().generator])


def late():
    lag = Histogram()
    lag.add(9000.0, 10)
    return lag


def test_a_healthy_generator_is_believed():
    """Nothing to say."""
    assert (check_load(record()).valid, check_load(record()).notes) == (True, ())


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (with_generator(lag=late()), "late: p99 of the send lag 9.0 ms"),
        (with_generator(lag=None), "no send lag"),
        (with_generator(steal_ms=100.0), "no CPU for 10%"),
        (with_generator(pressure=0.95), "overloaded 95%"),
        (with_generator(dropped=1), "10 of 100 arrivals were dropped"),
        (with_generator(held=1), "no connection could be opened"),
        (with_generator(clock_step_ms=-2000.0), "clock jumped by -2000 ms"),
        (with_generator(scheduled=11), "110 requests were due and 100 have an outcome"),
        (record(generator=record().generator[:4] + record().generator[6:]), "2 seconds are missing"),
        (record(missing=["no end line: the record was cut"]), "cut"),
        (record(reason="crashed"), "crashed"),
        (record(seconds=[]), "no request"),
    ],
)
def test_what_makes_a_run_invalid(made, reason):
    """The reason is in words, with its figure."""
    found = check_load(made)
    assert not found.valid
    assert any(reason in text for text in found.reasons), found.reasons


def test_a_closed_loop_says_so():
    """It is no failure, but every reader has to know."""
    closed = record(header=replace(HEADER, arrivals="closed", seed=None, rate=None))
    closed = replace(closed, generator=[replace(second, lag=None) for second in closed.generator])
    assert check_load(closed).valid
    assert "closed-loop" in check_load(closed).notes[0]


def workers(*spans, of=2, scheduled=10):
    """A record of workers that told from a first second to before a last one."""
    own = record().generator[0]
    seconds = [
        replace(own, t=t, w=w, scheduled=scheduled) for w, span in enumerate(spans) for t in range(*span)
    ]
    done = [Second(second.t, second.w, "/a", "ok", 200, scheduled, LATENCY) for second in seconds]
    return record(header=replace(HEADER, workers=of), generator=seconds, seconds=done)


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (workers((0, 60), of=3), "worker 1 of 3 wrote nothing"),
        (workers((0, 60), (0, 20)), "worker 1 ended 40 s before the others"),
    ],
)
def test_a_worker_that_was_lost_makes_a_run_invalid(made, reason):
    """The service had less load than was asked for, from then on or from the beginning."""
    assert any(reason in text for text in check_load(made).reasons), check_load(made).reasons


def test_workers_whose_last_arrivals_lie_apart_by_chance_are_believed():
    """And one that has a record of its own answers for itself alone."""
    assert check_load(workers((0, 60), (0, 59))).valid
    rare = workers((0, 60), (0, 45), scheduled=1)
    assert not any("before the others" in text for text in check_load(rare).reasons)
    own = record(header=replace(HEADER, workers=3, w=0))
    assert check_load(own).valid
