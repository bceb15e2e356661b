"""Against the measured answers of `chaos validate`: what it refuses is refused, what it lets through is caught."""

from pathlib import Path

import pytest
import yaml

from meshverdict.chaos.lint import lint_files, lint_text

ROOT = Path(__file__).parents[2]
YARDSTICK = ROOT.parent / "shared/yardsticks/chaos_validate.yaml"

CORRECT = {"01", "23", "37", "40", "42"}
# A rule that must be among the problems; a variable of the environment may be there on another machine.
EXPECTED = {
    "02": "no-title", "03": "no-description", "04": "no-method", "05": "empty-method", "06": "not-an-experiment",
    "07": "empty-hypothesis", "08": "empty-hypothesis", "09": "no-tolerance", "10": "no-hypothesis-title",
    "11": "unknown-activity-type", "12": "no-name", "13": "no-provider", "14": "unknown-provider-type",
    "15": "no-url", "16": "unknown-module", "17": "unknown-function", "18": "missing-argument",
    "19": "unknown-argument", "20": "no-path", "21": "program-not-found", "22": "unknown-reference",
    "24": "unknown-key", "25": "unknown-key", "26": "bad-timeout", "27": "bad-timeout", "28": "bad-tolerance",
    "29": "bad-tolerance", "30": "bad-regex", "31": "bad-jsonpath", "32": "probe-in-rollbacks",
    "33": "no-provider", "34": "unknown-control-module", "35": "bad-tag", "36": "environment-missing",
    "38": "environment-missing", "39": "wrong-type", "41": "bad-pause", "43": "bad-contribution",
    "44": "no-extension-name", "45": "duplicate-name", "46": "undefined-variable", "47": "no-version",
    "48": "unknown-http-method", "50": "syntax", "51": "empty-method", "52": "yaml-tag",
    "53": "unknown-file-type", "54": "duplicate-key", "55": "not-a-number",
}  # fmt: skip
WARNED = {"36", "38"}


def _cases():
    if not YARDSTICK.is_file():
        return []
    return yaml.load(YARDSTICK.read_text(), yaml.CSafeLoader)["cases"]


@pytest.mark.skipif(not YARDSTICK.is_file(), reason=f"needs {YARDSTICK.name} in ../shared/yardsticks")
def test_every_case_is_spoken_for():
    """No case of the yardstick is left out here."""
    assert {case["file"][:2] for case in _cases()} == CORRECT | set(EXPECTED)


@pytest.mark.parametrize("case", _cases(), ids=lambda c: c["file"])
def test_measured_answers(case, tmp_path):
    """A correct file has no error; any other has the one that names its fault, with a fix and a line."""
    number = case["file"][:2]
    found = lint_text(case["file"], case["content"].encode(), folder=tmp_path, environ={})
    errors = {p.id for p in found if p.severity == "error"}
    assert all(p.what and p.fix and p.line >= 1 for p in found)
    if number in CORRECT:
        assert errors == set()
    elif number in WARNED:
        assert EXPECTED[number] in {p.id for p in found}
    else:
        assert EXPECTED[number] in errors


def test_own_experiments_are_clean():
    """No problem at all, not even a warning, in the experiments that this project ships."""
    assert lint_files([ROOT / "experiments"]) == []
