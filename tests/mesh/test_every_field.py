"""No field is accepted and then forgotten: each one that the shapes allow changes the translation, and Envoy takes it."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import yaml

from meshverdict.mesh import check
from meshverdict.mesh.bootstrap import bootstrap
from meshverdict.mesh.fields import Free, Items, Map, Object, Refused
from meshverdict.mesh.identity import certificates
from meshverdict.mesh.inputs import resource, services_of_entry
from meshverdict.mesh.shapes import SHAPES
from meshverdict.mesh.sidecar import translate
from meshverdict.mesh.values import Endpoint, Locality, Mesh, Port, Service, Workload
from meshverdict.model.errors import MeshverdictError

from . import real_envoy
from .authority import Authority

GROUPS = yaml.load((Path(__file__).parent / "everything.yaml").read_text(), yaml.CSafeLoader)
PLACES = [Locality("lab", "a"), Locality("lab", "b"), Locality("far", "c"), Locality("other", "d")]
CLIENTS = [
    Workload("n", "a", "10.0.0.1", {"app": "a", "team": "one"}, "a", PLACES[0]),
    Workload("m", "z", "10.0.0.9", {"app": "z", "team": "one"}, "z", PLACES[1]),
]
SERVERS = [
    Workload(
        "n", f"b-{i}", f"10.0.1.{i}", {"app": "b", "version": "v2" if i % 2 else "v1"}, "b", PLACES[i // 2]
    )
    for i in range(8)
]
# Written for people or for the status; or what Istio has without an effect on a sidecar.
SILENT = {
    "h2UpgradePolicy": "both words that are accepted mean HTTP/1.1",
    "location": "a ServiceEntry's endpoints get plain text wherever they are",
    "gateways": "only the word mesh is accepted, which is the default",
    "exportTo": "a ServiceEntry is shown to all",
}


def _service(name):
    ports = (Port(80, "http", "HTTP"), Port(85, "http-85", "HTTP"), Port(9000, "tcp"), Port(9001, "tcp-2"))
    numbers = {"http": 8080, "http-85": 8085, "tcp": 9000, "tcp-2": 9001}
    ends = tuple(
        Endpoint(w.ip, numbers, w.labels, w.locality, w.service_account, w.key, sidecar=True) for w in SERVERS
    )
    return Service("n", name, ports, ends, "10.96.0.5" if name == "b" else "10.96.0.6")


def _translated(manifests, folder="/f"):
    found = tuple(resource(m) for m in manifests)
    entries = [s for r in found if r.kind == "ServiceEntry" for s in services_of_entry(r, {})]
    mesh = Mesh((_service("b"), _service("c"), *entries), (*CLIENTS, *SERVERS), found)
    return [translate(mesh, proxy, folder) for proxy in (*CLIENTS, SERVERS[0])]


def _leaves(value, path=()):
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, (*path, key))
    elif isinstance(value, list) and value:
        for number, item in enumerate(value):
            yield from _leaves(item, (*path, number))
    else:
        yield path


def _without(manifest, path):
    changed = copy.deepcopy(manifest)
    holder = changed["spec"]
    for key in path[:-1]:
        holder = holder[key]
    del holder[path[-1]]
    return changed


def _text(translations):
    return json.dumps([f.body for t in translations for f in t.files()])


@pytest.mark.parametrize("group", GROUPS, ids=["traffic", "security"])
def test_every_field_changes_something(group):
    """Taking any one away changes what the proxies get."""
    whole = _text(_translated(group))
    forgotten = []
    for position, manifest in enumerate(group):
        for path in _leaves(manifest["spec"]):
            if any(str(key) in SILENT for key in path):
                continue
            less = [*group[:position], _without(manifest, path), *group[position + 1 :]]
            try:
                check(less[position])
                same = _text(_translated(less)) == whole
            except MeshverdictError:
                continue  # a required one
            if same:
                forgotten.append((manifest["kind"], path))
    assert forgotten == [], "\n".join(map(str, forgotten))


@pytest.mark.parametrize("group", GROUPS, ids=["traffic", "security"])
def test_the_sample_is_accepted(group):
    """Admission takes all of it."""
    for manifest in group:
        check(manifest)


@pytest.mark.parametrize("group", GROUPS, ids=["traffic", "security"])
def test_envoy_takes_every_field(group, tmp_path):
    """The real Envoy validates what the sample becomes."""
    (request,) = certificates([CLIENTS[0]])
    for file in Authority().files(request, str(tmp_path)):
        Path(file.path).write_text(file.text)
    for ours, proxy in zip(_translated(group, str(tmp_path)), (*CLIENTS, SERVERS[0]), strict=True):
        config = real_envoy.static(ours, bootstrap(proxy, str(tmp_path)))
        assert real_envoy.complaint(config, tmp_path, quiet=True) == ""


@pytest.mark.parametrize(
    "part",
    [
        {"headers": {"request": {"set": {"x": "100%%"}}}},
        {"headers": {"request": {"add": {"x": "%REQ(:path)%"}}}},
        {"headers": {"response": {"set": {"x": "a %START_TIME(%s.%3f)% b"}}}},
        {"headers": {"response": {"add": {"x": "%REQ(X-A?X-B):3%%PROTOCOL%"}}}},
        {"headers": {"request": {"set": {"x": "\u00e9", "y": ""}}}},
        {"directResponse": {"status": 200, "body": {"string": "x" * 200_000}}},
    ],
    ids=["percent", "request", "time", "two", "odd", "large"],
)
def test_texts_that_are_accepted_are_taken_by_envoy(part, tmp_path):
    """Percent signs that mean something, and answers beyond Envoy's own limit of 4 kB."""
    route = part if "directResponse" in part else {"route": [{"destination": {"host": "b"}}], **part}
    manifest = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "x", "namespace": "n"},
        "spec": {"hosts": ["b"], "http": [route]},
    }
    check(manifest)
    (request,) = certificates([CLIENTS[0]])
    for file in Authority().files(request, str(tmp_path)):
        Path(file.path).write_text(file.text)
    ours = _translated([manifest], str(tmp_path))[0]
    config = real_envoy.static(ours, bootstrap(CLIENTS[0], str(tmp_path)))
    assert real_envoy.complaint(config, tmp_path, quiet=True) == ""


