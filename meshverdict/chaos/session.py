"""The run that this process is in: what the control made, and what actions and probes may ask.

Chaos Toolkit calls plain functions, so there is one session a process, made by the control and gone after
it. Everything it owns is on two stacks: what measures is ended before the run folder is written, what the
run stands on (lab, lock, where the libraries point) afterwards.
"""

from __future__ import annotations

import logging
import os
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from meshverdict.chaos import (
    edges,
    files,
    flows,
    guard,
    preflight,
    prober,
    progress,
    telemetry,
    usage,
    versions,
)
from meshverdict.chaos.delay_line import DelayLog
from meshverdict.chaos.ingress import forwarded
from meshverdict.chaos.leftovers import sweep
from meshverdict.chaos.manifests import Objects
from meshverdict.chaos.selectors import endpoints
from meshverdict.chaos.survey import look
from meshverdict.chaos.system_log import TRAFFIC, SystemLog, is_told
from meshverdict.chaos.timeline import BASELINE, Timeline
from meshverdict.load.driver import LoadHandle, start_load
from meshverdict.load.spec import LoadSpec
from meshverdict.load.target import INGRESS_SERVICE
from meshverdict.model.errors import LabError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meshverdict.chaos.cluster import KubeAccess
    from meshverdict.chaos.diagnosis import Diagnosis
    from meshverdict.chaos.edges import EdgeLog
    from meshverdict.chaos.experiment_file import Treatment
    from meshverdict.chaos.faults import Fault
    from meshverdict.chaos.files import Source
    from meshverdict.chaos.flows import FlowLog
    from meshverdict.chaos.guard import Made
    from meshverdict.chaos.intruders import Try
    from meshverdict.chaos.lab import Lab
    from meshverdict.chaos.ledger import Ledger
    from meshverdict.chaos.options import Options
    from meshverdict.chaos.prober import Probers
    from meshverdict.chaos.telemetry import Telemetry
    from meshverdict.chaos.usage import Usage
    from meshverdict.load.collector import LoadSummary

log = logging.getLogger("chaostoolkit")
# Beyond what is planned: two hypotheses, the probers' start, the treatment itself.
LOAD_MARGIN_S: Final = 5.0


