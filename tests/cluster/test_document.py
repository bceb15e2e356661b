"""docs/kubernetes.md says what the API serves, no more and no less."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TEXT = (Path(__file__).resolve().parents[2] / "docs/kubernetes.md").read_text()
SERVED, _, REST = TEXT.partition("## What is not there")
TABLE = re.findall(r"^\| `([a-z0-9./]+)` \| ([^|]+) \|$", SERVED, re.MULTILINE)
ABSENT = re.findall(r"`((?:[a-z0-9.]+/)?v\d[a-z0-9]*/[a-z]+)`", REST.partition("405 answers")[0])


async def test_the_table_is_discovery(api):
    """Groups, versions and resources of the page are those of discovery."""
    written = {version: set(re.findall(r"`([a-z]+)`", names)) for version, names in TABLE}
    _, _, groups = await api.request("GET", "/apis")
    versions = ["v1", *(v["groupVersion"] for g in groups["groups"] for v in g["versions"])]
    served = {}
    for version in versions:
        root = "/api/v1" if version == "v1" else f"/apis/{version}"
        _, _, found = await api.request("GET", root)
        served[version] = {r["name"] for r in found["resources"] if "/" not in r["name"]}
    assert written == served


async def test_every_named_subresource_is_served(api):
    """Those that the page names with their resource are in discovery."""
    _, _, found = await api.request("GET", "/api/v1")
    there = {r["name"] for r in found["resources"]}
    named = set(re.findall(r"`((?:pods|services|serviceaccounts|namespaces)/[a-z]+)`", SERVED))
    assert len(named) >= 10
    assert named <= there


@pytest.mark.parametrize("name", ABSENT)
async def test_what_is_not_there_answers_404(api, name):
    """In every form of asking: the collection, one object, and a new one."""
    group, _, plural = name.rpartition("/")
    root = "/api/v1" if group == "v1" else f"/apis/{group}"
    for method, path, body in (
        ("GET", f"{root}/{plural}", None),
        ("GET", f"{root}/{plural}/x", None),
        ("POST", f"{root}/namespaces/default/{plural}", {"metadata": {"name": "x"}}),
    ):
        status, _, answer = await api.request(method, path, body)
        assert status == 404, (method, path)
        assert answer == "404 page not found\n" or answer["reason"] == "NotFound"


def test_absent_kinds_are_named():
    """The list of the page was found at all."""
    assert len(ABSENT) >= 17


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/api/v1/namespaces/default/configmaps"),
        ("PATCH", "/api/v1/namespaces/default/configmaps"),
        ("POST", "/api/v1/namespaces/default/configmaps/x"),
        ("GET", "/apis/authorization.k8s.io/v1/subjectaccessreviews"),
        ("GET", "/api/v1/namespaces/default/bindings"),
        ("GET", "/api/v1/namespaces/default/pods/x/binding"),
    ],
)
async def test_what_is_not_allowed_answers_405(api, method, path):
    """As a real server does."""
    status, _, answer = await api.request(method, path, {} if method != "GET" else None)
    assert (status, answer["reason"]) == (405, "MethodNotAllowed")
