"""The machine's counters are read from /proc as the kernel writes them, with and without pressure."""

import pytest

from meshverdict.chaos.machine_load import between, read
from meshverdict.chaos.versions import version_in

STAT = "cpu  {user} 0 100 {idle} 50 0 0 {steal} 7 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n"


def proc(folder, *, waited=None, **jiffies):
    folder.mkdir()
    (folder / "stat").write_text(STAT.format(**jiffies))
    if waited is not None:
        (folder / "pressure").mkdir()
        (folder / "pressure" / "cpu").write_text(
            f"some avg10=1.00 avg60=2.00 avg300=3.00 total={waited}\nfull x\n"
        )
    return folder


def test_shares_between_two_readings(tmp_path):
    """100 of 200 jiffies used, 20 of them taken away; a third of three seconds somebody waited."""
    one = read(10.0, proc(tmp_path / "1", user=0, idle=0, steal=0, waited=5_000_000))
    two = read(13.0, proc(tmp_path / "2", user=80, idle=100, steal=20, waited=6_000_000))
    assert between(one, two) == {"busy": 0.5, "steal": 0.1, "pressure": pytest.approx(0.3333)}


def test_a_kernel_without_pressure_and_a_system_without_proc(tmp_path):
    """The share is left out; there is no reading at all."""
    one = read(1.0, proc(tmp_path / "1", user=0, idle=0, steal=0))
    two = read(2.0, proc(tmp_path / "2", user=1, idle=1, steal=0))
    assert between(one, two) == {"busy": 0.5, "steal": 0.0}
    assert between(two, two) is None
    assert read(1.0, tmp_path / "nothing") is None


def test_this_machine_is_busy_to_some_share():
    """The real files of the machine that runs the test."""
    reading = read(1.0)
    assert reading is not None
    assert 0 < reading.used < reading.total


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("Version:      3.7.15\nCodename: langres", "3.7.15"),
        ("gunicorn (version 27.0.1)", "27.0.1"),
        ("envoy  version: 5d5f6b1c/1.34.1/Clean/RELEASE/BoringSSL", "1.34.1"),
        ("unknown command", None),
    ],
)
def test_versions_are_found_in_what_programs_say(text, version):
    """Recorded from the programs."""
    assert version_in(text) == version
