"""Whatever a file holds: an answer with a line, never a traceback, and nothing of it runs."""

import copy
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshverdict.chaos.lint import exit_code, lint_files, lint_text, render
from meshverdict.chaos.lint.rules import SEVERITY
from meshverdict.model.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]
BOMB = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 10)}]\n" for i in range(8)
)


@pytest.mark.parametrize(
    ("name", "raw", "rule", "line"),
    [
        ("e.json", b'{"title": "x",', "syntax", 1),
        ("e.json", b'{\n"a": 1\n"b": 2}', "syntax", 3),
        ("e.json", b"", "empty-file", 1),
        ("e.yaml", b" \n\n", "empty-file", 1),
        ("e.yaml", b"# nothing\n", "not-an-experiment", 1),
        ("e.json", b"[1]", "not-an-experiment", 1),
        ("e.json", b"\xef\xbb\xbf{}", "byte-order-mark", 1),
        ("e.json", b"\n\xff\xfe", "not-text", 2),
        ("e.yaml", b"a: \x00", "not-text", 1),
        ("e.yaml", b"a: 1\nb: [\n", "syntax", 3),
        ("e.yaml", b"a: 1\nb: \x07", "syntax", 1),
        ("e.yaml", b"a: 2024-13-45", "syntax", 1),
        ("e.yaml", b"a: 1\n---\nb: 2\n", "several-documents", 2),
        ("e.yaml", b"a: 1\nb: !secret x\n", "yaml-tag", 2),
        ("e.yaml", b"a: *b\n", "yaml-alias", 1),
        ("e.yaml", b"a: &a [*a]\n", "yaml-alias", 1),
        ("e.yaml", BOMB.encode(), "yaml-alias", 6),
        ("e.json", b"[" * 100_000, "too-deep", 1),
        ("e.json", b"[" * 200 + b"]" * 200, "too-deep", 1),
        ("e.yaml", b"a: " + b"[" * 5000, "too-deep", 1),
        ("e.json", b"1" * 5000, "syntax", 1),
        ("e.json", b'{"a": 1e999}', "not-a-number", 1),
        ("e.yaml", b"a: .nan", "not-a-number", 1),
        ("e.yaml", b"1: a", "key-not-text", 1),
        ("e.yaml", b"? [a]\n: b", "syntax", 1),
        ("e.json", b" " * 1_000_001, "file-too-big", 1),
        ("e", b"{}", "unknown-file-type", 1),
        ("e.json", json.dumps({"method": [1] * 300}).encode(), "too-many-problems", 1),
    ],
    ids=lambda v: None if isinstance(v, int) else str(v)[:20],
)
def test_a_bad_file_is_answered(name, raw, rule, line, tmp_path):
    """The rule and the line."""
    assert (rule, line) in [(p.id, p.line) for p in lint_text(name, raw, folder=tmp_path)]


def test_a_yaml_tag_runs_nothing(tmp_path, monkeypatch):
    """The classical attack leaves no file."""
    monkeypatch.chdir(tmp_path)
    text = b'title: !!python/object/apply:os.system ["echo x > pwned"]\n'
    assert [p.id for p in lint_text("e.yaml", text, folder=tmp_path)] == ["yaml-tag"]
    assert not (tmp_path / "pwned").exists()


