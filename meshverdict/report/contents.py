"""What a run folder held, as values, so that everything after the reading is pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meshverdict.analysis.flows import Flow
    from meshverdict.model.record_reader import LoadRecord
    from meshverdict.report.journal import Journal


@dataclass(frozen=True, slots=True)
class RunContents:
    """One run, read.

    Attributes:
        origin: How to name it: the folder or the journal's path.
        journal: Chaos Toolkit's journal.
        run: run.json; None for a journal without our files.
        load: The load record; None where there is none or it cannot be read.
        load_problem: Why ``load`` is None although it should be there.
        flows: The flow log, replies left out; empty where there is none.
        has_flows: Whether there was a flow log at all.
    """

    origin: str
    journal: Journal
    run: Mapping[str, Any] | None = None
    load: LoadRecord | None = None
    load_problem: str | None = None
    flows: tuple[Flow, ...] = ()
    has_flows: bool = False

    def section(self, key: str) -> Mapping[str, Any]:
        """A part of run.json that is an object; empty where it is missing."""
        value = (self.run or {}).get(key)
        return value if isinstance(value, Mapping) else {}
