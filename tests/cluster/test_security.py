"""Attacks on the API that must fail: no token, wrong host, other sites, huge and deep bodies, names as paths."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import ssl
import stat

import aiohttp
import pytest

from meshverdict.cluster.auth import Authenticator
from meshverdict.cluster.bodies import NODE_LIMIT
from meshverdict.cluster.http import call
from meshverdict.cluster.store import HISTORY_BYTES, GoneError, Store
from meshverdict.cluster.tls import write_private

PATHS = (
    "/",
    "/api",
    "/apis",
    "/version",
    "/healthz",
    "/readyz",
    "/openapi/v2",
    "/openapi/v3",
    "/nope",
    "/metrics",
)
NAMESPACED = "/api/v1/namespaces/default"


@pytest.mark.parametrize("path", [*PATHS, f"{NAMESPACED}/pods", f"{NAMESPACED}/pods/p/exec?command=id"])
@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic YWRtaW46YWRtaW4="])
async def test_no_token(api, path, header):
    """Without a good token every path answers 401, on loopback too, and health as well."""
    headers = {} if header is None else {"Authorization": header}
    status, _, answer = await api.request("GET", path, token=None, headers=headers)
    assert (status, answer["reason"]) == (401, "Unauthorized")


@pytest.mark.parametrize(
    "host", ["evil.example.com", "127.0.0.1.evil.example.com", "localhost.", "", "10.1.2.3:6443"]
)
async def test_other_host(api, host):
    """A Host header that names none of our addresses is refused before anything else (DNS rebinding)."""
    status, _, answer = await api.request("GET", "/api", headers={"Host": host})
    assert status in {400, 403}
    if status == 403:
        assert answer["reason"] == "Forbidden"


async def test_other_site(api):
    """A request of another site's page is refused, and nothing allows cross-site reading."""
    status, headers, _ = await api.request("GET", "/api", headers={"Origin": "https://evil.example.com"})
    assert status == 403
    assert "Access-Control-Allow-Origin" not in headers
    status, headers, _ = await api.request("OPTIONS", f"{NAMESPACED}/pods", headers={"Origin": "null"})
    assert status == 403


async def test_websocket_needs_a_token(api):
    """The upgrade is checked like any request: token, Host and Origin."""
    api.objects.create(
        "pods",
        {
            "metadata": {"name": "p", "namespace": "default"},
            "spec": {"containers": [{"name": "c", "image": "x"}]},
        },
        manager="test",
    )
    api.run_pod("default", "p")
    url = f"{api.url}{NAMESPACED}/pods/p/exec?command=id"
    good = {"Authorization": f"Bearer {api.auth.admin_token}"}
    for headers, expected in (
        ({}, 401),
        ({**good, "Origin": "https://evil.example.com"}, 403),
        ({**good, "Host": "evil.example.com"}, 403),
    ):
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await api.session.ws_connect(url, headers=headers)
        assert caught.value.status == expected
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await api.session.ws_connect(f"{url}&container=../../etc", headers=good)
    assert caught.value.status == 400


def test_admin_token():
    """The administrator's token has 256 random bits, differs at every start, and a short one is refused."""
    first, second = (Authenticator(Store()).admin_token for _ in range(2))
    assert first != second
    assert len(first) >= 43
    with pytest.raises(ValueError, match="128 random bits"):
        Authenticator(Store(), admin_token="short")


async def test_account_tokens_cannot_be_made_up(api):
    """A changed, expired or foreign token is worth nothing."""
    account = api.objects.get("serviceaccounts", "default", "default")
    token, _ = api.auth.issue(account)
    head, claims, signature = token.split(".")
    assert api.auth.of_token(token) is not None
    changed = signature[:-2] + ("A" if signature[-2] != "A" else "B") + signature[-1]
    assert api.auth.of_token(f"{head}.{claims}.{changed}") is None
    assert api.auth.of_token(f"{head}.{claims}.") is None
    assert api.auth.of_token(f"..{signature}") is None
    other = Authenticator(api.objects.store)
    assert other.of_token(token) is None
    foreign, _ = api.auth.issue(account, audiences=("other",))
    assert api.auth.of_token(foreign) is None


