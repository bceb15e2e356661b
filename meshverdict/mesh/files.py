"""The files of one sidecar, as a plan: what is in them and in which order they may be replaced.

Envoy reads its resources from files and sees only a rename(2). A route may name a cluster only once the cluster is
there, and a cluster's endpoints have to be there before it: so files are put in place endpoints first, then clusters,
routes and listeners, each live before the next, and taken away in the opposite order. Each file's ``version_info`` is a hash of its content, which
the admin interface shows as ``version_text`` once it is live.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from meshverdict.mesh.envoy import Json

CLUSTERS: Final = "cds.json"
LISTENERS: Final = "lds.json"
_ORDER: Final = ("eds-", CLUSTERS, "rds-", LISTENERS)
# Of the 255 bytes of a file's name some are needed for what is around it.
_LONGEST_NAME: Final = 200
# Endpoints and clusters become live together.
_STAGES: Final = (0, 0, 1, 2)


def endpoint_file(folder: str, cluster: str) -> str:
    """The file of one cluster's endpoints."""
    return f"{folder}/eds-{_plain(cluster)}.json"


def route_file(folder: str, name: str) -> str:
    """The file of one route configuration."""
    return f"{folder}/rds-{_plain(name)}.json"


def secret_file(folder: str, name: str) -> str:
    """The file of one secret: the certificate or the trusted authorities."""
    return f"{folder}/sds-{name}.json"


def _plain(name: str) -> str:
    """A file name for a resource: a Service's name has no ``_`` and no ``~``, so two never share one.

    A host may be longer than a file's name may be: the end is then a digest of the whole.
    """
    plain = name.replace("|", "_").replace("/", "~").replace("*", "~~")
    if len(plain) <= _LONGEST_NAME:
        return plain
    digest = hashlib.blake2s(name.encode(), digest_size=16).hexdigest()
    return f"{plain[: _LONGEST_NAME - len(digest) - 1]}~{digest}"


@dataclass(frozen=True)
class ResourceFile:
    """One file: its path, the version that Envoy will report, the resources in it, and they as JSON."""

    path: str
    version: str
    resources: tuple[Json, ...] = field(compare=False, repr=False)
    body: str = field(compare=False, repr=False)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    @property
    def text(self) -> str:
        """The content: a discovery response."""
        return f'{{"version_info":"{self.version}","resources":{self.body}}}'


def resource_file(
    path: str, resources: Iterable[Json], texts: Mapping[int, str] | None = None
) -> ResourceFile:
    """A file for resources, with its version.

    Args:
        path: Of the file.
        resources: What is in it.
        texts: JSON of resources that other files have too, by their ``id``: written once.
    """
    kept = tuple(resources)
    known = texts or {}
    body = f"[{','.join(known.get(id(r)) or json.dumps(r, separators=(',', ':')) for r in kept)}]"
    return ResourceFile(path, hashlib.blake2s(body.encode(), digest_size=8).hexdigest(), kept, body)


@dataclass(frozen=True)
class Step:
    """One change of the disk: put the file in place by rename, or take it away (*file* is None)."""

    path: str
    file: ResourceFile | None


def replacement(old: Iterable[ResourceFile], new: Iterable[ResourceFile]) -> list[list[Step]]:
    """The steps from one set of files to another, in stages; files with the same version are left alone.

    Each stage has to be live (`convergence.pending` and `convergence.warming`) before the next begins: a new cluster
    answers 503 until it is warm, so no route may name it before. Clusters that go are kept until the routes and
    listeners that named them are replaced: the clusters' file is then written twice.
    """
    before: Mapping[str, ResourceFile] = {file.path: file for file in old}
    after: Mapping[str, ResourceFile] = {file.path: file for file in new}
    stages: list[list[Step]] = [[], [], [], [], []]
    for file in sorted(after.values(), key=lambda f: (_rank(f.path), f.path)):
        if file.path in before and before[file.path].version == file.version:
            continue
        both = _with_leaving_clusters(before.get(file.path), file)
        stages[_STAGES[_rank(file.path)]].append(Step(file.path, both))
        if both is not file:
            stages[3].append(Step(file.path, file))
    gone = [path for path in before if path not in after]
    stages[4] = [Step(path, None) for path in sorted(gone, key=lambda p: (-_rank(p), p))]
    return [stage for stage in stages if stage]


def _with_leaving_clusters(before: ResourceFile | None, file: ResourceFile) -> ResourceFile:
    if before is None or not file.path.endswith(CLUSTERS):
        return file
    names = {resource["name"] for resource in file.resources}
    leaving = [resource for resource in before.resources if resource["name"] not in names]
    return resource_file(file.path, [*file.resources, *leaving]) if leaving else file


def _rank(path: str) -> int:
    name = path.rpartition("/")[2]
    return next(position for position, start in enumerate(_ORDER) if name.startswith(start))
