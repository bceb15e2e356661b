"""The committed example can be worked with: it is whole in a clone, not only where it was measured."""

import subprocess
import sys
from pathlib import Path

import pytest

from meshverdict.report.check import check

EXAMPLE = Path(__file__).resolve().parents[2] / "reports" / "example"


@pytest.mark.parametrize("run", ["isolate-redis", "isolate-redis-again"])
def test_example_runs_can_be_judged(run):
    """Journal, run and record are there, and hold."""
    assert check(EXAMPLE / run).word == "HOLDS"


def test_all_files_of_the_example_are_committed():
    """A file that git ignores would be missing from every clone."""
    if not (EXAMPLE.parents[1] / ".git").exists():
        pytest.skip("no checkout: nothing to compare with")
    command = ["git", "ls-files", "--others", "--", str(EXAMPLE)]
    stray = subprocess.run(command, cwd=EXAMPLE, capture_output=True, text=True, check=True).stdout
    assert stray == ""


def test_the_readme_s_commands_work(tmp_path):
    """Comparing the two runs, as the example's README says."""
    command = [sys.executable, "-m", "meshverdict", "compare", EXAMPLE / "isolate-redis"]
    ran = subprocess.run(
        [*command, EXAMPLE / "isolate-redis-again"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert "A description, not a verdict" in ran.stdout
