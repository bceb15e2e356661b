"""Each fault gives its rule, at its place and line."""

import json
from typing import Any

import pytest

from meshverdict.chaos.lint import lint_text

HOLD = {
    "type": "action", "name": "hold",
    "provider": {"type": "process", "path": "sleep", "arguments": ["1"]},
}  # fmt: skip
HTTP = {"type": "http", "url": "http://127.0.0.1:9/"}


def experiment(**changes: Any) -> dict[str, Any]:
    """A correct experiment with some entries changed."""
    probe = {"type": "probe", "name": "answers", "tolerance": 200, "provider": HTTP}
    return {
        "version": "1.0.0", "title": "t", "description": "d", "method": [HOLD], "rollbacks": [],
        "steady-state-hypothesis": {"title": "h", "probes": [probe]}, **changes,
    }  # fmt: skip


def found(value, tmp_path, **environ):
    text = json.dumps(value, indent=1)
    return lint_text("e.json", text.encode(), folder=tmp_path, environ=environ)


def python(module, func, /, kind="action", **arguments):
    return {
        "type": kind, "name": f"{func}-it",
        "provider": {"type": "python", "module": module, "func": func, "arguments": arguments},
    }  # fmt: skip


def held_to(tolerance, provider=HTTP):
    probe = {"type": "probe", "name": "answers", "tolerance": tolerance, "provider": provider}
    return experiment(**{"steady-state-hypothesis": {"title": "h", "probes": [probe]}})


COUNT = {
    "type": "python", "module": "chaosk8s.pod.probes", "func": "count_pods", "arguments": {"label_selector": "a"},
}  # fmt: skip
NETWORK = "chaosk8s.networking.actions"
CRD = "chaosk8s.crd.actions"
HYPOTHESIS = "steady-state-hypothesis.probes[0]"


def test_a_correct_experiment_has_no_problem(tmp_path):
    """The base that the other tests change is itself clean."""
    assert found(experiment(), tmp_path) == []


@pytest.mark.parametrize(
    ("value", "rule", "path"),
    [
        (experiment(titel="x"), "unknown-key", "titel"),
        (experiment(method=[{**HOLD, "backgroud": True}]), "unknown-key", "method[0].backgroud"),
        (experiment(method=[HOLD, {**HOLD}]), "duplicate-name", "method[1].name"),
        (experiment(method=[{**HOLD, "pauses": {"after": "5"}}]), "bad-pause", "method[0].pauses.after"),
        (experiment(method=[{**HOLD, "pauses": {"after": -1}}]), "bad-pause", "method[0].pauses.after"),
        (
            experiment(method=[{**HOLD, "pauses": {"after": "${s}"}}], configuration={"s": "5"}),
            "bad-pause", "method[0].pauses.after",
        ),
        (
            experiment(
                method=[{**HOLD, "pauses": {"after": "${s}"}}],
                configuration={"s": {"type": "env", "key": "S", "default": "5"}},
            ),
            "bad-pause", "method[0].pauses.after",
        ),
        (experiment(method=[{**HOLD, "background": True}]), "background-without-wait", "method[0].background"),
        (experiment(method=[{**HOLD, "tolerance": 0}]), "tolerance-without-effect", "method[0].tolerance"),
        (
            experiment(method=[python("time", "sleep", kind="probe", a="x ${no} ${yes}")], configuration={"yes": 1}),
            "undefined-variable", "method[0].provider.arguments.a",
        ),
        (
            experiment(controls=[{"name": "c", "provider": {"type": "python", "module": "meshverdict.chaos.control",
                                                            "arguments": {"load": {"rate": "${no}"}}}}]),
            "undefined-variable", "controls[0].provider.arguments.load.rate",
        ),
        (
            experiment(method=[{**HOLD, "provider": {"type": "process", "path": "${p}"}}], configuration={"p": "ls"}),
            "variable-not-substituted", "method[0].provider.path",
        ),
        (held_to(1.5), "bad-tolerance", f"{HYPOTHESIS}.tolerance"),
        (held_to({"type": "range", "range": [5, 1], "target": "status"}), "bad-tolerance",
         f"{HYPOTHESIS}.tolerance.range"),
        (held_to([200, 503]), "ambiguous-tolerance", f"{HYPOTHESIS}.tolerance"),
        (held_to([1, 3], COUNT), "ambiguous-tolerance", f"{HYPOTHESIS}.tolerance"),
        (held_to("200"), "tolerance-never-met", f"{HYPOTHESIS}.tolerance"),
        (held_to({"type": "regex", "pattern": "x"}), "tolerance-never-met", f"{HYPOTHESIS}.tolerance"),
        (held_to({"type": "probe", "name": "p", "provider": HTTP}), "bad-tolerance",
         f"{HYPOTHESIS}.tolerance.provider"),
        (experiment(method=[python(NETWORK, "create_network_policy", spec={"metadata": {"name": "a"}})]),
         "missing-rollback", "method[0]"),
        (experiment(method=[python(NETWORK, "deny_all_ingress", ns="a")],
                    rollbacks=[python(NETWORK, "remove_deny_all_ingress", ns="b")]),
         "missing-rollback", "method[0]"),
        (experiment(method=[python(NETWORK, "deny_all_ingress", ns="a"),
                            python(NETWORK, "remove_deny_all_ingress", ns="a")]),
         "undo-only-in-method", "method[0]"),
        (experiment(rollbacks=[{**HOLD, "name": "back"}]), "rollbacks-not-always", "rollbacks"),
        (experiment(runtime={"rollbacks": {"strategy": "alway"}}), "bad-strategy", "runtime.rollbacks.strategy"),
        (experiment(extensions=[{"name": "meshverdict", "treatment": ["hol"]}]), "unknown-treatment",
         "extensions[0].treatment[0]"),
        (experiment(method=[python(NETWORK, "create_network_policy", spec_path="no.yaml")]), "missing-manifest",
         "method[0].provider.arguments.spec_path"),
        (experiment(method=[python(NETWORK, "create_network_policy", ns="a")]), "no-specification",
         "method[0].provider"),
        (experiment(method=[python("chaosk8s.pod.actions", "exec_in_pods", cmd="ls")]), "exec-without-container",
         "method[0].provider"),
        (experiment(method=[python(CRD, "apply_from_yaml", resource="r")]), "broken-function",
         "method[0].provider.func"),
        (experiment(method=[python(CRD, "patch_custom_object", resource={"a": 1})]), "broken-function",
         "method[0].provider.arguments.resource"),
        (experiment(method=[python("chaosk8s.node.actions", "drain_nodes", name="n")]), "fragile-function",
         "method[0].provider.func"),
        (experiment(secrets={"k8s": {"KUBERNETES_CONTEXT": "prod"}}), "secret-selects-cluster",
         "secrets.k8s.KUBERNETES_CONTEXT"),
        (experiment(secrets={"db": {"login": "hunter2"}}), "plain-secret", "secrets.db.login"),
        (experiment(secrets={"login": "hunter2"}), "bad-secrets", "secrets.login"),
        (experiment(configuration={"db_password": "hunter2"}), "plain-secret", "configuration.db_password"),
        (experiment(controls=[{"name": "c"}]), "bad-control", "controls[0]"),
        (experiment(method=[python("chaosk8s.actions", "scale_microservices")]), "unknown-function",
         "method[0].provider.func"),
        (experiment(method=[{**HOLD, "provider": {**HTTP, "url": "127.0.0.1:9"}}]), "bad-url",
         "method[0].provider.url"),
    ],
)  # fmt: skip
def test_each_fault_is_found_where_it_is(value, rule, path, tmp_path):
    """The rule, the place, and the line that the place is on."""
    problems = [p for p in found(value, tmp_path) if p.id == rule]
    assert path in [p.path for p in problems]


