"""What pods ask of their nodes, in whole thousandths, so that sums are exact."""

from __future__ import annotations

from collections import Counter

from meshverdict.cluster.quantities import quantity
from meshverdict.cluster.store import Manifest


def requests(pod: Manifest) -> Counter[str]:
    """What a pod asks of its node, in thousandths: the containers together, or a larger init container."""
    spec = pod["spec"]
    total: Counter[str] = Counter()
    for container in spec.get("containers") or ():
        total.update(_of(container))
    for container in spec.get("initContainers") or ():
        wanted = _of(container)
        if container.get("restartPolicy") == "Always":
            total.update(wanted)
        else:
            total |= wanted
    total["pods"] = 1000
    return total


def thousandths(resources: Manifest | None) -> Counter[str]:
    """A resource list, every quantity times 1000."""
    return Counter({name: int(quantity(q) * 1000) for name, q in (resources or {}).items()})


def _of(container: Manifest) -> Counter[str]:
    return thousandths((container.get("resources") or {}).get("requests"))
