"""Which version of the app answers whom: asked of the load record, phase by phase."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from meshverdict.analysis.load_table import OK, load_table
from meshverdict.analysis.shares import answers_by_version, judge_shares
from meshverdict.analysis.windows import Window
from meshverdict.chaos import record
from meshverdict.chaos.answers import AS_EXPECTED, NOT_EXPECTED
from meshverdict.chaos.session import current
from meshverdict.model.errors import LabError, RecordError, UsageError
from meshverdict.model.record_reader import read_record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meshverdict.analysis.load_table import LoadTable


def share_per_version(name: str, shares: dict[str, float], phase: str | None = None) -> str:
    """Whether each version answered its share, within the interval that holds 99 of 100 draws of that share.

    Args:
        name: Endpoint; the locustfile names requests by the version that answered, as in "/count/version 2.0.0".
        shares: Share by version, 0 to 1, such as {"2.0.0": 0.1}; one other version may answer the rest.
        phase: Name of a phase; by default the one that lasts.
    """
    right, sentence = _judged(name, shares, phase)
    return (AS_EXPECTED if right else NOT_EXPECTED) + sentence


def versions_as_expected(
    name: str,
    untreated: dict[str, float],
    treated: dict[str, dict[str, float]],
    *,
    required: bool = False,
) -> str:
    """Whether each version answers its share; phase-aware: after the method, of every phase that has a name.

    Args:
        name: Endpoint, as in share_per_version.
        untreated: Shares that must be found now, without the treatment.
        treated: Shares by phase that must have been found under the treatment.
        required: Fail instead of answering "NOT as expected", for rollbacks.
    """
    if not treated:
        raise UsageError(f"{name}: `treated` is empty: give the shares of at least one phase")
    wanted = treated if current().timeline.treated else {"": untreated}
    judged = [(phase, *_judged(name, shares, phase or None)) for phase, shares in wanted.items()]
    said = "; ".join(f"{phase}: {sentence}" if phase else sentence for phase, _, sentence in judged)
    if all(right for _, right, _ in judged):
        return AS_EXPECTED + said
    if required:
        raise LabError(f"{name}: {said}; look at the VirtualServices with kubectl")
    return NOT_EXPECTED + said


def _judged(name: str, shares: Mapping[str, float], phase: str | None) -> tuple[bool, str]:
    values = list(shares.values())
    if not values or any(not 0 <= value <= 1 for value in values) or sum(values) > 1 + 1e-9:
        raise UsageError(f"shares {dict(shares)!r}: numbers from 0 to 1, together at most 1")
    table, window = _table(phase)
    found = answers_by_version(table, name, [Window(phase or "now", "during", window.start, window.end)])
    if not found:
        raise RecordError(
            f"{name}: no answer tells its version in this window; use a locustfile that names requests by version, such"
            " as locustfiles/canary.py"
        )
    judged = judge_shares(found, shares)
    # The version that has the rest is told where it has not.
    told = [share for share in judged if share.version in shares or not share.within]
    return all(share.within for share in judged), ", ".join(map(str, told))


def _table(phase: str | None) -> tuple[LoadTable, record.Window]:
    session = current()
    path = session.folder / "load.jsonl"
    if not path.is_file():
        raise RecordError(f"{path}: no load was recorded")
    start = read_record(path).header.start
    window = record.window_of(session.timeline, phase=phase, last_s=None, load_start=start)
    return record.table_covering(path, window), window


def requests_lost(name: str | None = None, since: str | None = None) -> int:
    """How many requests were not answered as expected and in time, changes between phases included.

    Args:
        name: Endpoint or prefix that ends with "/"; by default all.
        since: Name of the phase from whose beginning they are counted; by default from the load's.
    """
    session = current()
    table, window = _table(None)
    begin = -math.inf
    if since is not None:
        phase = session.timeline.find(since)
        if phase is None:
            raise UsageError(f"requests_lost: there was no phase {since!r}")
        begin = math.floor(phase.start)
    path = session.folder / "load.jsonl"
    found = read_record(path)
    table = load_table(found.seconds, ratio=found.header.ratio)
    names = [
        n for n in table.names if name is None or n == name or (name.endswith("/") and n.startswith(name))
    ]
    rows = table.rows(start=begin, end=window.end, names=names)
    if not table.n[rows].sum():
        raise RecordError(
            f"requests_lost: no request{f' to {name!r}' if name else ''} was recorded (endpoints: {', '.join(table.names)})"
        )
    return int(table.n[rows & ~table.rows(outcomes=(OK,))].sum())
