"""Every experiment that ships is one that can be run: by the toolkit's rules, by ours, and by those of the house."""

import json

import pytest
from chaoslib.experiment import ensure_experiment_is_valid, load_experiment

from meshverdict.chaos.experiment_file import EXTENSION, treatment_of
from meshverdict.chaos.lint import lint_files
from meshverdict.model.paths import data_folder

FILES = sorted(data_folder("experiments").glob("*.json"))


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_chaos_validate_accepts_it(file):
    """What `chaos validate FILE` does."""
    ensure_experiment_is_valid(load_experiment(str(file)))


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_lint_finds_nothing(file):
    """Not even a warning."""
    assert [str(problem) for problem in lint_files([file])] == []


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_the_house_rules_are_kept(file):
    """A treatment, rollbacks that always run, and a load that ends as the last of them."""
    experiment = json.loads(file.read_text())
    assert any(e["name"] == EXTENSION for e in experiment["extensions"])
    assert treatment_of(experiment).apply
    assert experiment["runtime"]["rollbacks"]["strategy"] == "always"
    assert experiment["rollbacks"][-1]["provider"]["func"] == "stop_load"
