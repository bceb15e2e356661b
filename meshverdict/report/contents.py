"""What a run folder held, as values, so that everything after the reading is pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from meshverdict.analysis.loose import mapping

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meshverdict.analysis.edges import EdgeSample
    from meshverdict.analysis.flows import Flow
    from meshverdict.analysis.load_table import LoadTable
    from meshverdict.analysis.telemetry import Samples
    from meshverdict.analysis.usage import Usage
    from meshverdict.analysis.zones import Passed
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
        table: The same as columns; None exactly when ``load`` is.
        load_problem: Why ``load`` is None although it should be there.
        flows: The flow log, replies left out; empty where there is none.
        has_flows: Whether there was a flow log at all.
        pods: What pods said of themselves.
        machine: How busy the machine was; None where that is not known.
        edges: What the mesh saw.
        usage: What each container used; empty where nobody told.
        search: The load record of a search for the capacity; None where there was none.
        traffic: What pods sent to each other, counted; empty in a lab of one zone.
    """

    origin: str
    journal: Journal
    run: Mapping[str, Any] | None = None
    load: LoadRecord | None = None
    table: LoadTable | None = None
    load_problem: str | None = None
    flows: tuple[Flow, ...] = ()
    has_flows: bool = False
    pods: tuple[Samples, ...] = ()
    machine: Samples | None = None
    edges: tuple[EdgeSample, ...] = ()
    usage: tuple[Usage, ...] = ()
    search: LoadRecord | None = None
    traffic: tuple[Passed, ...] = ()

    def section(self, key: str) -> Mapping[str, Any]:
        """A part of run.json that is an object; empty where it is missing."""
        return mapping((self.run or {}).get(key))

    def load_time(self) -> tuple[int, int] | None:
        """First second of the load and the second after its last; None without any request."""
        if self.table is None or not len(self.table.t):
            return None
        return int(self.table.t.min()), int(self.table.t.max()) + 1
