"""The Kubernetes objects of a load: namespace, locustfile, and an indexed Job of independent workers. Pure.

The record is the workers' log, so there is no volume to share and no master to reach: the same objects work
on every cluster.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from meshverdict.load.share import WORKERS_VARIABLE
from meshverdict.model.errors import UsageError

if TYPE_CHECKING:
    from meshverdict.load.spec import LoadSpec

Manifest = dict[str, Any]
LAB_LABEL = "meshverdict.io/lab"
LOAD_LABEL = "meshverdict.io/load"
SPEC_ANNOTATION = "meshverdict.io/load-spec"
PRIORITY_ANNOTATION = "meshverdict.io/priority"
INDEX_ANNOTATION = "batch.kubernetes.io/job-completion-index"
CONTAINER = "locust"
GRACE_S = 30
_ZONE = "topology.kubernetes.io/zone"
_FOLDER = "/mnt/locust"
_FILE = "locustfile.py"
_LARGEST_CONFIG = 1_000_000


def namespace(spec: LoadSpec) -> Manifest:
    """The namespace where load pods run, marked as the lab's."""
    labels = {"name": spec.namespace, LAB_LABEL: "true"}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": spec.namespace, "labels": labels},
    }


def config_map(spec: LoadSpec, locustfile: str) -> Manifest:
    """The ConfigMap with the text of the locustfile.

    Raises:
        UsageError: The text is larger than a ConfigMap may be.
    """
    size = len(locustfile.encode())
    if size > _LARGEST_CONFIG:
        raise UsageError(
            f"locustfile of {size} bytes: a ConfigMap holds {_LARGEST_CONFIG}; move its data into an image"
        )
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": spec.name, "namespace": spec.namespace, "labels": _labels(spec)},
        "data": {_FILE: locustfile},
    }


def job(spec: LoadSpec) -> Manifest:
    """The Job; its pods are never restarted, since half a load is not the load that was asked for."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": spec.name,
            "namespace": spec.namespace,
            "labels": _labels(spec),
            "annotations": {SPEC_ANNOTATION: json.dumps(spec.as_json(), sort_keys=True)},
        },
        "spec": {
            "completionMode": "Indexed",
            "completions": spec.workers,
            "parallelism": spec.workers,
            "backoffLimit": 0,
            "template": {
                "metadata": {
                    # A sidecar would measure itself, and keep the Job from ending.
                    "labels": _labels(spec) | {"sidecar.istio.io/inject": "false"},
                    "annotations": {PRIORITY_ANNOTATION: "fifo"},
                },
                "spec": _pod(spec),
            },
        },
    }


def _pod(spec: LoadSpec) -> Manifest:
    pod: Manifest = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": GRACE_S,
        "containers": [
            {
                "name": CONTAINER,
                "image": spec.image,
                "imagePullPolicy": "IfNotPresent",
                "args": spec.arguments(f"{_FOLDER}/{_FILE}"),
                "env": [{"name": WORKERS_VARIABLE, "value": str(spec.workers)}],
                "volumeMounts": [{"name": "locustfile", "mountPath": _FOLDER, "readOnly": True}],
            }
        ],
        "volumes": [{"name": "locustfile", "configMap": {"name": spec.name}}],
    }
    if spec.zone is not None:
        pod["nodeSelector"] = {_ZONE: spec.zone}
    elif spec.workers > 1:
        pod["topologySpreadConstraints"] = [
            {
                "maxSkew": 1,
                "topologyKey": _ZONE,
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {LOAD_LABEL: spec.name}},
            }
        ]
    return pod


def _labels(spec: LoadSpec) -> dict[str, str]:
    return {"app": "load", LOAD_LABEL: spec.name}
