"""Volumes: whole changes, modes, optional parts, what is refused; and the pod's own /etc."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from memory_objects import pod

from meshverdict.runtime.volumes import (
    File,
    PodVolumes,
    Sources,
    VolumeError,
    etc_files,
    live_files,
    resolv_conf,
    write_files,
)

OBJECTS: dict[tuple[str, str], dict[str, Any]] = {
    ("configmaps", "cm"): {"kind": "ConfigMap", "data": {"a": "1", "b": "2"}, "binaryData": {"c": "AAE="}},
    ("secrets", "s"): {"kind": "Secret", "data": {"p": "cGFzcw=="}},
}
SOURCES = Sources(
    lookup=lambda resource, name: OBJECTS.get((resource, name)),
    token=lambda p, audience, seconds: f"{p['metadata']['name']} {audience} {seconds}",
    machine={"cpu": 2.0, "memory": 2.0**30},
)


def shown(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file() and ".." not in p.parts[-2]
    }


def test_a_change_replaces_all_files_by_one_rename(tmp_path: Path) -> None:
    """Names are links through ..data; an unchanged content is not written again."""
    first = {"a": File(b"1", 0o644), "sub/b": File(b"2", 0o600)}
    assert write_files(tmp_path, first, None)
    assert (tmp_path / "a").read_bytes() == b"1"
    assert (tmp_path / "sub/b").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "a").readlink() == Path("..data/a")
    assert not write_files(tmp_path, first, None)
    assert write_files(tmp_path, {"a": File(b"2", 0o644), "c": File(b"3", 0o644)}, None)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        [(tmp_path / "..data").readlink().name, "..data", "a", "c"]
    )
    assert (tmp_path / "a").read_bytes() == b"2"


@pytest.mark.parametrize(
    ("volume", "expected"),
    [
        ({"configMap": {"name": "cm"}}, {"a": (b"1", 0o644), "b": (b"2", 0o644), "c": (b"\0\1", 0o644)}),
        (
            {
                "configMap": {
                    "name": "cm",
                    "defaultMode": 0o400,
                    "items": [{"key": "a", "path": "x/y", "mode": 0o755}],
                }
            },
            {"x/y": (b"1", 0o755)},
        ),
        ({"secret": {"secretName": "s", "defaultMode": 0o400}}, {"p": (b"pass", 0o400)}),
        ({"configMap": {"name": "none", "optional": True}}, {}),
        (
            {"configMap": {"name": "cm", "optional": True, "items": [{"key": "no", "path": "x"}]}},
            {},
        ),
        (
            {"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
            {"name": (b"p", 0o644)},
        ),
        (
            {
                "projected": {
                    "sources": [
                        {"serviceAccountToken": {"path": "token", "audience": "x", "expirationSeconds": 600}},
                        {"secret": {"name": "s"}},
                    ]
                }
            },
            {"token": (b"p x 600", 0o644), "p": (b"pass", 0o644)},
        ),
    ],
)
def test_what_a_volume_holds(volume: dict[str, Any], expected: dict[str, tuple[bytes, int]]) -> None:
    """Keys, items, modes, optional, downward API and projected."""
    files = live_files(pod("p", {"image": "x"}), {"name": "v", **volume}, SOURCES)
    assert {path: (f.content, f.mode) for path, f in files.items()} == expected


@pytest.mark.parametrize(
    ("volume", "message"),
    [
        ({"configMap": {"name": "none"}}, 'volume "v" : configmap "none" not found'),
        ({"secret": {"secretName": "none"}}, 'volume "v" : secret "none" not found'),
        (
            {"configMap": {"name": "cm", "items": [{"key": "no", "path": "x"}]}},
            r"references non-existent configmap key: no \(test/cm\)",
        ),
        ({"hostPath": {"path": "/"}}, "volumes of type hostPath are not supported"),
        ({"persistentVolumeClaim": {"claimName": "x"}}, "volumes of type persistentVolumeClaim"),
    ],
)
def test_what_cannot_be_mounted_is_named(tmp_path: Path, volume: dict[str, Any], message: str) -> None:
    """The FailedMount event says volume and reason."""
    volumes = PodVolumes(tmp_path, os.getuid(), None)
    with pytest.raises(VolumeError, match=message):
        volumes.prepare(pod("p", {"image": "x"}, volumes=[{"name": "v", **volume}]), SOURCES)


def test_what_has_gone_missing_stays_and_the_others_change(tmp_path: Path) -> None:
    """A pod outlives its ServiceAccount and its Secret; its other volumes are still brought up to date."""
    there = {("configmaps", "cm"): {"kind": "ConfigMap", "data": {"a": "1"}}, **OBJECTS}
    gone = False

    def token(*_: object) -> str:
        if gone:
            raise LookupError("service account test/default is not there")
        return "token"

    sources = Sources(lambda resource, name: there.get((resource, name)), token, {})
    projected = {"sources": [{"serviceAccountToken": {"path": "token"}}]}
    kinds: list[dict[str, Any]] = [
        {"name": "account", "projected": projected},
        {"name": "secret", "secret": {"secretName": "s"}},
        {"name": "settings", "configMap": {"name": "cm"}},
    ]
    manifest = pod("p", {"image": "x"}, volumes=kinds)
    volumes = PodVolumes(tmp_path, os.getuid(), None)
    volumes.prepare(manifest, sources)
    gone = True
    del there["secrets", "s"]
    there["configmaps", "cm"] = {"kind": "ConfigMap", "data": {"a": "2"}}
    volumes.refresh(manifest, sources)
    found = {name: shown(volumes.path(name)) for name in ("account", "secret", "settings")}
    assert found == {"account": {"token": b"token"}, "secret": {"p": b"pass"}, "settings": {"a": b"2"}}


def test_mounts_parents_first_and_live_volumes_read_only(tmp_path: Path) -> None:
    """A volume inside another's mount path comes after it."""
    volumes = PodVolumes(tmp_path, os.getuid(), None)
    manifest = pod(
        "p",
        {
            "image": "x",
            "volumeMounts": [
                {"name": "cm", "mountPath": "/data/conf"},
                {"name": "e", "mountPath": "/data/"},
                {"name": "cm", "mountPath": "/etc/a", "subPath": "a"},
                {"name": "e", "mountPath": "/sub", "subPathExpr": "$(POD)", "readOnly": True},
            ],
        },
        volumes=[{"name": "cm", "configMap": {"name": "cm"}}, {"name": "e", "emptyDir": {}}],
    )
    volumes.prepare(manifest, SOURCES)
    mounts = volumes.mounts(manifest["spec"]["containers"][0], lambda text: text.replace("$(POD)", "p"))
    found = [(m.target, Path(m.source).name, m.readonly) for m in mounts]
    assert found == [
        ("/data", "e", False),
        ("/sub", "p", True),
        ("/data/conf", "cm", True),
        ("/etc/a", "a", True),
    ]
    volumes.remove()
    assert not tmp_path.exists()


