"""Whether a sidecar serves what was written: its versions, read from the text of its admin interface.

Polled, never slept for: Envoy reports each resource's ``version_text`` once it is live, and counts what it refused.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Final

from meshverdict.mesh.files import CLUSTERS, LISTENERS, ResourceFile

# One request to the admin interface that has all that the functions here read.
STATS_PATH: Final = (
    "/stats?filter=(version_text|update_rejected|update_failure|warming_clusters|total_listeners_warming)$"
)
_TEXT: Final = re.compile(r'^(?P<name>.+)\.version_text: "(?P<version>[^"]*)"$', re.MULTILINE)
_WARMING: Final = re.compile(
    r"^\w+\.(?:warming_clusters|total_listeners_warming): (?P<count>\d+)$", re.MULTILINE
)
# Rejected: the messages are not what Envoy takes. Failure: the file does not even parse into its messages.
_REJECTED: Final = re.compile(
    r"^(?P<name>.+)\.update_(?:rejected|failure): (?P<count>[1-9]\d*)$", re.MULTILINE
)


def pending(files: Iterable[ResourceFile], stats: str) -> list[str]:
    """Names of the files that are not live yet.

    A cluster's endpoints and a port's routes count only where Envoy knows the cluster and the port: those of a
    resource that it has not got are pending with the file that brings it.

    Args:
        files: What the sidecar should serve.
        stats: The admin interface's answer to `STATS_PATH`.
    """
    live = {match["name"]: match["version"] for match in _TEXT.finditer(stats)}
    return [file.name for file in files if not _is_live(file, live)]


def _is_live(file: ResourceFile, live: dict[str, str]) -> bool:
    if file.name == CLUSTERS:
        return live.get("cluster_manager.cds") == file.version
    if file.name == LISTENERS:
        return live.get("listener_manager.lds") == file.version
    if file.name.startswith("eds-"):
        return live.get(f"cluster.{file.resources[0]['cluster_name']}", file.version) == file.version
    suffix = f".rds.{file.resources[0]['name']}"
    return all(version == file.version for name, version in live.items() if name.endswith(suffix))


def warming(stats: str) -> int:
    """How many clusters and listeners are accepted, but do not serve yet."""
    return sum(int(match["count"]) for match in _WARMING.finditer(stats))


def rejections(stats: str) -> dict[str, int]:
    """What Envoy refused since it started: name of the subscription -> how often."""
    found: Counter[str] = Counter()
    for match in _REJECTED.finditer(stats):
        found[match["name"]] += int(match["count"])
    return dict(found)
