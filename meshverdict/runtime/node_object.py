"""The Node object of a node, as clients read it: names, addresses, room, and which machine it is on."""

from __future__ import annotations

import platform
import uuid
from typing import Any, Final

import meshverdict
from meshverdict.cluster.discovery import VERSION
from meshverdict.network.addresses import pod_blocks
from meshverdict.runtime.topology import REGION, Node

_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
_CONDITIONS: Final = (
    ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ("Ready", "True", "KubeletReady", "the embedded lab's kubelet is running"),
)
_PODS: Final = "1000"


def node_manifest(node: Node, capacity: dict[str, float], now: str) -> dict[str, Any]:
    """The Node object, Ready.

    Args:
        node: The node.
        capacity: Of the machine: ``cpu`` in cores and ``memory`` in bytes.
        now: The time, RFC 3339.
    """
    memory = f"{int(capacity['memory'] // 1024)}Ki"
    amounts = {"cpu": str(int(capacity["cpu"])), "memory": memory, "pods": _PODS}
    architecture = _ARCHITECTURES.get(platform.machine(), platform.machine())
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": node.name,
            "labels": {
                "beta.kubernetes.io/arch": architecture,
                "beta.kubernetes.io/os": "linux",
                "kubernetes.io/arch": architecture,
                "kubernetes.io/hostname": node.name,
                "kubernetes.io/os": "linux",
                "topology.kubernetes.io/zone": node.zone,
                "topology.kubernetes.io/region": REGION,
            },
        },
        "spec": {"podCIDR": pod_blocks(node.number)[0], "podCIDRs": pod_blocks(node.number)},
        "status": {
            "capacity": amounts,
            "allocatable": amounts,
            "addresses": [
                {"type": "InternalIP", "address": node.address},
                {"type": "Hostname", "address": node.name},
            ],
            "conditions": node_conditions(now),
            "nodeInfo": _info(node, architecture),
        },
    }


def node_conditions(now: str) -> list[dict[str, str]]:
    """What the kubelet says of a node that is well.

    Args:
        now: The time, RFC 3339.
    """
    return [
        {
            "type": kind,
            "status": status,
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
            "reason": reason,
            "message": message,
        }
        for kind, status, reason, message in _CONDITIONS
    ]


def _info(node: Node, architecture: str) -> dict[str, str]:
    """What ``kubectl get nodes -o wide`` shows; the ids are the lab's own, since pods are not to know the machine's."""
    identity = uuid.uuid5(uuid.NAMESPACE_OID, node.name).hex
    try:
        system = platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:  # a distribution without os-release
        system = "Linux"
    return {
        "machineID": identity,
        "systemUUID": identity,
        "bootID": str(uuid.uuid4()),
        "kernelVersion": platform.release(),
        "osImage": system,
        "containerRuntimeVersion": f"meshverdict://{meshverdict.__version__}",
        "kubeletVersion": VERSION["gitVersion"],
        "kubeProxyVersion": "",
        "operatingSystem": "linux",
        "architecture": architecture,
    }
