"""What a report says, as one value: made by build, written down by render, tested without any HTML."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meshverdict.analysis.cases import Case
    from meshverdict.analysis.flows import FlowRow
    from meshverdict.analysis.summary import Cell, Series
    from meshverdict.analysis.telemetry import Samples
    from meshverdict.analysis.windows import Phase, Role
    from meshverdict.report.found import Found
    from meshverdict.report.journal import Activity, Probe
    from meshverdict.report.judge import Judgement
    from meshverdict.report.overload import Overload
    from meshverdict.report.zone_facts import ZoneReport


@dataclass(frozen=True, slots=True)
class Fact:
    """One figure for the first screen."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class CaseCell:
    """What one case did in one window, in a word, and in figures.

    Attributes:
        state: ``answers``, ``fails``, ``mixed`` or ``silent``.
        words: For a person.
    """

    state: str
    words: str
    cell: Cell


@dataclass(frozen=True, slots=True)
class CaseReport:
    """One case over the whole run."""

    case: Case
    cells: tuple[CaseCell, ...]
    series: Series
    tails: tuple[tuple[str, tuple[tuple[float, float], ...]], ...]


@dataclass(frozen=True, slots=True)
class WindowHead:
    """Heading of a column of cells."""

    name: str
    role: Role
    seconds: float


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment drawn into the timelines."""

    label: str
    t: float


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the mesh saw of an edge in one part of the run.

    Attributes:
        protocol: ``http`` or ``tcp``; of TCP, requests are new connections.
        rate: Requests a second.
        errors: How many failed, were limited or denied.
        denied: How many of them an authorization policy turned away.
        p99_ms: Of whole requests, retries included; None where it is not known.
        amplification: Attempts for each request; None without requests.
        answers: Count by status and Envoy's response flag, most frequent first.
        mtls: Whether all of it was encrypted; None where that is not known.
    """

    protocol: str
    requests: int
    rate: float
    errors: int
    denied: int
    p99_ms: float | None
    amplification: float | None
    answers: tuple[tuple[str, int], ...]
    mtls: bool | None

    @property
    def error_share(self) -> float:
        """Errors over requests; 0 without requests."""
        return self.errors / self.requests if self.requests else 0.0


@dataclass(frozen=True, slots=True)
class Edge:
    """Who called whom in one part of the run.

    Attributes:
        forwarded: New connections that policy let through, by the flow log.
        dropped: New connections that it did not.
        traffic: What the mesh saw; None for an edge between pods without sidecars.
    """

    source: str
    destination: str
    port: int
    forwarded: int
    dropped: int
    traffic: Traffic | None = None


@dataclass(frozen=True, slots=True)
class EndpointRow:
    """One pod in the endpoint table, before and during the treatment.

    Attributes:
        ingress: Policy enforcement (before, during); "?" where it was not recorded.
        egress: See ingress.
    """

    pod: str
    labels: tuple[str, ...]
    address: str
    ingress: tuple[str, str]
    egress: tuple[str, str]


@dataclass(frozen=True, slots=True)
class ConnectionRow:
    """One connection that was tried all through the run; times in milliseconds, None where not seen.

    Attributes:
        attempts: How many opened, and how many did not.
        resolution_ms: It was tried once in this time, so no time below it can be told.
        denied_as: How the first denied attempt failed.
        opened_after_denial: New connections that got through although it was denied: leaks.
        open_connection: What became of the connection that was open when the treatment came.
    """

    source: str
    destination: str
    attempts: tuple[int, int]
    resolution_ms: float | None
    to_denied_ms: float | None
    denied_as: str
    opened_after_denial: int
    to_allowed_ms: float | None
    open_connection: str


@dataclass(frozen=True, slots=True)
class UsageRow:
    """What one tier's containers used in one window.

    Attributes:
        window: Name of the window.
        tier: Namespace of the pods.
        part: ``app`` or ``sidecar``.
        cpu_ms: Milliseconds of processor time for each request to the lab.
        memory: Bytes of anonymous memory; None where nobody told.
    """

    window: str
    tier: str
    part: str
    cpu_ms: float
    memory: float | None


@dataclass(frozen=True, slots=True)
class Group:
    """Facts about what ran where."""

    title: str
    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that a report shows.

    Attributes:
        origin: The run folder.
        claim: What the experiment claims, in the experiment's words.
        windows: Columns of the case table.
        t0: Unix second that timelines call 0.
        load_line: How the load was made, in a sentence.
        dropped_time: What the rules left out of the windows.
        notices: What a reader must know before the figures.
        graphs: Service graph by title (before, during).
        lab_box: What this lab is not.
        embedded: Whether the run was on an embedded lab.
        pods: What pods said of themselves.
        machine: How busy the machine was; None where that is not known.
        usage: What each tier used per request, window by window.
        zones: Who talked to whom within zones and across; None in a lab of one zone.
        found: What the experiment found besides: versions, ways round a firewall, blamed tiers.
        overload: What it shows of an overload; None where there was none.
        control: It is the control arm of a pair: the treatment was left out on purpose.
    """

    origin: str
    title: str
    claim: str
    started: str
    judgement: Judgement
    facts: tuple[Fact, ...]
    windows: tuple[WindowHead, ...]
    cases: tuple[CaseReport, ...]
    phases: tuple[Phase, ...]
    marks: tuple[Mark, ...]
    t0: int
    load_line: str
    dropped_time: tuple[str, ...]
    notices: tuple[str, ...]
    hypothesis: tuple[tuple[Probe, Probe | None], ...]
    activities: tuple[Activity, ...]
    rollbacks: tuple[Activity, ...]
    enforcement_source: str
    flow_rows: tuple[FlowRow, ...]
    has_flows: bool
    graphs: tuple[tuple[str, tuple[Edge, ...]], ...]
    endpoints: tuple[EndpointRow, ...]
    connections: tuple[ConnectionRow, ...]
    provenance: tuple[Group, ...]
    lab_box: tuple[str, ...]
    embedded: bool
    pods: tuple[Samples, ...]
    machine: Samples | None
    usage: tuple[UsageRow, ...]
    zones: ZoneReport | None
    found: Found
    overload: Overload | None
    control: bool
