"""What some experiments find besides: versions that answered, ways round a firewall, tiers that were blamed. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from meshverdict.analysis.load_table import OK
from meshverdict.analysis.loose import mappings, number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from meshverdict.analysis.load_table import LoadTable
    from meshverdict.analysis.windows import Window


@dataclass(frozen=True, slots=True)
class VersionRow:
    """What one version did for one kind of request in one window.

    Attributes:
        share: Of all requests of this kind that some version answered.
        errors: Those that it answered late or wrongly.
    """

    window: str
    endpoint: str
    version: str
    n: int
    share: float
    errors: int
    p50_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True, slots=True)
class TryRow:
    """What an intruder tried in one situation; ``found`` is reached or denied."""

    situation: str
    intruder: str
    to: str
    found: str
    how: str


@dataclass(frozen=True, slots=True)
class BlameRow:
    """Whom each view puts one fault down to; ``tier`` is who it was."""

    tier: str
    stall_ms: float | None
    mesh: str
    clients: tuple[str, ...]
    apps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """All of it; empty where an experiment looked for something else."""

    versions: tuple[VersionRow, ...] = ()
    tries: tuple[TryRow, ...] = ()
    blames: tuple[BlameRow, ...] = ()


def found_in(table: LoadTable | None, windows: Sequence[Window], measures: Mapping[str, Any]) -> Found:
    """What a run found, from its load record and from `measures` of its run.json."""
    return Found(
        versions=tuple(version_rows(table, windows)) if table is not None else (),
        tries=tuple(
            TryRow(*(str(row.get(key) or "") for key in TryRow.__dataclass_fields__))
            for row in mappings(measures.get("tries"))
        ),
        blames=blame_rows(mappings(measures.get("faults")), mappings(measures.get("diagnoses"))),
    )


def version_rows(table: LoadTable, windows: Sequence[Window]) -> list[VersionRow]:
    """Versions by the names of their requests, such as ``/count/version 2.0.0``; see analysis.shares."""
    kinds: dict[str, list[str]] = {}
    for name in sorted(table.names):
        base, _, version = name.rpartition(" ")
        if base.startswith("/"):
            kinds.setdefault(base, []).append(version)
    rows = []
    for window in windows:
        for kind, versions in kinds.items():
            masks = {
                v: table.rows(start=window.start, end=window.end, names=(f"{kind} {v}",)) for v in versions
            }
            counts = {v: int(table.n[mask].sum()) for v, mask in masks.items()}
            total = sum(counts.values())
            for version in versions:
                if not counts[version]:
                    continue
                good = masks[version] & table.rows(outcomes=(OK,))
                p50, p99 = table.quantiles_ms(good, (0.5, 0.99))
                errors = counts[version] - int(table.n[good].sum())
                share = counts[version] / total
                rows.append(VersionRow(window.name, kind, version, counts[version], share, errors, p50, p99))
    return rows


def blame_rows(
    faults: Sequence[Mapping[str, Any]], diagnoses: Sequence[Mapping[str, Any]]
) -> tuple[BlameRow, ...]:
    """A row per fault that was put down to somebody, or to nobody."""
    return tuple(
        BlameRow(
            str(one.get("tier") or ""),
            number(fault.get("stall_ms")),
            str(one.get("mesh") or ""),
            tuple(str(tier) for tier in one.get("clients") or ()),
            tuple(str(tier) for tier in one.get("apps") or ()),
        )
        for fault, one in zip(faults, diagnoses, strict=False)
    )
