"""What dead runs left in a lab, on any cluster: found by its marks, and removed before the next run begins."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kubernetes.client import BatchV1Api, V1DeleteOptions
from kubernetes.client.exceptions import ApiException

from meshverdict.chaos import canary, ledger, prober
from meshverdict.chaos.manifests import NOT_FOUND
from meshverdict.load.job import LOAD_LABEL
from meshverdict.model.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meshverdict.chaos.cluster import KubeAccess

_GONE_S: Final = 60.0
_POLL_S: Final = 0.05


def sweep(access: KubeAccess, scratch: Path, namespaces: Iterable[str]) -> list[str]:
    """Put everything back as it was before the runs that died; returns what was done, in words.

    Raises:
        LabError: A run that lives uses this lab; or something cannot be put back, or does not go away, and all the
            rest was tried.
    """
    places = tuple(namespaces)
    left: LabError | None = None
    done: list[str] = []
    try:
        done += [f"put back {words}" for words in ledger.recover(access, scratch, places)]
    except ledger.LeftError as error:
        left = error  # its probers and its load are dead weight in any case
    done += [f"removed a prober in {place}" for place in prober.remove(access, places)]
    done += [f"removed a canary in {place}" for place in places if canary.remove(access, place)]
    done += [f"removed pod {pod}" for pod in _remove_pods(access, places)]
    for place in places:
        done += [f"removed the load {place}/{name}" for name in _remove_loads(access, place)]
    if left is not None:
        raise left
    return done


def _remove_pods(access: KubeAccess, namespaces: Iterable[str]) -> list[str]:
    """Delete whatever else stands in the lab to measure: intruders, those who ask for round trips."""
    pods = [
        (place, pod["metadata"]["name"])
        for place in namespaces
        for pod in access.json(access.core.list_namespaced_pod, place, label_selector=prober.LABEL)["items"]
    ]
    return [f"{place}/{name}" for place, name in pods if prober.remove(access, [place], name=name)]


def clean(access: KubeAccess) -> list[str]:
    """Sweep all of a cluster's labelled namespaces, without a run.

    Raises:
        LabError: A run that lives uses it, or something does not go away.
        ApiException: The cluster refuses something.
        HTTPError: It cannot be asked.
    """
    with tempfile.TemporaryDirectory(prefix="meshverdict-") as scratch:
        return sweep(access, Path(scratch), access.lab_namespaces())


def _remove_loads(access: KubeAccess, namespace: str) -> list[str]:
    """Delete the Jobs of loads with their pods and locustfiles; their names."""
    batch = BatchV1Api(access.api)
    jobs = access.json(batch.list_namespaced_job, namespace, label_selector=LOAD_LABEL)["items"]
    names = [job["metadata"]["name"] for job in jobs]
    options = V1DeleteOptions(grace_period_seconds=0, propagation_policy="Background")
    for name in names:
        for delete in (batch.delete_namespaced_job, access.core.delete_namespaced_config_map):
            try:
                access.json(delete, name, namespace, body=options)
            except ApiException as error:
                if error.status != NOT_FOUND:
                    raise
    deadline = time.monotonic() + _GONE_S
    while (
        names and access.json(access.core.list_namespaced_pod, namespace, label_selector=LOAD_LABEL)["items"]
    ):
        if time.monotonic() > deadline:
            raise LabError(f"namespace {namespace}: pods of the load {', '.join(names)} do not go away")
        time.sleep(_POLL_S)
    return names
