"""Which limit a request meets, and whether it is used up. Pure: the time is an argument.

Source of the rules: the documentation of envoyproxy/ratelimit ("Configuration", "Rate limit definition").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from meshverdict.model.errors import UsageError

SECONDS: Final = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}

Entry = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Limit:
    """So many requests in each second, minute, hour or day of the clock."""

    requests: int
    unit: str

    @property
    def seconds(self) -> int:
        """Length of a window."""
        return SECONDS[self.unit]


@dataclass(frozen=True, slots=True)
class Status:
    """What is said of one descriptor.

    Attributes:
        limit: The limit that it meets; None where it meets none.
        over: Whether the limit is used up.
        remaining: Requests that are left in this window.
        reset_s: Seconds until the next window.
    """

    limit: Limit | None
    over: bool = False
    remaining: int = 0
    reset_s: int = 0


@dataclass(frozen=True)
class _Node:
    limit: Limit | None
    children: Mapping[Entry, _Node]


@dataclass
class Limits:
    """The limits of some domains, and what was counted in the windows of now.

    Args:
        domains: Configurations: ``{"domain": ..., "descriptors": [{"key", "value", "rate_limit", "descriptors"}]}``.

    Raises:
        UsageError: Naming the descriptor and what is wrong with it.
    """

    domains: Iterable[Mapping[str, Any]]
    _roots: dict[str, _Node] = field(init=False, default_factory=dict)
    # By length of the window: its number, and what was counted in it. Older windows are forgotten.
    _windows: dict[int, tuple[int, dict[tuple[str, tuple[Entry, ...]], int]]] = field(
        init=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        for config in self.domains:
            name = config.get("domain") if isinstance(config, Mapping) else None
            if not isinstance(name, str) or not name:
                raise UsageError("rate limits: a configuration needs a `domain`")
            _refuse_unknown(config, ("domain", "descriptors"), name)
            if name in self._roots:
                raise UsageError(
                    f"rate limits: duplicate domain {name!r}: write all its descriptors into one file"
                )
            self._roots[name] = _Node(None, _children(config.get("descriptors") or [], name))

    def find(self, domain: str, entries: Sequence[Entry]) -> Limit | None:
        """The limit of a descriptor: of its whole path; an entry with a value goes before one with a key alone."""
        node = self._roots.get(domain)
        for key, value in entries:
            if node is None:
                return None
            node = node.children.get((key, value)) or node.children.get((key, ""))
        return node.limit if node and entries else None

    def take(self, domain: str, entries: Sequence[Entry], hits: int, now: float) -> Status:
        """Count a descriptor, and say how it stands.

        Args:
            domain: Of the request.
            entries: Keys and values.
            hits: How many requests it counts for.
            now: Unix seconds.
        """
        limit = self.find(domain, entries)
        if limit is None:
            return Status(None)
        window = int(now) // limit.seconds
        known, counts = self._windows.get(limit.seconds, (window, {}))
        if known != window:
            counts = {}
        self._windows[limit.seconds] = (window, counts)
        key = (domain, tuple(entries))
        count = counts[key] = counts.get(key, 0) + hits
        return Status(
            limit,
            over=count > limit.requests,
            remaining=max(0, limit.requests - count),
            reset_s=limit.seconds - int(now) % limit.seconds,
        )


def _children(descriptors: Any, where: str) -> dict[Entry, _Node]:
    found = {}
    for number, item in enumerate(descriptors if isinstance(descriptors, list) else [descriptors]):
        path = f"{where}.descriptors[{number}]"
        if not isinstance(item, Mapping) or not isinstance(item.get("key"), str):
            raise UsageError(f"rate limits: {path} needs a `key`")
        _refuse_unknown(item, ("key", "value", "rate_limit", "descriptors"), path)
        limit = _limit(item["rate_limit"], path) if item.get("rate_limit") is not None else None
        children = _children(item.get("descriptors") or [], path)
        entry = item["key"], _value(item.get("value"), path)
        if entry in found:
            raise UsageError(f"rate limits: {path}: duplicate descriptor {entry[0]}_{entry[1]}: remove one")
        if entry[1].endswith("*"):
            raise UsageError(
                f"rate limits: {path}.value {entry[1]!r}: wildcards are not matched here: write the values"
            )
        found[entry] = _Node(limit, children)
    return found


def _value(value: Any, where: str) -> str:
    """As the service of envoyproxy reads it: YAML's numbers and truths are text; nothing is any value."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None or isinstance(value, str | int):
        return "" if value is None else str(value)
    raise UsageError(f"rate limits: {where}.value {value!r}: write text, in quotes")


def _refuse_unknown(config: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    """What is not carried out must not be taken for granted."""
    for key in config:
        if key not in known:
            raise UsageError(
                f"rate limits: {where}.{key}: not supported here; take it out ({', '.join(known)} are)"
            )


def _limit(value: Any, where: str) -> Limit:
    if isinstance(value, Mapping):
        _refuse_unknown(value, ("unit", "requests_per_unit"), f"{where}.rate_limit")
    unit = str(value.get("unit", "")).lower() if isinstance(value, Mapping) else ""
    count = value.get("requests_per_unit") if isinstance(value, Mapping) else None
    if unit not in SECONDS:
        raise UsageError(f"rate limits: {where}.rate_limit.unit {unit!r}: one of {', '.join(SECONDS)}")
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise UsageError(
            f"rate limits: {where}.rate_limit.requests_per_unit {count!r}: a whole number from 0"
        )
    return Limit(count, unit)
