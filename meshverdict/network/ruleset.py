"""An nftables table as a value, and the two ways to write it: one transaction, or several small ones.

A plain user's netlink send buffer cannot take a large transaction, so big tables are loaded piecewise under a
new name, with no hook, and only the last and small transaction puts the new table in the old one's place.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

DEFAULT_TABLE: Final = "meshverdict"
# TCP by reset, because the kernel limits how many ICMP errors an address gets in a second.
REFUSALS: Final = ("meta l4proto tcp reject with tcp reset", "reject with icmp port-unreachable")
# 500 elements are some 50 KB of netlink messages, a quarter of the default send buffer.
_ELEMENTS_A_COMMAND: Final = 500


def digest(text: str) -> str:
    """12 hexadecimal digits that stand for a text, safe as part of any nftables name."""
    return hashlib.blake2s(text.encode(), digest_size=6).hexdigest()


@dataclass
class _Set:
    kind: str  # set or map
    declaration: str  # type and flags
    elements: list[str]


@dataclass
class _Chain:
    hook: str  # empty for a chain that only others call
    rules: list[str]


@dataclass
class Table:
    """One table of the ``ip`` family under construction: counters, sets, maps and chains by name."""

    counters: list[str] = field(default_factory=list)
    sets: dict[str, _Set] = field(default_factory=dict)
    chains: dict[str, _Chain] = field(default_factory=dict)

    def counter(self, name: str) -> None:
        """Declare a named counter."""
        self.counters.append(name)

    def set(self, kind: str, key: str, elements: Iterable[str], *, interval: bool = False) -> str:
        """Declare a set by its content and return its name; equal content is declared once.

        Args:
            kind: Start of the name, says what it holds.
            key: nftables' type, such as ``ipv4_addr . inet_service``.
            elements: Elements in nftables' notation, without repetition or overlap.
            interval: Whether elements may be ranges.
        """
        ordered = sorted(elements)
        name = f"{kind}_{digest(key + ','.join(ordered))}"
        flags = "; flags interval" if interval else ""
        self.sets.setdefault(name, _Set("set", f"type {key}{flags};", ordered))
        return name

    def named_set(self, name: str, key: str, elements: Iterable[str]) -> None:
        """Declare a set under a name that rules know beforehand."""
        self.sets[name] = _Set("set", f"type {key};", sorted(elements))

    def map(self, name: str, key: str, elements: Iterable[str]) -> None:
        """Declare a verdict map."""
        self.sets[name] = _Set("map", f"type {key} : verdict;", sorted(elements))

    def chain(self, name: str, rules: Iterable[str], *, hook: str = "") -> str:
        """Declare a chain, a base chain if it has a hook, and return its name."""
        self.chains[name] = _Chain(hook, list(rules))
        return name

    def text(self, name: str = DEFAULT_TABLE) -> str:
        """The whole table as one atomic transaction that takes the place of the old one."""
        lines = [f"add table ip {name}", f"delete table ip {name}", f"table ip {name} {{"]
        lines += [f"  counter {counter} {{ }}" for counter in self.counters]
        for title, those in self.sets.items():
            elements = f" elements = {{ {', '.join(those.elements)} }}" if those.elements else ""
            lines.append(f"  {those.kind} {title} {{ {those.declaration}{elements} }}")
        for title, chain in self.chains.items():
            lines.append(f"  chain {title} {{")
            lines += [f"    {part}" for part in ([chain.hook] if chain.hook else []) + chain.rules]
            lines.append("  }")
        lines.append("}")
        return "\n".join(lines) + "\n"

    def transactions(self, name: str, *, replaces: str | None = None, limit: int = 40_000) -> list[str]:
        """The table in several transactions; only the last has an effect on packets.

        Args:
            name: A table name that is not in use, such as ``meshverdict_7``.
            replaces: The table that this one takes the place of, deleted in the last transaction.
            limit: Bytes of text in each transaction but the last, which holds only the base chains.
        """
        batches: list[str] = []
        pending: list[str] = []
        size = 0
        for command in self._passive(name):
            if pending and size + len(command) > limit:
                batches.append("".join(pending))
                pending, size = [], 0
            pending.append(command)
            size += len(command)
        last = list(self._active(name))
        if replaces is not None:
            last.append(f"delete table ip {replaces}\n")
        return [*batches, "".join(pending), "".join(last)]

    def _passive(self, name: str) -> Iterator[str]:
        """Commands for all that sees no packet yet; what is referred to comes first."""
        yield f"add table ip {name}\n"
        for counter in self.counters:
            yield f"add counter ip {name} {counter}\n"
        for title, those in self.sets.items():
            yield f"add {those.kind} ip {name} {title} {{ {those.declaration} }}\n"
        inner = {title: chain for title, chain in self.chains.items() if not chain.hook}
        for title in inner:
            yield f"add chain ip {name} {title}\n"
        for title, those in self.sets.items():
            for start in range(0, len(those.elements), _ELEMENTS_A_COMMAND):
                some = ", ".join(those.elements[start : start + _ELEMENTS_A_COMMAND])
                yield f"add element ip {name} {title} {{ {some} }}\n"
        for title, chain in inner.items():
            for rule in chain.rules:
                yield f"add rule ip {name} {title} {rule}\n"

    def _active(self, name: str) -> Iterator[str]:
        for title, chain in self.chains.items():
            if chain.hook:
                yield f"add chain ip {name} {title} {{ {chain.hook} }}\n"
                for rule in chain.rules:
                    yield f"add rule ip {name} {title} {rule}\n"
