"""What Chaos Toolkit accepts and should not: found before anything happens."""

import copy
import json
from pathlib import Path

import pytest

from meshverdict.chaos.experiment_file import (
    Treatment,
    leave_out,
    numbers,
    planned_seconds,
    treatment_of,
    undefined_variables,
    unknown_names,
)
from meshverdict.model.errors import UsageError

POLICY = {
    "type": "action",
    "name": "isolate",
    "provider": {
        "type": "python",
        "module": "chaosk8s.networking.actions",
        "func": "create_network_policy",
        "arguments": {"spec_path": "${manifests}/p.yaml", "ns": "d-redis"},
    },
}
BACK = {
    "type": "action",
    "name": "free",
    "provider": {
        "type": "python",
        "module": "chaosk8s.networking.actions",
        "func": "remove_network_policy",
        "arguments": {"name": "isolate-namespace", "ns": "d-redis"},
    },
}
OTHER_BACK = {
    **BACK,
    "name": "other",
    "provider": {**BACK["provider"], "arguments": {"name": "x", "ns": "other"}},
}
HOLD = {
    "type": "action",
    "name": "hold",
    "pauses": {"after": 2},
    "provider": {
        "type": "python",
        "module": "meshverdict.chaos.actions",
        "func": "hold",
        "arguments": {"seconds": "${s}"},
    },
}


def experiment(**changes):
    """A small experiment with a treatment."""
    base = {
        "title": "t",
        "configuration": {"manifests": "../manifests", "s": 5},
        "extensions": [{"name": "meshverdict", "treatment": ["isolate"]}],
        "method": [POLICY, HOLD],
        "rollbacks": [BACK, OTHER_BACK],
    }
    return copy.deepcopy(base | changes)


def test_undefined_variable_is_named_with_its_place():
    """A variable that nothing defines reaches an activity as text, so its use is reported with the activity."""
    found = undefined_variables(experiment(), {"manifests"})
    assert found == ["method: 'hold' uses ${s}, which nothing defines"]


def test_variables_of_controls_and_nested_values_are_seen():
    """Controls and values deep in lists count too."""
    control = {"name": "c", "provider": {"arguments": {"load": [{"rate": "a ${deep} b"}]}}}
    found = undefined_variables({"controls": [control]}, ())
    assert found == ["control 'c' uses ${deep}, which nothing defines"]


def test_text_becomes_the_number_that_the_experiment_declares():
    """`--var s=7` gives text, and a pause of text fails in the middle of a run."""
    declared = {"s": 5, "f": 0.5, "name": "x", "flag": True}
    assert numbers(declared, {"s": "7", "f": "1.25", "name": "8", "flag": "9"}) == {"s": 7, "f": 1.25}


def test_a_number_that_is_none_is_refused_with_an_example():
    """The message names the variable and shows a value that works."""
    for wrong in ("soon", "inf", "nan", "-inf"):
        with pytest.raises(UsageError, match=rf"--var s={wrong}: a number is needed, such as s=5"):
            numbers({"s": 5}, {"s": wrong})


def test_names_given_in_vain_are_found():
    """Chaos Toolkit ignores a misspelt --var; here it is found."""
    assert unknown_names(["baselines", "s"], ["s"]) == ["baselines"]


def test_treatment_has_the_rollbacks_that_undo_it():
    """Only the rollback of the same kind and namespace undoes a treatment."""
    assert treatment_of(experiment()) == Treatment(("isolate",), ("free",))


def test_treatment_that_is_not_in_the_method_is_refused():
    """Without its treatment a run measures nothing, so it does not begin."""
    with pytest.raises(UsageError, match=r"'isolate' is not in the method \('hold'\); put the activity back"):
        treatment_of(experiment(method=[HOLD]))


def test_treatment_that_is_no_list_is_refused():
    """A single name would be read as a list of letters."""
    with pytest.raises(UsageError, match="must be a list of activity names"):
        treatment_of(experiment(extensions=[{"name": "meshverdict", "treatment": "isolate"}]))


def test_control_arm_keeps_everything_else_in_the_same_lists():
    """The journal holds the same lists, so it shows what the control arm was to do."""
    value = experiment()
    method, rollbacks = value["method"], value["rollbacks"]
    leave_out(value, treatment_of(value))
    assert [a["name"] for a in method] == ["hold"]
    assert [a["name"] for a in rollbacks] == ["other"]
    assert value["method"] is method


def test_plan_counts_pauses_and_seconds_with_variables():
    """The progress line knows about how long method and rollbacks take."""
    assert planned_seconds(experiment(), {"s": 5}) == 7


def test_experiment_of_the_lab_has_no_undefined_variable_and_a_treatment():
    """The experiment that ships passes its own checks."""
    path = Path(__file__).parents[2] / "experiments" / "isolate-redis.json"
    value = json.loads(path.read_text())
    assert undefined_variables(value, value["configuration"]) == []
    assert treatment_of(value) == Treatment(
        ("only-the-app-may-reach-redis",), ("everybody-may-reach-redis-again",)
    )
    assert value["runtime"]["rollbacks"]["strategy"] == "always"