@pytest.mark.parametrize(
    "value",
    [
        held_to({"type": "range", "range": [1, 3]}, COUNT),
        held_to({"type": "jsonpath", "path": "$.a", "target": "body"}),
        experiment(
            method=[{**HOLD, "pauses": {"after": "${s}"}}],
            configuration={"s": {"type": "env", "key": "S", "default": "5", "env_var_type": "int"}},
        ),
        experiment(
            method=[python(NETWORK, "deny_all_ingress", ns="a")],
            rollbacks=[python(NETWORK, "remove_deny_all_ingress", ns="a")],
            runtime={"rollbacks": {"strategy": "always"}},
        ),
        experiment(method=[{**HOLD, "background": True}, {**HOLD, "name": "b", "pauses": {"before": 1}}]),
        experiment(method=[HOLD, {"ref": "answers"}]),
        experiment(secrets={"db": {"login": {"type": "env", "key": "LOGIN"}}}),
    ],
)
def test_what_is_right_is_left_alone(value, tmp_path):
    """Neighbours of faults have no problem."""
    assert found(value, tmp_path, LOGIN="x") == []


def test_lines_are_those_of_the_file(tmp_path):
    """JSON and YAML: the line of the key, also of the second of two equal keys."""
    text = '{\n "version": "1",\n "title": "a",\n "title": "b",\n "bogus": [\n  1]}'
    lines = {p.id: p.line for p in lint_text("e.json", text.encode(), folder=tmp_path)}
    assert (lines["duplicate-key"], lines["unknown-key"]) == (4, 5)
    text = "version: '1'\ntitle: a\ntitle: b\nmethod:\n- type: prob\n  name: x\n"
    lines = {p.id: p.line for p in lint_text("e.yaml", text.encode(), folder=tmp_path)}
    assert (lines["duplicate-key"], lines["unknown-activity-type"]) == (3, 5)


def test_a_typo_is_answered_with_the_key_that_was_meant(tmp_path):
    """The fix names the nearest known key."""
    problem = next(p for p in found(experiment(metod=[]), tmp_path) if p.id == "unknown-key")
    assert "did you mean 'method'?" in problem.fix


def test_a_manifest_beside_the_experiment_is_found(tmp_path):
    """`spec_path` with a configuration value that points beside the file."""
    (tmp_path / "m").mkdir()
    (tmp_path / "m/p.yaml").write_text("kind: NetworkPolicy")
    method = [python(NETWORK, "create_network_policy", spec_path="${manifests}/p.yaml")]
    value = experiment(method=method, configuration={"manifests": "m"})
    assert "missing-manifest" not in {p.id for p in found(value, tmp_path)}
