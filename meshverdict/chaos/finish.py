"""The end of a run: its folder.

The journal is complete by now, so that it is written here exactly as Chaos Toolkit will write its own.
"""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from chaostoolkit import encoder  # type: ignore[import-untyped]
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from meshverdict.analysis.validity import invalid_reasons
from meshverdict.chaos import files, run_json
from meshverdict.model.errors import MeshverdictError, RecordError
from meshverdict.model.record_reader import read_record

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from meshverdict.chaos.session import Session

log = logging.getLogger("chaostoolkit")
JOURNAL: Final = "journal.json"
RUN: Final = "run.json"
LOAD: Final = "load.jsonl"


def describe(session: Session) -> dict[str, Any]:
    """The content of run.json."""
    timeline, lab = session.timeline, session.lab
    seen = session.probers.seen if session.probers else []
    moments = run_json.treatment(timeline, seen)
    problems = [*session.problems, *_problems(session)]
    return {
        "format": run_json.FORMAT,
        "experiment": {
            "title": session.experiment.get("title"),
            "file": session.source.file.name if session.source.file else None,
            "sha256": session.source.sha256,
        },
        "started": session.started,
        "variables": dict(session.variables),
        "arm": session.options.arm,
        "pair": session.options.pair,
        "seed": session.options.seed,
        "cluster": {
            "kind": session.access.kind,
            "context": session.access.context,
            "version": _version(session),
            **session.place,
        },
        "settings": {
            **(lab.settings if lab else {}),
            "istio_defaults": lab.settings.get("mesh_retries") if lab else None,
        },
        "software": {**run_json.software(), **session.programs},
        "machine": run_json.machine(),
        "phases": timeline.as_json(),
        "treatment": moments,
        "measures": {
            "apply_to_denied_ms": run_json.elapsed_ms(moments, "applied", "in_effect"),
            "remove_to_allowed_ms": run_json.elapsed_ms(moments, "removed", "restored"),
            "connections": [s.measure(timeline.applied, timeline.removed) for s in seen],
            "endpoints": session.pictures,
            "faults": [asdict(fault) for fault in session.faults],
            "diagnoses": [asdict(diagnosis) for diagnosis in session.diagnoses],
            "tries": [asdict(tried) for tried in session.tries],
            **session.measures,
            "looks_missed": {
                recorder.name: recorder.missed
                for recorder in (session.samples, session.edges, session.usage)
                if recorder is not None
            },
            "flow_log": bool(session.flow_log and session.flow_log.pods),
            "flows_lost": session.flow_log.lost if session.flow_log else 0,
            **({"zones": session.zones} if session.zones else {}),
        },
        "validity": {"valid": not problems, "reasons": problems},
    }


def _version(session: Session) -> str | None:
    try:
        return session.access.version()
    except (ApiException, HTTPError, OSError, ValueError) as error:
        log.debug("the cluster's version cannot be read: %r", error)
        return None


def _problems(session: Session) -> list[str]:
    """What spoils the run: records that are not whole, and a load that was not made as asked."""
    found: list[str] = []
    recorders = (
        session.flow_log,
        session.samples,
        session.usage,
        session.edges,
        session.delay_log,
        session.traffic,
        session.probers,
    )
    found += [f"{r.failure}: the record is not complete" for r in recorders if r is not None and r.failure]
    phases = session.timeline.as_json()
    if session.delay_log is not None and phases:
        found += session.delay_log.reasons(phases[0]["start"], phases[-1]["end"])
    if session.load_summary is not None:
        found += [f"load record: {text}" for text in session.load_summary.missing]
    if (session.folder / LOAD).is_file():
        try:
            found += invalid_reasons(read_record(session.folder / LOAD))
        except RecordError as error:
            found.append(str(error))
    return found


def write(session: Session, journal: Mapping[str, Any]) -> None:
    """Write journal.json and run.json into the run folder.

    Raises:
        OSError: The disk is full, or the folder is gone.
    """
    folder = session.folder
    with (folder / JOURNAL).open("w") as file:
        json.dump(_as_written(journal), file, indent=2, ensure_ascii=False, default=encoder)
    _write_json(folder / RUN, describe(session))


def _as_written(journal: Mapping[str, Any]) -> dict[str, Any]:
    """The journal as ``chaos run`` writes it: there, ``dry`` becomes its word again."""
    experiment = dict(journal["experiment"])
    dry = experiment.get("dry")
    if dry is not None:
        experiment["dry"] = dry.value
    return {key: experiment if key == "experiment" else value for key, value in journal.items()}


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def requests_recorded(folder: Path) -> int | None:
    """How many requests the load record holds; None without one."""
    if not (folder / LOAD).is_file():
        return None
    return sum(second.n for second in read_record(folder / LOAD).seconds)


def report(session: Session) -> None:
    """Make the report, and say on stdout what came of the run: a line a case, the word, the path."""
    from meshverdict.report.check import check  # noqa: PLC0415 - the same
    from meshverdict.report.files import write_report  # noqa: PLC0415 - numpy and more, not needed by `chaos validate`

    try:
        path = write_report(session.folder)
        judgement = check(session.folder)
    except MeshverdictError as error:
        log.error("No report: %s", error)  # noqa: TRY400 - the message is for a person
        return
    if session.options.tell is not None:
        return  # whoever asked to be told says it in its own words
    reasons = [f"  - {reason}" for reason in judgement.reasons]
    lines = ["", *judgement.lines, "", f"{judgement.word}   report: {files.shown(path)}", *reasons]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def tell(session: Session) -> None:
    """Tell whoever asked for it where the run folder is."""
    if session.options.tell is not None:
        session.options.tell.write_text(f"{session.folder}\n")
