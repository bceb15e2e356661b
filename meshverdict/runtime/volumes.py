"""Volumes of a pod: folders of the world's scratch space that are mounted into its containers.

ConfigMaps, Secrets and the like change while a pod runs. Their files are replaced all at once by one
rename of ``..data``, as the kubelet does, so that a program never sees half of a change.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from meshverdict.cluster.store import Manifest
from meshverdict.runtime.environment import Lookup, contents, field_value, resource_value
from meshverdict.runtime.rootfs import Mount

if TYPE_CHECKING:
    from pathlib import Path

Token = Callable[[Manifest, str, int], str]  # (pod, audience, seconds) -> service account token

_DATA: Final = "..data"
_DEFAULT_MODE: Final = 0o644
_LIVE: Final = ("configMap", "secret", "projected", "downwardAPI")


class VolumeError(Exception):
    """A volume cannot be set up (yet); the text is the FailedMount event's."""


@dataclass(frozen=True, slots=True)
class File:
    """One file of a volume that Kubernetes writes."""

    content: bytes
    mode: int


Files = dict[str, File]


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the content of volumes comes from.

    Attributes:
        lookup: Finds ConfigMaps and Secrets of the pod's namespace.
        token: Makes service account tokens.
        machine: What the machine has, for limits that are not set.
    """

    lookup: Lookup
    token: Token
    machine: Mapping[str, float]


def live_files(pod: Manifest, volume: Mapping[str, Any], sources: Sources) -> Files:
    """What a configMap, secret, downwardAPI or projected volume holds now, by path.

    Raises:
        VolumeError: Something that is not optional is missing.
    """
    for kind, source in volume.items():
        if kind == "projected":
            mode = source.get("defaultMode") or _DEFAULT_MODE
            files: Files = {}
            for part in source.get("sources") or ():
                for part_kind, part_source in part.items():
                    files |= _files(pod, part_kind, part_source, mode, sources)
            return files
        if kind in _LIVE:
            mode = source.get("defaultMode") or _DEFAULT_MODE
            return _files(pod, kind, source, mode, sources)
    return {}


def _files(pod: Manifest, kind: str, source: Mapping[str, Any], mode: int, sources: Sources) -> Files:
    if kind == "serviceAccountToken":
        seconds = source.get("expirationSeconds") or 3600
        return {
            source["path"]: File(sources.token(pod, source.get("audience") or "", seconds).encode(), mode)
        }
    if kind == "downwardAPI":
        return {
            i["path"]: File(_downward(pod, i, sources.machine), i.get("mode") or mode)
            for i in source.get("items") or ()
        }
    if kind in ("configMap", "secret"):
        return _keys(pod, kind, source, mode, sources.lookup)
    raise VolumeError(f"projected source {kind} is not supported by the embedded lab")


def _downward(pod: Manifest, item: Mapping[str, Any], machine: Mapping[str, float]) -> bytes:
    if ref := item.get("fieldRef"):
        return field_value(pod, ref["fieldPath"]).encode()
    ref = item["resourceFieldRef"]
    container = next(c for c in pod["spec"]["containers"] if c["name"] == ref["containerName"])
    return resource_value(container, ref["resource"], str(ref.get("divisor") or "1"), machine).encode()


def _keys(pod: Manifest, kind: str, source: Mapping[str, Any], mode: int, lookup: Lookup) -> Files:
    resource = "configmaps" if kind == "configMap" else "secrets"
    name = source.get("name") or source.get("secretName") or ""
    optional = bool(source.get("optional"))
    obj = lookup(resource, name)
    if obj is None:
        if optional:
            return {}
        raise VolumeError(f'{resource[:-1]} "{name}" not found')
    data = contents(obj)
    items = source.get("items")
    if not items:
        return {key: File(value, mode) for key, value in data.items()}
    files: Files = {}
    for item in items:
        if item["key"] in data:
            files[item["path"]] = File(data[item["key"]], item.get("mode") or mode)
        elif not optional:
            where = f"{pod['metadata']['namespace']}/{name}"
            raise VolumeError(f"references non-existent {resource[:-1]} key: {item['key']} ({where})")
    return files


def write_files(folder: Path, files: Files, group: int | None) -> bool:
    """Make the folder show exactly *files*, all at once; False if it did already."""
    current = folder / _DATA
    if current.exists() and _same(current, files):
        return False
    new = folder / f"..{secrets.token_hex(6)}"
    for path, file in files.items():
        target = new / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.content)
        if group is not None:
            os.chown(target, -1, group)
            target.chmod(file.mode | 0o440)
        else:
            target.chmod(file.mode)
    new.mkdir(exist_ok=True)
    old = current.resolve() if current.exists() else None
    link = folder / "..data_tmp"
    link.unlink(missing_ok=True)
    link.symlink_to(new.name)
    link.rename(current)
    _link_names(folder, {path.split("/", 1)[0] for path in files})
    if old is not None:
        shutil.rmtree(old)
    return True


def _same(current: Path, files: Files) -> bool:
    found = {str(p.relative_to(current)): p for p in current.rglob("*") if p.is_file()}
    return found.keys() == files.keys() and all(
        found[path].read_bytes() == file.content for path, file in files.items()
    )


def _link_names(folder: Path, names: set[str]) -> None:
    for entry in folder.iterdir():
        if not entry.name.startswith("..") and entry.name not in names:
            entry.unlink()
    for name in names:
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"{_DATA}/{name}")


class PodVolumes:
    """The volumes of one pod.

    Args:
        folder: Where they are made; removed with the pod.
        uid: World's user id of the containers, who may write into emptyDir volumes.
        group: The pod's ``fsGroup`` as the world's id, or None.
    """

    def __init__(self, folder: Path, uid: int, group: int | None) -> None:
        self.folder = folder
        self._uid = uid
        self._group = group

    def prepare(self, pod: Manifest, sources: Sources) -> None:
        """Make all volumes; may be called again after a failure.

        Raises:
            VolumeError: Naming the volume.
        """
        for volume in pod["spec"].get("volumes") or ():
            try:
                self._prepare(pod, volume, sources)
            except VolumeError as error:
                name = volume["name"]
                raise VolumeError(f'MountVolume.SetUp failed for volume "{name}" : {error}') from error

    def _prepare(self, pod: Manifest, volume: Mapping[str, Any], sources: Sources) -> None:
        folder = self.path(volume["name"])
        if "emptyDir" in volume:
            if not folder.exists():
                folder.mkdir(parents=True)
                os.chown(folder, self._uid, self._group if self._group is not None else self._uid)
                folder.chmod(0o777)
        elif any(kind in volume for kind in _LIVE):
            files = live_files(pod, volume, sources)
            folder.mkdir(parents=True, exist_ok=True)
            write_files(folder, files, self._group)
        else:
            kind = next((k for k in volume if k != "name"), "unknown")
            raise VolumeError(
                f"volumes of type {kind} are not supported by the embedded lab; "
                "use emptyDir, configMap, secret, projected or downwardAPI"
            )

    def refresh(self, pod: Manifest, sources: Sources) -> None:
        """Bring changed ConfigMaps, Secrets and labels into the volumes; what has gone missing stays."""
        for volume in pod["spec"].get("volumes") or ():
            folder = self.path(volume["name"])
            if folder.exists() and any(kind in volume for kind in _LIVE):
                try:
                    files = live_files(pod, volume, sources)
                except (LookupError, VolumeError):
                    continue  # of one that has gone missing the others' volumes must not wait
                write_files(folder, files, self._group)

    def mounts(self, container: Mapping[str, Any], expanded: Callable[[str], str]) -> list[Mount]:
        """The mounts of one container, parents before what lies in them.

        Raises:
            VolumeError: A subPath does not exist or leads out of its volume.
        """
        found = []
        for mount in container.get("volumeMounts") or ():
            source = self.path(mount["name"])
            sub = expanded(mount["subPathExpr"]) if mount.get("subPathExpr") else mount.get("subPath")
            if sub:
                source = self._sub_path(source, sub)
            target = mount["mountPath"].rstrip("/") or "/"
            readonly = bool(mount.get("readOnly")) or (self.path(mount["name"]) / _DATA).exists()
            found.append(Mount(str(source), target, readonly))
        return sorted(found, key=lambda m: m.target.count("/"))

    def path(self, name: str) -> Path:
        """The folder of one volume."""
        return self.folder / name

    def remove(self) -> None:
        """Delete everything."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _sub_path(self, volume: Path, sub: str) -> Path:
        path = (volume / sub).resolve()
        if not path.is_relative_to(volume.resolve()):
            raise VolumeError(f'subPath "{sub}" leads out of its volume')
        if not path.exists():
            if (volume / _DATA).exists():
                raise VolumeError(f'subPath "{sub}" does not exist in its volume')
            path.mkdir(parents=True)
            os.chown(path, self._uid, self._group if self._group is not None else self._uid)
        return path