async def test_token_of_a_pod_dies_with_it(api):
    """A token bound to a pod ends with the pod."""
    spec = {"containers": [{"name": "c", "image": "x"}]}
    pod = api.objects.create(
        "pods", {"metadata": {"name": "p", "namespace": "default"}, "spec": spec}, manager="t"
    )
    token, _ = api.auth.issue(api.objects.get("serviceaccounts", "default", "default"), pod=pod)
    assert api.auth.of_token(token).name == "system:serviceaccount:default:default"
    api.objects.delete("pods", "default", "p", grace=0, manager="test")
    assert api.auth.of_token(token) is None


def test_private_file(tmp_path):
    """The kubeconfig is 0600 in a folder of 0700, whatever the umask; a link in its place is replaced."""
    before = os.umask(0)
    try:
        path = tmp_path / "state" / "kubeconfig"
        write_private(path, "secret")
        target = tmp_path / "elsewhere"
        target.write_text("untouched")
        path.unlink()
        path.symlink_to(target)
        write_private(path, "secret")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert (target.read_text(), path.read_text(), path.is_symlink()) == ("untouched", "secret", False)


async def test_too_large(api):
    """More than 3 MiB is 413, announced or not."""
    data = b'{"a":"' + b"x" * 3_200_000 + b'"}'
    status, _, answer = await api.request("POST", f"{NAMESPACED}/configmaps", data=data)
    assert (status, answer["reason"]) == (413, "RequestEntityTooLarge")


async def test_too_deep(api):
    """Nesting without end is 400 in JSON, YAML and patches."""
    for text, media in (
        (b"[" * 100_000, "application/json"),
        (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, "application/json"),
        (b'{"metadata":{"annotations":' + b'{"a":' * 300 + b"1" + b"}" * 302, "application/json"),
        (b"[" * 5_000 + b"]" * 5_000, "application/yaml"),
    ):
        status, _, answer = await api.request(
            "POST", f"{NAMESPACED}/configmaps", data=text, content_type=media
        )
        assert (status, answer["reason"]) == (400, "BadRequest"), text[:20]


async def test_yaml_bomb(api):
    """Aliases that expand beyond the limit are refused quickly."""
    lines = ["a: &a [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"{b}: &{b} [{','.join(['*' + a] * 10)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)]
    assert NODE_LIMIT < 10**8
    async with asyncio.timeout(5):
        status, _, answer = await api.request(
            "POST",
            f"{NAMESPACED}/configmaps",
            data="\n".join(lines).encode(),
            content_type="application/yaml",
        )
    assert status == 400
    assert "excessive aliasing" in answer["message"]


NAMES = ("../x", "..", "%2e%2e%2f", "a/b", "a\0b", "x" * 254, "A", "a;b", "$(id)", "`id`", "a\nb", "")


@pytest.mark.parametrize("name", NAMES)
async def test_names_are_names(api, name):
    """What is no name is refused as an object's, a container's and a key's name."""
    status, _, _ = await api.request("POST", f"{NAMESPACED}/configmaps", {"metadata": {"name": name}})
    assert status == 422
    container = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": name, "image": "x"}]}}
    status, _, answer = await api.request("POST", f"{NAMESPACED}/pods", container)
    assert status == 422
    assert answer["details"]["causes"][0]["field"] == "spec.containers[0].name"
    if name not in {"A", "x" * 254}:
        key = {"metadata": {"name": "c"}, "data": {name: "x"}}
        status, _, _ = await api.request("POST", f"{NAMESPACED}/configmaps", key)
        assert status == 422 or name == ""


REFUSED = {
    "spec.hostNetwork": {"hostNetwork": True},
    "spec.hostPID": {"hostPID": True},
    "spec.hostIPC": {"hostIPC": True},
    "spec.volumes[0].hostPath": {"volumes": [{"name": "v", "hostPath": {"path": "/etc"}}]},
    "spec.securityContext.runAsUser": {"securityContext": {"runAsUser": 0}},
    "spec.containers[0].securityContext.privileged": {"c": {"securityContext": {"privileged": True}}},
    "spec.containers[0].securityContext.runAsUser": {"c": {"securityContext": {"runAsUser": 0}}},
    "spec.containers[0].securityContext.capabilities.add[0]": {
        "c": {"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}
    },
    "spec.containers[0].ports[0].hostPort": {"c": {"ports": [{"containerPort": 80, "hostPort": 80}]}},
    "spec.volumes[0].nfs": {"volumes": [{"name": "v", "nfs": {"server": "s", "path": "/"}}]},
}


@pytest.mark.parametrize("field", REFUSED)
async def test_pods_cannot_ask_for_the_machine(api, field):
    """A pod, and a Deployment's template, that asks for more than the lab gives is refused by field."""
    extra = dict(REFUSED[field])
    container = {"name": "c", "image": "x", **extra.pop("c", {})}
    spec = {"containers": [container], **extra}
    status, _, answer = await api.request(
        "POST", f"{NAMESPACED}/pods", {"metadata": {"name": "p"}, "spec": spec}
    )
    assert status == 422
    assert [c["field"] for c in answer["details"]["causes"]] == [field]
    template = {"metadata": {"labels": {"a": "b"}}, "spec": spec}
    body = {
        "metadata": {"name": "d"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template},
    }
    status, _, answer = await api.request("POST", "/apis/apps/v1/namespaces/default/deployments", body)
    assert status == 422
    assert [c["field"] for c in answer["details"]["causes"]] == [f"spec.template.{field}"]


UNENFORCEABLE = {
    "spec.policyTypes[0]": {"policyTypes": ["Sideways"]},
    "spec.ingress[0].from[0]": {"ingress": [{"from": [{}]}]},
    "spec.ingress[0].from[0].ipBlock.cidr": {"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.1"}}]}]},
    "spec.egress[0].to[0].ipBlock.except[0]": {
        "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]}}]}]
    },
    "spec.ingress[0].ports[0].port": {"ingress": [{"ports": [{"port": 70_000}]}]},
    "spec.ingress[0].ports[0].endPort": {"ingress": [{"ports": [{"port": "http", "endPort": 90}]}]},
    "spec.ingress[0].ports[0].protocol": {"ingress": [{"ports": [{"protocol": "ICMP", "port": 1}]}]},
}


