"""A slip in what a campaign is judged by is found before the campaign is made."""

import json

import pytest

from meshverdict.chaos.lint import lint_files
from meshverdict.model.paths import data_folder


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("expect", "equal", "write one of"),
        ("margin", 5, "such as 0.05"),
        ("in_effect", "nobody", "activities of the method are"),
        ("quick", {"no_such": 1}, "configuration values"),
    ],
)
def test_a_wrong_declaration_is_named(tmp_path, key, value, words):
    """The key, and what may be written."""
    experiment = json.loads((data_folder("experiments") / "isolate-redis.json").read_text())
    experiment["extensions"][0][key] = value
    file = tmp_path / "experiment.json"
    file.write_text(json.dumps(experiment))
    said = [str(problem) for problem in lint_files([file]) if key in str(problem)]
    assert any(words in text for text in said), said
