"""Run folders for the tests of reports, made from a seed."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import synthetic

YARDSTICKS = Path(__file__).resolve().parents[3] / "shared" / "yardsticks"


@pytest.fixture
def make_run(tmp_path):
    """Make a run folder; keyword arguments as in synthetic.Shape."""

    def make(name="run", **shape):
        return synthetic.write_run(tmp_path / name, synthetic.Shape(**shape))

    return make


@pytest.fixture
def journals():
    """The folder of recorded Chaos Toolkit journals."""
    folder = YARDSTICKS / "journals"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there: the recorded journals are kept beside the repository")
    return folder
