"""Read the manifests that a lab is started with; what is wrong is named with its file and line."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from meshverdict.model.manifest_files import LEFT_OUT, read_files

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
# kubectl sorts nothing; it retries nothing either. Namespaces first spares the folders an order.
_FIRST = ("Namespace", "CustomResourceDefinition", "ServiceAccount", "ConfigMap", "Secret", "Service")


def load(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """All objects, namespaces before what lies in them, otherwise in the order of the files.

    Folders called as in ``LEFT_OUT`` are taken only where they are named themselves.

    Raises:
        UsageError: A file is missing, is not YAML, or holds something that is no Kubernetes object.
    """
    objects = [o for path in paths for o in read_files(path, what="--manifests", left_out=LEFT_OUT)]
    rank = {kind: i for i, kind in enumerate(_FIRST)}
    return sorted(objects, key=lambda o: rank.get(o["kind"], len(rank)))


def as_applied(obj: dict[str, Any]) -> dict[str, Any]:
    """The object with kubectl's note of what was applied, so that a later `kubectl apply` is a clean update."""
    metadata = dict(obj.get("metadata") or {})
    bare = {
        **metadata,
        "annotations": {k: v for k, v in (metadata.get("annotations") or {}).items() if k != LAST_APPLIED},
    }
    note = (
        json.dumps({**obj, "metadata": bare}, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
        + "\n"
    )
    # Go's encoder writes these three as escapes; a note that differs would be a change to kubectl.
    for character in "<>&":
        note = note.replace(character, f"\\u{ord(character):04x}")
    metadata["annotations"] = {**bare["annotations"], LAST_APPLIED: note}
    return {**obj, "metadata": metadata}