def test_a_sub_path_cannot_leave_its_volume(tmp_path: Path) -> None:
    """CVE-2017-1002101 and its like."""
    volumes = PodVolumes(tmp_path / "v", os.getuid(), None)
    manifest = pod("p", {"image": "x"}, volumes=[{"name": "e", "emptyDir": {}}])
    volumes.prepare(manifest, SOURCES)
    (volumes.path("e") / "out").symlink_to("/etc")
    for sub in ("..", "out/passwd", "../other"):
        container = {"volumeMounts": [{"name": "e", "mountPath": "/x", "subPath": sub}]}
        with pytest.raises(VolumeError, match="leads out of its volume"):
            volumes.mounts(container, str)


def test_hosts_and_hostname_are_kubernetes() -> None:
    """hostname, subdomain and hostAliases."""
    manifest = pod(
        "web-0", {"image": "x"}, subdomain="web", hostAliases=[{"ip": "1.2.3.4", "hostnames": ["a", "b"]}]
    )
    files = etc_files(manifest, "10.244.1.2", "10.96.0.10", 1000, 1000)
    assert files["hosts"].splitlines()[1:] == [
        "127.0.0.1\tlocalhost",
        "10.244.1.2\tweb-0.web.test.svc.cluster.local\tweb-0",
        "1.2.3.4\ta\tb",
    ]
    assert files["hostname"] == "web-0\n"
    assert "app:x:1000:1000" in files["passwd"]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (
            {},
            "search ns.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n",
        ),
        ({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1"]}}, "nameserver 1.1.1.1\n"),
        (
            {
                "dnsConfig": {
                    "options": [{"name": "ndots", "value": "1"}, {"name": "edns0"}],
                    "searches": ["x"],
                }
            },
            (
                "search ns.svc.cluster.local svc.cluster.local cluster.local x\n"
                "nameserver 10.96.0.10\noptions ndots:1 edns0\n"
            ),
        ),
    ],
)
def test_resolvers(spec: dict[str, Any], expected: str) -> None:
    """DnsPolicy and dnsConfig."""
    assert resolv_conf(spec, "ns", "10.96.0.10") == expected