@pytest.mark.parametrize("field", UNENFORCEABLE)
async def test_policy_that_cannot_be_enforced(api, field):
    """A policy with a part that means nothing is refused with that field as the cause, and is not there."""
    path = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies"
    spec = {"podSelector": {}, **UNENFORCEABLE[field]}
    status, _, answer = await api.request("POST", path, {"metadata": {"name": "n"}, "spec": spec})
    assert (status, field in {c["field"] for c in answer["details"]["causes"]}) == (422, True), answer
    assert api.objects.list("networkpolicies.networking.k8s.io") == []


async def test_service_cannot_take_foreign_addresses(api):
    """ExternalIPs are refused."""
    body = {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}], "externalIPs": ["192.0.2.1"]}}
    status, _, answer = await api.request("POST", f"{NAMESPACED}/services", body)
    assert (status, answer["details"]["causes"][0]["field"]) == (422, "spec.externalIPs")


async def test_secrets_stay_out_of_the_log(api, caplog):
    """Neither tokens nor bodies are logged, whatever is asked."""
    await api.request(
        "POST", f"{NAMESPACED}/secrets", {"metadata": {"name": "s"}, "stringData": {"k": "hush-hush"}}
    )
    await api.request("GET", "/api", token=None, headers={"Authorization": "Bearer guess"})
    assert api.auth.admin_token not in caplog.text
    assert "hush-hush" not in caplog.text
    assert json.dumps("guess") not in caplog.text


async def test_bytes_that_are_no_text_are_no_token(api):
    """Odd bytes in the header are a wrong token like any other."""
    host, port = api.url.partition("://")[2].split(":")
    context = ssl.create_default_context(cadata=api.identity.ca)
    for token in (b"\xff\xfe", b"a.b.\xff", "é".encode(), b"a" * 7000):
        reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
        head = f"GET /api HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nAuthorization: Bearer "
        writer.write(head.encode() + token + b"\r\n\r\n")
        assert (await reader.readline()).split()[1] == b"401"
        writer.close()
        await writer.wait_closed()