_USERS: Final = """root:x:0:0:root:/root:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
"""
_GROUP: Final = """root:x:0:
nogroup:x:65534:
"""


def etc_files(pod: Manifest, address: str, dns: str, uid: int, gid: int) -> dict[str, str]:
    """The files of the pod's own /etc: its name, its resolver, its users."""
    spec, meta = pod["spec"], pod["metadata"]
    hostname = pod_hostname(pod)
    name = hostname
    if spec.get("subdomain"):
        name = f"{hostname}.{spec['subdomain']}.{meta['namespace']}.svc.cluster.local\t{hostname}"
    hosts = [
        "# Kubernetes-managed hosts file.",
        "127.0.0.1\tlocalhost",
        f"{address}\t{name}",
        *(
            f"{alias['ip']}\t{chr(9).join(alias.get('hostnames') or ())}"
            for alias in spec.get("hostAliases") or ()
        ),
    ]
    user, group = (f"app:x:{uid}:{gid}::/home/app:/bin/sh\n", f"app:x:{gid}:\n")
    return {
        "hosts": "\n".join(hosts) + "\n",
        "hostname": hostname + "\n",
        "resolv.conf": resolv_conf(spec, meta["namespace"], dns),
        "nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n",
        "passwd": _USERS + user,
        "group": _GROUP + group,
    }


