"""Manifests are read alike for the embedded lab and for a real cluster, and what is wrong in one is named."""

import json

import pytest
import yaml

from meshverdict.chaos.announced import announced
from meshverdict.chaos.prepare import _read
from meshverdict.cli import main
from meshverdict.lab.manifests import load
from meshverdict.model.errors import UsageError
from meshverdict.model.manifest_files import read_files
from meshverdict.model.paths import data_folder

GOOD = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "default"}}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([1], "a Kubernetes object is a mapping, this is a list"),
        ("text", "this is a text"),
        ({"kind": "List", "items": [1]}, r"items\[0\]: a Kubernetes object is a mapping, this is the int 1"),
        ({"kind": "List", "items": [{"metadata": {"name": "x"}}]}, r"items\[0\]: apiVersion is missing"),
        ({"kind": "List", "items": 5}, "items of a List must be a list"),
        (GOOD | {"metadata": "text"}, "ConfigMap: metadata must be a mapping"),
        (GOOD | {"metadata": {}}, "ConfigMap has no metadata.name"),
        (GOOD | {"kind": 7}, "kind is missing"),
        (
            GOOD | {"metadata": {"name": "x", "namespace": [1]}},
            "ConfigMap x: metadata.namespace must be a text",
        ),
        (GOOD | {"metadata": {"name": "x", "labels": 5}}, "ConfigMap x: metadata.labels must be a mapping"),
        (GOOD | {"spec": "text"}, "ConfigMap x: spec must be a mapping"),
    ],
)
def test_what_is_no_object_is_named_with_its_file_and_field(value, words, tmp_path, capsys):
    """By every command that reads manifests, before anything is started."""
    file = tmp_path / "m.yaml"
    file.write_text(yaml.safe_dump(value))
    with pytest.raises(UsageError, match=f"{file}.*{words}"):
        read_files(file)
    for command in (["up"], ["down", "--context", "nope"], ["doctor", "--context", "nope"]):
        assert main([*command, "--manifests", str(file)]) == 2
        assert str(file) in capsys.readouterr().err


def test_a_list_is_taken_apart(tmp_path):
    """As `kubectl get -o yaml` writes several objects; in JSON too."""
    for name, write in (("l.yaml", yaml.safe_dump), ("l.json", json.dumps)):
        file = tmp_path / name
        file.write_text(write({"apiVersion": "v1", "kind": "List", "items": [GOOD, GOOD]}))
        assert read_files(file) == [GOOD, GOOD]


def test_a_real_cluster_gets_the_same_lab_as_the_embedded_one():
    """`--manifests manifests` brings no treatment there: the experiment would begin with its policy in place."""
    folder = data_folder("manifests")
    names = [
        sorted((m["kind"], m["metadata"]["name"]) for m in found)
        for found in (_read([str(folder)]), _read([]), load([folder]))
    ]
    assert names[0] == names[1] == names[2]
    assert "NetworkPolicy" not in {kind for kind, _ in names[0]}
    assert "NetworkPolicy" in {m["kind"] for m in _read([str(folder / "policies" / "isolate-redis.yaml")])}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "\n".join(
                ["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9))]
            ),
            "1,000,000 values",
        ),
        (
            "\n".join(
                [
                    "a0: &a0 {x: 1}",
                    *(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 10)),
                ]
            ),
            "merge keys stand for more than 10,000",
        ),
        ("kind: &me {kind: *me}", "inside of what it means"),
        ("a: " + "[" * 5000, "nested too deeply"),
    ],
)
def test_a_few_lines_cannot_stand_for_more_than_there_is_memory(text, words, tmp_path):
    """Nine lines of aliases are 400 million values for whoever walks through them."""
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=words):
        read_files(path)
    with pytest.raises(UsageError, match=words):
        announced(path)
