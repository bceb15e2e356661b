"""Where an experiment's files are found, and where its run is written."""

import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from meshverdict.chaos import files
from meshverdict.chaos.files import Source
from meshverdict.model.errors import LabError, UsageError
from meshverdict.model.paths import data_folder

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_folder_beside_the_experiment_comes_first(tmp_path, monkeypatch):
    """The same experiment works from any working folder."""
    for name in ("experiments", "manifests", "elsewhere"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    source = Source(tmp_path / "experiments" / "x.json")
    assert files.find_data("manifests", "../manifests", source) == tmp_path / "manifests"


def test_folder_of_the_installation_is_the_last_resort(tmp_path, monkeypatch):
    """An experiment that was copied somewhere still finds what ships with the package."""
    monkeypatch.chdir(tmp_path)
    assert files.find_data("manifests", "../manifests", Source(tmp_path / "x.json")) == data_folder(
        "manifests"
    )


def test_folder_that_is_nowhere_is_named(tmp_path, monkeypatch):
    """The message says where it was looked for and how to set it."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"there is no folder .*/mine.*; set it with --var manifests=FOLDER"):
        files.find_data("manifests", "mine", Source(tmp_path / "x.json"))


@pytest.mark.parametrize(
    ("file", "environ", "expected"),
    [
        ("/p/experiments/x.json", {}, "/p/reports"),
        ("/p/mine/deep/x.json", {}, "/p/mine/reports"),
        ("/p/x.json", {}, "/p/reports"),
        ("/p/experiments/x.json", {"MESHVERDICT_REPORTS": "/r"}, "/r"),
    ],
)
def test_reports_lie_beside_the_experiments_own_folder(file, environ, expected):
    """Whatever the working folder is; never in the root folder."""
    assert files.reports_folder(Source(Path(file)), environ) == Path(expected)


def test_reports_of_an_installed_experiment_lie_in_the_working_folder(tmp_path, monkeypatch):
    """Nothing is written into an installation."""
    monkeypatch.chdir(tmp_path)
    installed = files.PACKAGE / "_data" / "experiments" / "x.json"
    assert files.reports_folder(Source(installed), {}) == tmp_path / "reports"


def test_run_folder_is_named_by_time_and_arm(tmp_path):
    """The names that formats.md gives; two runs in one second do not share a folder."""
    names = [
        files.make_run_folder(tmp_path, "x", NOW, arm=arm, pair=pair).name
        for arm, pair in ((None, None), (None, None), ("control", 3), ("treatment", None))
    ]
    assert names == [
        "20260102T030405Z",
        "20260102T030405Z-2",
        "20260102T030405Z-pair03-control",
        "20260102T030405Z-treatment",
    ]


def test_folder_that_cannot_be_made_is_explained(tmp_path):
    """A file is where a folder should be."""
    (tmp_path / "file").touch()
    with pytest.raises(LabError, match="set MESHVERDICT_REPORTS to a folder that you can write to"):
        files.make_run_folder(tmp_path / "file", "x", NOW, arm=None, pair=None)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="a small disk can only be mounted as root")
def test_full_disk_is_refused_before_the_run(tmp_path):
    """On a disk of one megabyte the run does not begin, and leaves no folder."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=False)
    if mounted.returncode != 0:
        pytest.skip("this machine does not allow mounting")
    try:
        with pytest.raises(LabError, match=r"the disk is full \(\d MB free, 50 MB are needed\)"):
            files.make_run_folder(disk, "x", NOW, arm=None, pair=None)
        assert list((disk / "x").iterdir()) == []
    finally:
        subprocess.run(["umount", disk], check=True)
