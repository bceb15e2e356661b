"""Whatever is sent, the answer is a Status that blames the request, never the server."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshverdict.cluster.auth import ADMIN
from meshverdict.cluster.bodies import SyntaxProblem, parse_json, parse_yaml
from meshverdict.cluster.decode import DecodeError, decode
from meshverdict.cluster.defaults import defaulted
from meshverdict.cluster.errors import ApiError
from meshverdict.cluster.http.call import parse_body
from meshverdict.cluster.kinds import BUILT_IN
from meshverdict.cluster.objects import Objects
from meshverdict.cluster.patches import json_patch, merge_patch, strategic_patch
from meshverdict.cluster.protobuf import MAGIC, ProtobufError, parse_protobuf
from meshverdict.cluster.schema import Node, definitions
from meshverdict.cluster.selectors import parse_fields, parse_labels
from meshverdict.cluster.store import Store

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12)
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)
WRITABLE = [k for k in BUILT_IN if "list" in k.verbs and k.group != "events.k8s.io"]
SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


def values(node: Node, depth: int = 0):  # noqa: PLR0911 - a table of types
    """Values of a schema, some of them odd: wrong words, negative numbers, empty texts."""
    match node.type:
        case "string":
            return st.sampled_from(["", "a", "TCP", "A b", "../x", "10.0.0.0/8", "None", "5%", "x" * 300])
        case "int32" | "int64" | "number":
            return st.sampled_from([0, 1, -1, 80, 70_000, 2**31 - 1])
        case "boolean":
            return st.booleans()
        case "intstr":
            return st.sampled_from([0, -5, 80, "http", "25%", "!@#$", ""])
        case "quantity":
            return st.sampled_from(["1", "100m", "-1", "1Gi", "1e3"])
        case "bytes":
            return st.sampled_from(["", "YQ=="])
        case "time" | "microtime":
            return st.just("2026-01-01T00:00:00Z")
        case "array" if node.item is not None:
            return st.lists(values(node.item, depth + 1), max_size=2)
        case "map" if node.item is not None:
            return st.dictionaries(
                st.sampled_from(["a", "b/c", "..", "A"]), values(node.item, depth + 1), max_size=2
            )
        case "object" if depth < 7:
            return st.deferred(
                lambda: st.fixed_dictionaries(
                    {}, optional={k: values(v, depth + 1) for k, v in node.fields.items()}
                )
            )
        case _:
            return st.just({})


@SETTINGS
@given(st.data())
def test_objects_of_the_right_shape(data):
    """Every object that fits its schema is stored or refused, by create, update, scale of status and delete."""
    kind = data.draw(st.sampled_from(WRITABLE))
    objects = Objects(Store())
    objects.create("namespaces", {"metadata": {"name": "default"}}, manager="t")
    objects.create("serviceaccounts", {"metadata": {"name": "default", "namespace": "default"}}, manager="t")
    body = decode(
        data.draw(values(definitions().node(kind.definition))), definitions().node(kind.definition)
    ).value
    meta = {**(body.get("metadata") or {}), "name": "a"}
    meta.pop("resourceVersion", None)
    if kind.namespaced:
        meta["namespace"] = "default"
    else:
        meta.pop("namespace", None)
    try:
        made = objects.create(kind.resource, {**body, "metadata": meta}, manager="t")
        objects.update(
            kind.resource, {**made, "metadata": {**made["metadata"], "labels": {"a": "b"}}}, manager="t"
        )
        objects.delete(kind.resource, meta.get("namespace"), "a", manager="t")
    except ApiError as error:
        assert 400 <= error.code < 500, error.message  # noqa: PT017


@SETTINGS
@given(JSON, st.sampled_from(WRITABLE))
def test_any_json(value, kind):
    """Any JSON is decoded or refused with a reason; decoding twice changes nothing."""
    node = definitions().node(kind.definition)
    try:
        once = decode(value, node).value
    except DecodeError:
        return
    assert decode(once, node).value == once
    defaulted(kind.resource, {"metadata": {}, **once})


@SETTINGS
@given(st.binary(max_size=200))
def test_any_bytes(body):
    """Any bytes are a value or a refusal, in every media type."""
    for parse in (parse_json, parse_yaml):
        try:
            parse(body)
        except SyntaxProblem:
            continue
    for prefix in (b"", MAGIC):
        try:
            parse_protobuf(prefix + body)
        except ProtobufError:
            continue
    for media in (
        "application/json",
        "application/yaml",
        "application/vnd.kubernetes.protobuf",
        "text/plain",
    ):
        with pytest.raises(ApiError) if media == "text/plain" else Nothing():
            try:
                parse_body(body, media, "ConfigMap")
            except ApiError as error:
                assert error.code in {400, 415}  # noqa: PT017
                raise


class Nothing:
    """Lets an ApiError pass."""

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        return kind is None or issubclass(kind, ApiError)


@SETTINGS
@given(st.text(max_size=30))
def test_any_selector(text):
    """Any text is a selector or a refusal."""
    for parse in (parse_labels, lambda t: parse_fields(t, "pods")):
        try:
            parse(text)
        except ApiError as error:
            assert error.code == 400  # noqa: PT017


@SETTINGS
@given(JSON, JSON)
def test_any_patch(value, patch):
    """Any patch of any object is a value or a refusal."""
    node = definitions().node("io.k8s.api.core.v1.Pod")
    for apply in (json_patch, merge_patch, lambda v, p: strategic_patch(v, p, node)):
        try:
            apply(value, patch)
        except ApiError as error:
            assert error.code < 500 or "merge key" in error.message  # noqa: PT017
    merged = merge_patch(value, patch)
    assert merge_patch(merged, patch) == merged


@SETTINGS
@given(
    st.lists(
        st.fixed_dictionaries(
            {"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test"])},
            optional={
                "path": st.sampled_from(["", "/", "/a", "/a/0", "/a/-", "a", "/~1", "/b/c"]),
                "from": st.sampled_from(["", "/a", "/b"]),
                "value": SCALARS,
            },
        ),
        max_size=4,
    )
)
def test_any_json_patch(patch):
    """Any list of operations is carried out or refused."""
    try:
        json_patch({"a": [1, 2], "b": {"c": {}}}, patch)
    except ApiError as error:
        assert error.code == 422  # noqa: PT017


async def test_requests_of_all_kinds(api):
    """Odd bodies, queries and methods over HTTP: no answer is a 500."""
    bodies = [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"1",
        b'"a"',
        b'{"metadata":1}',
        b'{"metadata":null}',
        b'{"metadata":{"name":1}}',
    ]
    bodies += [
        b'{"spec":[]}',
        b'{"kind":1}',
        b'{"apiVersion":[]}',
        b'{"metadata":{"name":"a","labels":[]}}',
        b"{",
        b"\xff",
    ]
    bodies += [
        json.dumps({"metadata": {"name": "a"}, "spec": v}).encode() for v in (None, 1, "a", [], {}, {"a": {}})
    ]
    queries = [
        "",
        "?limit=x",
        "?continue=a",
        "?dryRun=x",
        "?fieldManager=" + "x" * 200,
        "?watch=1&timeoutSeconds=1&resourceVersion=x",
    ]
    media = [
        "application/json",
        "application/yaml",
        "application/merge-patch+json",
        "application/json-patch+json",
    ]
    media += ["application/strategic-merge-patch+json", "application/vnd.kubernetes.protobuf", "a/b"]
    seen: dict[int, int] = {}
    wrong = []

    async def send(method, path, body, kind):
        status, _, answer = await api.request(method, path, data=body, content_type=kind)
        seen[status] = seen.get(status, 0) + 1
        if status >= 500:
            wrong.append((method, path, body, kind, answer))

    paths = []
    for resource in BUILT_IN:
        root = f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"
        place = (
            f"{root}/namespaces/default/{resource.plural}"
            if resource.namespaced
            else f"{root}/{resource.plural}"
        )
        paths += [place, f"{place}/a", f"{place}/a/status", f"{place}/a/scale", f"{place}/a/nope"]
    work = []
    for number, path in enumerate(paths):
        for step, method in enumerate(("POST", "PUT", "PATCH", "DELETE", "GET")):
            for index in range(4):
                choice = number + 7 * step + 3 * index
                query = queries[choice % len(queries)] if method != "GET" else queries[choice % 4]
                work.append(
                    send(method, path + query, bodies[choice % len(bodies)], media[choice % len(media)])
                )
    for start in range(0, len(work), 50):
        await asyncio.gather(*work[start : start + 50])
    print("statuses:", dict(sorted(seen.items())))  # noqa: T201 - the count is the result
    assert wrong == []
    assert ADMIN.superuser


FOUND = [
    (
        "PATCH",
        "/n",
        "application/strategic-merge-patch+json",
        b'{"metadata":{"name":"n","$patch":{"a":true}}}',
        400,
    ),
    (
        "PATCH",
        "/n",
        "application/strategic-merge-patch+json",
        b'{"metadata":{"$deleteFromPrimitiveList/x":5}}',
        400,
    ),
    ("PATCH", "/n", "application/json-patch+json", b'[{"op":"remove","path":"/metadata"}]', 400),
    ("PATCH", "/n", "application/merge-patch+json", b'{"metadata":null}', 400),
    ("POST", "", "application/json", b'{"metadata":{"name":"m"},"data":{"k":"\\ud800"}}', 201),
    ("POST", "", "application/json", b'{"metadata":{"name":"l","annotations":{"k":"\\udfff"}}}', 201),
    ("POST", "", "application/json", b'{"metadata":{"name":"o"},"a\\u007f\\u0085b\\u0000":1}', 201),
]


@pytest.mark.parametrize(("method", "name", "media", "body", "code"), FOUND)
async def test_what_a_fuzzer_found(api, method, name, media, body, code):
    """Requests that once were answered with 500, or not at all."""
    path = "/api/v1/namespaces/default/configmaps"
    api.objects.create("configmaps", {"metadata": {"name": "n", "namespace": "default"}}, manager="t")
    status, _, answer = await api.request(method, path + name, data=body, content_type=media)
    assert status == code, answer


async def test_half_a_pair_of_surrogates_is_the_replacement_character(api):
    """As Go reads it; a whole pair is its character, and an escaped backslash stays one."""
    body = b'{"metadata":{"name":"c"},"data":{"half":"a\\ud800b","pair":"\\ud83d\\ude00","text":"\\\\ud800"}}'
    path = "/api/v1/namespaces/default/configmaps"
    _, _, made = await api.request("POST", path, data=body, content_type="application/json")
    assert made["data"] == {"half": "a\ufffdb", "pair": "\U0001f600", "text": "\\ud800"}


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"hostAliases": [{"hostnames": ["a"]}]}, "spec.hostAliases[0].ip"),
        ({"dnsConfig": {"options": [{"value": "2"}]}}, "spec.dnsConfig.options[0]"),
        ({"dnsConfig": {"nameservers": ["x"]}}, "spec.dnsConfig.nameservers[0]"),
        ({"dnsConfig": {"nameservers": ["10.0.0.1"] * 4}}, "spec.dnsConfig.nameservers"),
        ({"dnsConfig": {"searches": ["A b"]}}, "spec.dnsConfig.searches[0]"),
        ({"dnsPolicy": "None"}, "spec.dnsConfig"),
        ({"dnsPolicy": "None", "dnsConfig": {}}, "spec.dnsConfig.nameservers"),
    ],
)
async def test_names_and_addresses_of_a_pod(api, spec, field):
    """What the kubelet would stumble over is refused before it is stored."""
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "x"}], **spec}}
    status, _, answer = await api.request("POST", "/api/v1/namespaces/default/pods", pod)
    assert (status, answer["details"]["causes"][0]["field"]) == (422, field)