def _allowed(shape, path=()):
    if isinstance(shape, Object) and shape.fields:
        for key, child in shape.fields.items():
            yield from _allowed(child, (*path, key))
    elif isinstance(shape, Items | Map):
        yield from _allowed(shape.of, path)
    elif not isinstance(shape, Refused | Free):
        yield path


def _used(value, shape, path=()):
    if isinstance(shape, Object):
        for key, item in value.items():
            yield from _used(item, shape.fields[key], (*path, key))
    elif isinstance(shape, Items):
        for item in value:
            yield from _used(item, shape.of, path)
    elif isinstance(shape, Map):
        for item in value.values():
            yield from _used(item, shape.of, path)
    else:
        yield path


def _own(path):
    """A path without the places in which a shape is repeated: by port, by subset."""
    for start in ("portLevelSettings", "trafficPolicy"):
        if start in path and path[-1:] != (start,) and path[path.index(start) + 1] != "port":
            return path[len(path) - path[::-1].index(start) :]
    return path


@pytest.mark.parametrize("kind", sorted(set(SHAPES) - {"EnvoyFilter"}))
def test_the_sample_has_every_field(kind):
    """A field that is added to the shapes has to be added to the sample."""
    used = {_own(p) for g in GROUPS for m in g if m["kind"] == kind for p in _used(m["spec"], SHAPES[kind])}
    missing = {p for p in map(_own, _allowed(SHAPES[kind])) if p not in used and p[-1] not in SILENT}
    # A match that may be empty, and the kinds of a match in places that share one shape.
    alike = {"exact", "prefix", "regex"}
    assert {p for p in missing if p[-1] not in alike} == set()