def test_a_module_that_is_named_is_not_imported_here(tmp_path, monkeypatch):
    """Its source is read; its import would have written a file. A computed name is asked in a process."""
    (tmp_path / "lint_example.py").write_text(
        "open('imported', 'w').close()\ndef act(a, b=1, *, c): ...\nmade = lambda x: x\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def ids(func, **arguments):
        provider = {"type": "python", "module": "lint_example", "func": func, "arguments": arguments}
        value = {"method": [{"type": "action", "name": "a", "provider": provider}]}
        raw = json.dumps(value).encode()
        return {p.id for p in lint_text("e.json", raw, folder=tmp_path)} & {
            "missing-argument", "unknown-argument", "unknown-function", "module-not-examined",
        }  # fmt: skip

    assert ids("act", a=1, c=1) == set()
    assert ids("act", a=1, d=1) == {"missing-argument", "unknown-argument"}
    assert ids("nope") == {"unknown-function"}
    assert not (tmp_path / "imported").exists()
    assert ids("made") == {"missing-argument"}
    assert "lint_example" not in sys.modules


def test_usage_errors_name_the_file(tmp_path):
    """Nothing there, nothing named, an empty folder."""
    for paths in ([], [tmp_path / "no.json"], [tmp_path]):
        with pytest.raises(UsageError):
            lint_files(paths)


def test_output_for_programs_and_exit_codes(tmp_path):
    """JSON has counts and every attribute; warnings alone are exit 0; odd characters are escaped."""
    file = tmp_path / "e.json"
    file.write_text(
        '{"version": "1", "title": "t", "description": "d", "\\ud800\\u001b[31m": 1, "method": [1]}'
    )
    problems = lint_files([file])
    assert exit_code(problems) == 1
    answer = json.loads(render(problems, "json"))
    assert answer["errors"] + answer["warnings"] == len(answer["problems"])
    assert set(answer["problems"][0]) == {"file", "line", "path", "severity", "id", "what", "fix"}
    assert render(problems).isascii()
    assert exit_code([p for p in problems if p.severity == "warning"]) == 0


KEYS = st.sampled_from([
    "type", "name", "provider", "method", "rollbacks", "steady-state-hypothesis", "probes", "tolerance", "range",
    "pattern", "path", "url", "module", "func", "arguments", "pauses", "before", "timeout", "controls", "ref",
    "secrets", "configuration", "extensions", "treatment", "runtime", "strategy", "headers", "key", "background",
    "tags", "contributions", "spec_path", "paths", "default", "<<",
])  # fmt: skip
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8),
    st.sampled_from([
        "probe", "action", "http", "python", "process", "env", "regex", "jsonpath", "range", "${a}", "${", "$${a}",
        "chaosk8s.pod.actions", "chaosk8s.networking.actions", "create_network_policy", "exec_in_pods", "meshverdict",
        "meshverdict.chaos.control", "meshverdict.chaos.actions", "apply_manifests", "always", "(", "$.a[", "\0",
        "http://[", "*", "../x",
    ]),
)  # fmt: skip
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(max_size=3), inner, max_size=6)
    ),
    max_leaves=40,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(KEYS, VALUES, max_size=8))
def test_any_structure_gets_an_answer(tmp_path_factory, value):
    """Random documents of the right words in the wrong places never raise, and only known rules speak."""
    folder = tmp_path_factory.getbasetemp()
    text = json.dumps(value)
    for name in ("e.json", "e.yaml"):
        for problem in lint_text(name, text.encode(), folder=folder, environ={}):
            assert SEVERITY[problem.id] == problem.severity
            str(problem).encode()


def places(node, here=()):
    """Every place inside a document, the document itself left out."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, inner in items:
        yield (*here, key)
        yield from places(inner, (*here, key))


SHIPPED = {f.name: json.loads(f.read_text()) for f in sorted((ROOT / "experiments").glob("*.json"))}
ODD = st.sampled_from(
    [None, True, -1, 0.5, "", "x", [], [[]], ["x"], {}, {"x": []}, [{"name": []}], {"name": {}}]
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(SHIPPED)), st.data())
def test_a_real_experiment_with_an_odd_value_anywhere_gets_an_answer(tmp_path_factory, name, data):
    """Values of the wrong kind in the right places never raise."""
    experiment = copy.deepcopy(SHIPPED[name])
    *way, last = data.draw(st.sampled_from(sorted(places(experiment), key=str)))
    node = experiment
    for step in way:
        node = node[step]
    node[last] = data.draw(ODD)
    text = json.dumps(experiment)
    for problem in lint_text(name, text.encode(), folder=tmp_path_factory.getbasetemp(), environ={}):
        assert SEVERITY[problem.id] == problem.severity


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=60) | st.text(alphabet="{}[]:,-&*!|>?#'\"\n ab1.~<%@`$", max_size=40).map(str.encode)
)
def test_any_bytes_get_an_answer(tmp_path_factory, raw):
    """Random bytes never raise."""
    folder = tmp_path_factory.getbasetemp()
    for name in ("e.json", "e.yaml"):
        render(lint_text(name, raw, folder=folder, environ={}))