def pod_hostname(pod: Manifest) -> str:
    """The pod's host name, as Kubernetes cuts it."""
    return str(pod["spec"].get("hostname") or pod["metadata"]["name"])[:63].rstrip("-.")


def resolv_conf(spec: Mapping[str, Any], namespace: str, dns: str) -> str:
    """The resolver's configuration by dnsPolicy and dnsConfig."""
    servers: list[str] = []
    searches: list[str] = []
    options: dict[str, str | None] = {}
    if spec.get("dnsPolicy", "ClusterFirst") in ("ClusterFirst", "ClusterFirstWithHostNet"):
        servers = [dns]
        searches = [f"{namespace}.svc.cluster.local", "svc.cluster.local", "cluster.local"]
        options = {"ndots": "5"}
    config = spec.get("dnsConfig") or {}
    servers += [s for s in config.get("nameservers") or () if s not in servers]
    searches += [s for s in config.get("searches") or () if s not in searches]
    options |= {o["name"]: o.get("value") for o in config.get("options") or ()}
    lines = []
    if searches:
        lines.append("search " + " ".join(searches))
    lines += [f"nameserver {server}" for server in servers]
    if options:
        lines.append("options " + " ".join(f"{k}:{v}" if v else k for k, v in options.items()))
    return "\n".join(lines) + "\n"