@dataclass
class Session:
    """One run.

    Attributes:
        planned_s: About how long method and rollbacks take.
        namespaces: The lab's namespaces, with their labels.
        place: What a real cluster is: network plug-in, Istio, zones.
        pictures: The table of endpoints, by the time at which it was taken.
        ledger: Where everything is written down before it is changed.
        programs: The versions of the lab's programs.
        zones: What was found about the cluster's zones, for run.json.
        problems: Why the run is not valid, as far as we know, in words.
        measures: What activities found out, for run.json.
        tries: What intruders tried, and what came of it.
        intruded: Namespaces from which `measuring` takes the intruders away when it ends.
        faults: What was done to tiers on purpose.
        diagnoses: Whom each fault was put down to.
    """

    options: Options
    source: Source
    experiment: Mapping[str, Any]
    variables: Mapping[str, Any]
    treatment: Treatment
    timeline: Timeline
    access: KubeAccess
    lab: Lab | None
    namespaces: Mapping[str, Mapping[str, str]]
    scratch: Path
    folder: Path
    planned_s: float
    started: float = field(default_factory=time.time)
    ledger: Ledger | None = None
    probers: Probers | None = None
    flow_log: FlowLog | None = None
    samples: Telemetry | None = None
    edges: EdgeLog | None = None
    usage: Usage | None = None
    delay_log: DelayLog | None = None
    traffic: SystemLog | None = None
    load: LoadHandle | None = None
    load_summary: LoadSummary | None = None
    place: Mapping[str, Any] = field(default_factory=dict)
    pictures: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    programs: dict[str, str] = field(default_factory=dict)
    zones: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    measures: dict[str, Any] = field(default_factory=dict)
    tries: list[Try] = field(default_factory=list)
    intruded: set[str] = field(default_factory=set)
    faults: list[Fault] = field(default_factory=list)
    diagnoses: list[Diagnosis] = field(default_factory=list)
    measuring: ExitStack = field(default_factory=ExitStack)
    standing: ExitStack = field(default_factory=ExitStack)
    _forwarded: str | None = None

    @property
    def usage_refused(self) -> str | None:
        """Why the cluster does not tell what containers use; None when it does."""
        return self.usage.refused if self.usage is not None else "nobody asked them (`telemetry` is off)"

    @property
    def ingress(self) -> str:
        """Base URL of the lab's ingress, as seen from this process.

        Raises:
            UsageError: It is not known.
        """
        found = self.options.ingress or (self.lab.ingress if self.lab else None)
        if found is None and self.lab is None:
            # The first request opens the way; it stays open to the end of the run.
            host = str((self.options.load or {}).get("host") or INGRESS_SERVICE)
            self._forwarded = self._forwarded or self.measuring.enter_context(forwarded(self.access, host))
            found = self._forwarded
        if found is None:
            raise UsageError(
                "where the ingress is, is not known: set MESHVERDICT_INGRESS=http://ADDRESS:PORT"
            )
        return found

    def found_capacity(self) -> float:
        """Requests a second that `find_capacity` found.

        Raises:
            UsageError: It was not asked.
        """
        found = self.measures.get("capacity")
        if found is None:
            raise UsageError(
                "the capacity is not known: the experiment needs find_capacity before this activity"
            )
        return float(found["per_s"])

    def pods(self) -> list[dict[str, Any]]:
        """The pods of the lab's namespaces, our own probers and load left out."""
        core = self.access.core
        found = (self.access.json(core.list_namespaced_pod, name)["items"] for name in self.namespaces)
        return [
            p
            for p in chain.from_iterable(found)
            if not {prober.LABEL, "meshverdict.io/load"} & set(p["metadata"].get("labels") or {})
        ]

    def picture(self, when: str) -> None:
        """Keep the table of endpoints as it is now."""
        network = self.access.networking
        found = (
            self.access.json(network.list_namespaced_network_policy, name)["items"]
            for name in self.namespaces
        )
        self.pictures[when] = endpoints(self.pods(), list(chain.from_iterable(found)))

    def remove_leftovers(self, made: list[Made]) -> None:
        """Remove what dead runs left in this cluster: what they changed, their probers, their load.

        Raises:
            LabError: A run that lives uses this cluster.
        """
        for words in sweep(self.access, self.scratch, self.namespaces):
            log.warning("An earlier run was cut short: %s", words)
        objects = Objects(self.access, self.scratch)
        for item in made:
            if item.ours_alone and objects.delete(item.manifest, item.namespace):
                log.warning("Removed %s, which an earlier run left behind", item)

    def check(self, made: list[Made], configuration: Mapping[str, Any], secrets: Mapping[str, Any]) -> None:
        """Refuse what would act outside the lab, or do nothing.

        Raises:
            UsageError: Naming the activity or the object.
        """
        if not self.namespaces:
            raise LabError(
                f"no namespace of this cluster ({self.access.host}) is labelled meshverdict.io/lab=true, so"
                f" nothing is touched; prepare it with `meshverdict up --context {self.access.context}`"
            )
        guard.refuse_outside(
            self.experiment, configuration, secrets, self.namespaces, embedded=self.access.kind == "embedded"
        )
        guard.refuse_idle(made, self.pods(), self.namespaces)
        guard.refuse_without(self.options.wanted.manifests, self.namespaces, self.options.wanted.options())
        if self.access.kind == "real":
            survey = look(self.access)
            self.place = survey.as_dict()
            preflight.refuse_unlike(self.options.wanted, self.pods(), survey.zones, self.access.context)

    def measure(self) -> None:
        """Start everything that measures, then the load, and wait for the end of the baseline."""
        enter = self.measuring.enter_context
        self.picture("before")
        self.programs = versions.programs(self.access, self.pods())
        self.flow_log = enter(flows.recording(self.access, self.folder / flows.FILE, self.namespaces))
        if self.options.telemetry:
            self.samples = enter(
                telemetry.Telemetry(self.access, self.namespaces, self.folder / telemetry.FILE)
            )
            self.usage = enter(usage.Usage(self.access, self.namespaces, self.folder / telemetry.FILE))
            self.edges = enter(edges.EdgeLog(self.access, self.namespaces, self.folder / telemetry.FILE))
        self._measure_zones()
        if self.options.connections:
            self.probers = enter(prober.probing(self.access, self.options.connections))
        if self.options.progress:
            planned = self.planned_s + self.options.baseline_s + LOAD_MARGIN_S
            enter(progress.shown(self._phase_name, self._load_progress, planned_s=planned))
        if self.options.load is not None:
            self.begin_load(**self.options.load)
            log.info("Load runs; %g s of baseline", self.options.baseline_s)
        self.timeline.enter(BASELINE)
        if self.options.load is not None:
            self.hold(self.options.baseline_s)

    def _measure_zones(self) -> None:
        """What the embedded lab tells of its zones, if it has several."""
        settings, path = self.lab.settings if self.lab else {}, self.folder / telemetry.FILE
        there, back = settings.get("zone_delay_ms") or 0.0, settings.get("zone_delay_back_ms")
        ways = (float(there), float(there if back is None else back))
        if any(ways) or settings.get("zone_jitter_ms"):
            delayed = DelayLog(self.access, path, min(ways))
            self.measuring.enter_context(delayed)
            self.delay_log = delayed
        # A lab that is reached as somebody else's cluster is told by its pod.
        foreign = self.lab is None and is_told(self.access, TRAFFIC)
        if int(settings.get("zones") or 1) > 1 or foreign:
            counted = SystemLog(self.access, TRAFFIC, TRAFFIC, TRAFFIC, path)
            self.traffic = self.measuring.enter_context(counted)

    def _phase_name(self) -> str:
        phase = self.timeline.phase
        return phase.name if phase else "-"

    def _load_progress(self) -> Any:
        return self.load.progress() if self.load is not None else None

    def begin_load(self, **fields: Any) -> LoadHandle:
        """Start a load; the run ends it, if nobody else does.

        Raises:
            UsageError: A load runs already, or a field is unknown or wrong.
        """
        if self.load is not None:
            raise UsageError(f"load {self.load.name!r} runs already; a run has one load")
        known = LoadSpec.__dataclass_fields__
        unknown = sorted(set(fields) - set(known))
        if unknown:
            raise UsageError(f"load: unknown field {', '.join(unknown)}; known are {', '.join(known)}")
        fields.setdefault("seed", self.options.seed)
        fields.setdefault("duration_s", self.options.baseline_s + self.planned_s + LOAD_MARGIN_S)
        if self.options.workers is not None:
            fields["workers"] = self.options.workers
        if self.options.load_image is not None:
            fields["image"] = self.options.load_image
        for key in ("tags", "exclude_tags"):
            fields[key] = tuple(fields.get(key) or ())
        fields["locustfile"] = self.locustfile(fields.get("locustfile"))
        self.load = start_load(self.access.api, LoadSpec(**fields), self.folder)
        return self.load

    def locustfile(self, value: str | None) -> str | None:
        """Where a locustfile lies that an experiment names relative to itself; None stays the lab's own."""
        if not value:
            return None
        path = Path(value)
        if path.is_absolute() or self.source.file is None or path.is_file():
            return str(path)
        return str(self.source.file.parent / path)

    def end_load(self, *, patience_s: float = 0.0) -> LoadSummary | None:
        """End the load and bring the rest of its record home; None when there was none.

        Args:
            patience_s: Wait for the planned end, if it is not further away: the record then says "done".
        """
        handle = self.load
        if handle is None:
            return self.load_summary
        try:
            if handle.progress().left_s <= patience_s:
                handle.wait(patience_s + 5.0)
        finally:
            # Also after a signal in that wait: nobody else would bring the record home and take the load away.
            self.load = None
            self.load_summary = handle.stop()
        return self.load_summary

    def hold(self, seconds: float) -> None:
        """Let *seconds* pass; a load that ends meanwhile is an error, not a quiet phase.

        Raises:
            LabError: The load ended.
        """
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if self.load is not None and self.load.wait(min(left, 0.5)):
                raise LabError(
                    f"load {self.load.name!r} ended before its time; see {self.folder / 'load.jsonl'}"
                )
            if self.load is None:
                time.sleep(min(left, 0.5))

    def stop_measuring(self) -> None:
        """End the load and all that measures."""
        self.timeline.leave()
        with self.measuring:
            self.end_load()

    def close(self) -> None:
        """Let go of everything that the run stood on."""
        with self.standing, self.measuring:
            pass


def make_folder(options: Options, source: Source, title: str) -> Path:
    """The run folder of this run, now."""
    return files.make_run_folder(
        files.reports_folder(source, os.environ),
        files.experiment_name(source, title),
        datetime.now(UTC),
        arm=options.arm,
        pair=options.pair,
    )


class _Current:
    session: Session | None = None


def set_current(session: Session | None) -> None:
    """Make *session* the one of this process; None for none."""
    _Current.session = session


def find_current() -> Session | None:
    """The session of this process, if there is one."""
    return _Current.session


def current() -> Session:
    """The session of this process.

    Raises:
        UsageError: The experiment has no control that made one.
    """
    if _Current.session is None:
        raise UsageError(
            "this activity needs the control: add to the experiment"
            ' "controls": [{"name": "meshverdict", "provider":'
            ' {"type": "python", "module": "meshverdict.chaos.control"}}]'
        )
    return _Current.session
