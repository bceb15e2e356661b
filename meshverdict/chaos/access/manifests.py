"""The rights of a runner as manifests, bound in the namespaces that are the lab's and in no other. Pure but for the files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from meshverdict.chaos.cluster import PROTECTED
from meshverdict.model.errors import UsageError

RUNNER: Final = "meshverdict-runner"
ROLE: Final = "meshverdict-run"
LAB: Final = ("a-ingress-traefik", "b-apacherr", "c-app-count", "d-redis", "load")
EXTRAS: Final = ("flows-hubble", "flows-lab", "usage")
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_FOLDER: Final = Path(__file__).parent
_GROUP: Final = "rbac.authorization.k8s.io"


def access(namespaces: Sequence[str] = LAB, extras: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The runner, its roles, and a binding in each of its namespaces.

    Args:
        namespaces: Of the lab; the account itself lives in ``load``, where the load runs, which is always one of them.
        extras: Of `EXTRAS`: rights that go beyond the lab.

    Raises:
        UsageError: There is no such extra, or a namespace is none, or the cluster's own.
    """
    for name in namespaces:
        if not _NAME.fullmatch(name):
            raise UsageError(f"namespace {name!r}: use lower case letters, digits and '-', such as 'd-redis'")
        if name in PROTECTED:
            raise UsageError(f"namespace {name}: it is the cluster's own; a runner gets no rights there")
    unknown = sorted(set(extras) - set(EXTRAS))
    if unknown:
        raise UsageError(f"rights {', '.join(unknown)}: choose of {', '.join(EXTRAS)}")
    places = list(dict.fromkeys([*namespaces, "load"]))
    found = [document for name in ("runner", *extras) for document in _read(name)]
    for document in found:
        for rule in document.get("rules") or ():
            if "resourceNames" in rule:
                rule["resourceNames"] = places
    return [*found, *(_binding(place) for place in places)]


def as_yaml(documents: Sequence[dict[str, Any]]) -> str:
    """For `kubectl apply -f -`."""
    return yaml.safe_dump_all(documents, sort_keys=False)


def _read(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((_FOLDER / f"{name}.yaml").read_text(encoding="utf-8")))


def _binding(namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": f"{_GROUP}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": ROLE, "namespace": namespace},
        "roleRef": {"apiGroup": _GROUP, "kind": "ClusterRole", "name": ROLE},
        "subjects": [{"kind": "ServiceAccount", "name": RUNNER, "namespace": "load"}],
    }
