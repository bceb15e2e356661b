"""docs/chaos.md mentions every action, probe, argument and variable."""

import inspect
import re
from pathlib import Path

import pytest

from meshverdict.chaos import actions, discover, probes
from meshverdict.chaos.options import ARGUMENTS

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "chaos.md").read_text()
ACTIVITIES = [getattr(module, name) for module in (actions, probes) for name in module.__all__]


def row_of(name):
    """The table row that begins with this name."""
    found = re.search(rf"^\| `{name}` \|.*$", TEXT, re.MULTILINE)
    return found[0] if found else ""


@pytest.mark.parametrize("activity", ACTIVITIES, ids=lambda a: a.__name__)
def test_activity_has_a_row_with_all_its_arguments(activity):
    """A row each, with every argument by name."""
    row = row_of(activity.__name__)
    assert row, f"{activity.__name__} is not in docs/chaos.md"
    assert [p for p in inspect.signature(activity).parameters if f"`{p}`" not in row] == []


@pytest.mark.parametrize("activity", ACTIVITIES, ids=lambda a: a.__name__)
def test_activity_describes_all_its_arguments(activity):
    """`chaos discover` shows the docstring: it names every argument."""
    text = inspect.getdoc(activity) or ""
    missing = [p for p in inspect.signature(activity).parameters if f"{p}:" not in text]
    assert missing == []


@pytest.mark.parametrize("argument", ARGUMENTS)
def test_control_argument_is_described(argument):
    """Every argument of the control."""
    assert f"`{argument}`" in TEXT


def test_variables_of_the_environment_are_described():
    """Every MESHVERDICT_ variable that this room reads."""
    code = "\n".join(p.read_text() for p in (ROOT / "meshverdict" / "chaos").glob("*.py"))
    used = set(re.findall(r"MESHVERDICT_[A-Z]+", code))
    assert used - set(re.findall(r"MESHVERDICT_[A-Z]+", TEXT)) == set()


def test_toolkit_discovers_all_of_them():
    """`chaos discover meshverdict` lists them."""
    found = {a["name"] for a in discover()["activities"]}
    assert found == {a.__name__ for a in ACTIVITIES}
