"""Delays between zones on the command line: one for both ways or one each, and jitter."""

import pytest

from meshverdict.cli.lab_commands import settings_of
from meshverdict.cli.parser import parser
from meshverdict.model.errors import UsageError


def parsed(*options):
    return settings_of(parser().parse_args(["up", *options]))


@pytest.mark.parametrize(
    ("given", "ways", "kept"),
    [
        ("1", (1.0, 1.0), None),
        ("0.5,0.8", (0.5, 0.8), 0.8),
        ("2,2", (2.0, 2.0), None),
        ("0,3", (0.0, 3.0), 3.0),
    ],
)
def test_one_delay_is_meant_for_both_ways(given, ways, kept):
    """Two that are the same are one, so that equal labs have equal settings."""
    found = parsed("--zones", "2", "--zone-delay", given)
    assert (found.delays_ms, found.zone_delay_back_ms) == (ways, kept)
    assert found.delayed


def test_jitter_alone_needs_the_line_too():
    """Without any delay packets go past it."""
    assert parsed("--zones", "2", "--zone-jitter", "0.3").delayed
    assert not parsed("--zones", "2").delayed


@pytest.mark.parametrize("given", ["", "a", "1,2,3", "1,", "1;2"])
def test_delay_that_is_no_number_shows_the_form(given, capsys):
    """Exit code 2, as for every usage error."""
    with pytest.raises(SystemExit, match="2"):
        parsed("--zones", "2", "--zone-delay", given)
    assert "0.5,0.8 for there and back" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--zones", "2", "--zone-delay", "1,-1"), "--zone-delay 1,-1: between 0 and 1000"),
        (("--zones", "2", "--zone-delay", "nan"), "--zone-delay nan: between 0 and 1000"),
        (("--zones", "2", "--zone-jitter", "inf"), "--zone-jitter inf: between 0 and 1000"),
        (("--zone-delay", "0,1"), "--zone-delay 0,1: one zone has nobody"),
        (("--zone-jitter", "1"), "--zone-jitter 1: one zone has nobody"),
    ],
)
def test_delay_that_makes_no_sense_is_refused_by_name(options, words):
    """The option and what was given."""
    with pytest.raises(UsageError, match=words):
        parsed(*options)
