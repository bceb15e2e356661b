"""When a change is over for those who ask, from made-up records."""

import pytest

from meshverdict.analysis.load_table import load_table
from meshverdict.chaos.calm import calm
from meshverdict.model.histogram import Histogram
from meshverdict.model.record import Second


def record(*outcomes):
    """One request a second from second 100, with these outcomes."""
    made = (
        Second(100 + i, 0, "/x", o, 200, 1, Histogram(counts={7: 1})) for i, o in enumerate(outcomes) if o
    )
    return load_table(made)


@pytest.mark.parametrize(
    ("outcomes", "since", "expected"),
    [
        (("refused", "ok", "ok"), 100.5, True),
        (("ok", "refused", "ok"), 90, False),
        (("ok", "ok", "late"), 90, False),
        (("ok", "ok", "ok"), 101.5, False),
        (("ok", None, None), 90, False),
    ],
    ids=["over", "one bad", "one late", "not long enough after", "nobody asked"],
)
def test_last_seconds_are_calm_when_all_of_their_requests_were_answered(outcomes, since, expected):
    """Two seconds, after the moment of the question."""
    assert calm(record(*outcomes), 102, since, 2) is expected