async def test_open_watches_and_streams_are_bounded(new_api, monkeypatch):
    """One more than there may be is 429 with a time to wait; when one ends, the next is answered."""
    monkeypatch.setattr(call, "WATCHES", 3)
    monkeypatch.setattr(call, "STREAMS", 1)
    async with new_api() as api:
        api.account()
        watch = f"{NAMESPACED}/configmaps?watch=1&timeoutSeconds="
        headers = {"Authorization": f"Bearer {api.auth.admin_token}"}
        held = [await api.session.get(f"{api.url}{watch}20", headers=headers) for _ in range(3)]
        assert [answer.status for answer in held] == [200, 200, 200]
        status, sent, answer = await api.request("GET", f"{watch}20")
        assert (status, answer["reason"], sent["Retry-After"]) == (429, "TooManyRequests", "1")
        held[0].close()
        async with asyncio.timeout(5):
            while (await api.request("GET", f"{watch}1"))[0] != 200:  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.02)
        for opened in held[1:]:
            opened.close()
        running_pod(api)
        url = f"{api.url}{NAMESPACED}/pods/p/exec?command=sleep&command=9&stdin=1"
        async with api.session.ws_connect(url, headers=headers):
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await api.session.ws_connect(url, headers=headers)
            assert caught.value.status == 429
        async with asyncio.timeout(5):
            while True:
                try:
                    async with api.session.ws_connect(
                        url.replace("sleep", "echo"), headers=headers
                    ) as socket:
                        assert b"9" in b"".join([message.data async for message in socket])
                        break
                except aiohttp.WSServerHandshakeError:
                    await asyncio.sleep(0.02)


def running_pod(api):
    """A pod ``p`` that runs, with the container ``c``."""
    spec = {"containers": [{"name": "c", "image": "x"}]}
    api.objects.create("pods", {"metadata": {"name": "p", "namespace": "default"}, "spec": spec}, manager="t")
    api.run_pod("default", "p")


async def test_commands_are_lists_never_lines(api, tmp_path):
    """What a shell would act upon reaches the program as its argument."""
    running_pod(api)
    mark = tmp_path / "pwned"
    attack = f'"; touch {mark}; #$(touch {mark})`touch {mark}`'
    code, out, _ = await api.kubectl("exec", "p", "--", "echo", attack)
    assert (code, out) == (0, f"{attack}\n")
    assert not mark.exists()


async def test_a_refused_upgrade_leaves_no_tunnel(api):
    """After a refused upgrade the connection does not go on as that of whoever was let in (CVE-2018-1002105)."""
    host, port = api.url.partition("://")[2].split(":")
    context = ssl.create_default_context(cadata=api.identity.ca)
    reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
    head = (
        f"GET {NAMESPACED}/pods/none/exec?command=id HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    )
    writer.write(f"{head}Authorization: Bearer {api.auth.admin_token}\r\n\r\n".encode())
    answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    assert answer.startswith(b"HTTP/1.1 404")
    writer.write(f"GET {NAMESPACED}/secrets HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    rest = await asyncio.wait_for(reader.read(100_000), 5)
    while more := await asyncio.wait_for(reader.read(100_000), 1) if b"401" not in rest else b"":
        rest += more
    assert b"SecretList" not in rest
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def test_a_full_store_refuses_clients_only(api):
    """Beyond its capacity the server takes no more from clients, says so, and goes on; deleting makes room again."""
    text = "x" * 900_000
    api.objects.store._capacity = api.objects.store._held + 3_000_000
    codes = []
    for number in range(5):
        body = {"metadata": {"name": f"c{number}"}, "data": {"k": text}}
        status, _, answer = await api.request("POST", f"{NAMESPACED}/configmaps", body)
        codes.append(status)
    assert codes == [201, 201, 201, 429, 429]
    assert "delete some" in answer["message"]
    small = {"metadata": {"name": "c0"}, "data": {"k": "y"}}
    assert (await api.request("PUT", f"{NAMESPACED}/configmaps/c0", small))[0] == 200
    assert (await api.request("POST", f"{NAMESPACED}/configmaps", body))[0] == 201
    assert (await api.request("DELETE", f"{NAMESPACED}/configmaps/c1"))[0] == 200


def test_the_memory_of_changes_is_bounded():
    """Many changes of large objects are forgotten earlier than those of small ones: 410, and not gigabytes."""
    store = Store()
    store.create("configmaps", {"metadata": {"name": "c", "namespace": "d"}, "data": {}})
    for number in range(300):
        store.update(
            "configmaps", {"metadata": {"name": "c", "namespace": "d"}, "data": {"k": f"{number}" * 300_000}}
        )
    assert sum(event.size for event in store.since(store.oldest)) <= HISTORY_BYTES
    with pytest.raises(GoneError):
        store.since(1)
