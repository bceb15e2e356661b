"""What pods ask of their nodes, in whole thousandths, so that sums are exact."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Final

from meshverdict.cluster.quantities import quantity
from meshverdict.cluster.store import Manifest

_MOST: Final = Decimal(2**63 - 1)


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
    """A resource list, every quantity times 1000; beyond 64 bits they are as many as 64 bits hold, as in Kubernetes."""
    bounded = {name: max(-_MOST, min(_MOST, quantity(q))) for name, q in (resources or {}).items()}
    return Counter({name: int(amount * 1000) for name, amount in bounded.items()})


def _of(container: Manifest) -> Counter[str]:
    return thousandths((container.get("resources") or {}).get("requests"))
