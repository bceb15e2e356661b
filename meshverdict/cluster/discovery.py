"""Which groups, versions and resources there are: plain and aggregated discovery. Pure."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from typing import Any, Final

from meshverdict.cluster.kinds import Kind, Kinds

AGGREGATED: Final = {
    "v2": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
    "v2beta1": "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
}
VERSION: Final = {
    "major": "1",
    "minor": "36",
    "emulationMajor": "1",
    "emulationMinor": "36",
    "minCompatibilityMajor": "1",
    "minCompatibilityMinor": "35",
    "gitVersion": "v1.36.2+meshverdict",
    "gitCommit": "",
    "gitTreeState": "",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "linux/amd64",
}


def core_versions(address: str) -> dict[str, Any]:
    """``GET /api``."""
    reach = [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": reach}


def group_list(kinds: Kinds) -> dict[str, Any]:
    """``GET /apis``."""
    groups = [_group(name, versions) for name, versions in kinds.groups().items()]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def _group(name: str, versions: list[str]) -> dict[str, Any]:
    entries = [{"groupVersion": f"{name}/{v}", "version": v} for v in versions]
    return {"name": name, "versions": entries, "preferredVersion": entries[0]}


def group(kinds: Kinds, name: str) -> dict[str, Any] | None:
    """``GET /apis/GROUP``; None when there is no such group."""
    versions = kinds.groups().get(name)
    return None if versions is None else {"kind": "APIGroup", "apiVersion": "v1", **_group(name, versions)}


def resource_list(kinds: Kinds, group_name: str, version: str) -> dict[str, Any] | None:
    """``GET /apis/GROUP/VERSION``; None when there is no such version."""
    members = _members(kinds, group_name, version)
    if not members:
        return None
    resources: list[dict[str, Any]] = []
    for kind in members:
        resources += _resources(kind)
    group_version = f"{group_name}/{version}" if group_name else version
    head = {"kind": "APIResourceList", "groupVersion": group_version, "resources": resources}
    return head if not group_name else {**head, "apiVersion": "v1"}


def _members(kinds: Kinds, group_name: str, version: str) -> list[Kind]:
    found = [k for k in kinds.all() if k.group == group_name and k.version == version]
    return sorted(found, key=lambda k: k.plural)


def _resources(kind: Kind) -> Iterable[dict[str, Any]]:
    entry: dict[str, Any] = {
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": list(kind.verbs),
    }
    if kind.short:
        entry["shortNames"] = list(kind.short)
    if kind.categories:
        entry["categories"] = list(kind.categories)
    if "list" in kind.verbs:
        digest = hashlib.sha256(f"{kind.group}/{kind.version}/{kind.kind}".encode()).digest()
        entry["storageVersionHash"] = base64.b64encode(digest[:8]).decode()
    yield entry
    for sub in kind.subresources:
        below: dict[str, Any] = {
            "name": f"{kind.plural}/{sub.name}",
            "singularName": "",
            "namespaced": kind.namespaced,
            "kind": sub.kind,
            "verbs": list(sub.verbs),
        }
        if sub.group_version:
            group_name, _, version = sub.group_version.rpartition("/")
            below |= {"group": group_name, "version": version}
        yield below


def aggregated(kinds: Kinds, *, core: bool, version: str) -> dict[str, Any]:
    """``GET /api`` (*core*) or ``GET /apis`` as one list of everything."""
    names = {"": ["v1"]} if core else kinds.groups()
    items = []
    for name, versions in names.items():
        entries = [
            {
                "version": v,
                "resources": [_aggregated(kind) for kind in _members(kinds, name, v)],
                "freshness": "Current",
            }
            for v in versions
        ]
        items.append({"metadata": {"name": name} if name else {}, "versions": entries})
    api_version = f"apidiscovery.k8s.io/{version}"
    return {"kind": "APIGroupDiscoveryList", "apiVersion": api_version, "metadata": {}, "items": items}


def _aggregated(kind: Kind) -> dict[str, Any]:
    own = {"group": kind.group, "version": kind.version, "kind": kind.kind}
    entry: dict[str, Any] = {
        "resource": kind.plural,
        "responseKind": own
        if kind.crd_version is not None
        else {"group": "", "version": "", "kind": kind.kind},
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": list(kind.verbs),
    }
    if kind.short:
        entry["shortNames"] = list(kind.short)
    if kind.categories:
        entry["categories"] = list(kind.categories)
    if kind.subresources:
        entry["subresources"] = []
        for sub in kind.subresources:
            group_name, _, version = sub.group_version.rpartition("/")
            response = {"group": group_name, "version": version, "kind": sub.kind}
            if kind.crd_version is not None and not sub.group_version:
                response = own
            entry["subresources"].append(
                {"subresource": sub.name, "responseKind": response, "verbs": list(sub.verbs)}
            )
    return entry
