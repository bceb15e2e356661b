"""Kubernetes quantities as exact numbers: ``250m``, ``128Mi``, ``1e3``."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

from meshverdict.cluster.store import Manifest

_SUFFIXES = {
    **{s: Fraction(1024) ** (i + 1) for i, s in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"))},
    **{s: Fraction(1000) ** (i + 1) for i, s in enumerate(("k", "M", "G", "T", "P", "E"))},
    "m": Fraction(1, 1000),
    "u": Fraction(1, 10**6),
    "n": Fraction(1, 10**9),
}


def quantity(value: str | float) -> Fraction:
    """The number that *value* stands for.

    Raises:
        ValueError: It is not a quantity.
    """
    text = str(value)
    for suffix in (text[-2:], text[-1:]):
        if suffix in _SUFFIXES:
            return Fraction(text[: -len(suffix)]) * _SUFFIXES[suffix]
    return Fraction(text)


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
