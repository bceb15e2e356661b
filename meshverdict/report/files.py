"""The only module of this room that touches files: read a run folder, write a report into it."""

from __future__ import annotations

import json
import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshverdict.analysis.campaign import CONTROL, TREATMENT, Arm
from meshverdict.analysis.edges import parse_edges
from meshverdict.analysis.flows import Flow, parse_flows
from meshverdict.analysis.load_table import LoadTable, load_table
from meshverdict.analysis.telemetry import parse_samples
from meshverdict.analysis.usage import parse_usage
from meshverdict.analysis.zones import parse_traffic
from meshverdict.model.errors import RecordError
from meshverdict.model.record_reader import LoadRecord, read_record
from meshverdict.report.build import build
from meshverdict.report.campaign import Campaign, CampaignRun, Planned, assess, read_plan
from meshverdict.report.contents import RunContents
from meshverdict.report.journal import Journal, read_journal
from meshverdict.report.render import render
from meshverdict.report.render_campaign import render_campaign
from meshverdict.report.verdict_page import Row, render_verdict, verdict_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

REPORT = "report.html"
PLAN_FILE = "campaign.json"
EARLIER = "earlier"
_PAIR_FOLDER = re.compile(r"-pair(?P<pair>\d+)-(?P<arm>treatment|control)$")


def read_run(path: Path) -> RunContents:
    """Read a run folder, or a single Chaos Toolkit journal.

    Raises:
        RecordError: The journal is missing or broken, or run.json is broken. A broken load record or flow
            log does not raise: the run can be shown, and is judged invalid.
    """
    if path.is_file():
        return RunContents(str(path), _journal(path))
    if not path.is_dir():
        raise RecordError(f"{path}: no such run folder or journal")
    run = _run(path / "run.json")
    load, table, problem = _load(path / "load.jsonl")
    flows, has_flows = _flows(path / "flows.jsonl")
    telemetry = path / "telemetry.jsonl"
    pods, machine = parse_samples(_json_lines(telemetry))
    return RunContents(
        origin=str(path),
        journal=_journal(path / "journal.json"),
        run=run,
        load=load,
        table=table,
        load_problem=problem,
        flows=flows,
        has_flows=has_flows,
        pods=pods,
        machine=machine,
        usage=parse_usage(_json_lines(telemetry)),
        traffic=parse_traffic(_json_lines(telemetry)),
        edges=parse_edges(_json_lines(telemetry)),
        search=_search(path, run),
    )


def write_report(folder: Path) -> Path:
    """Make report.html of a run folder, or of a campaign's folder, from its other files.

    Returns:
        The path of the report. A reader never sees half of it.

    Raises:
        RecordError: The folder's journal or run.json is missing or broken, or the report cannot be written.
    """
    target = folder / REPORT
    if is_campaign(folder):
        write_atomically(target, render_campaign(judge_campaign(folder)))
    else:
        write_atomically(target, render(build(read_run(folder))))
    return target


def is_campaign(folder: Path) -> bool:
    """Whether a folder holds the runs of a campaign: it is no run itself, and has runs of pairs below."""
    return folder.is_dir() and not (folder / "journal.json").exists() and bool(pair_folders(folder))


def read_campaign(folder: Path) -> tuple[CampaignRun, ...]:
    """The runs of a campaign, in the order in which they were made.

    A run that cannot be read is part of the answer, as unusable, with the reason.

    Raises:
        RecordError: There are no runs of pairs in the folder.
    """
    found = pair_folders(folder)
    if not found:
        raise RecordError(f"{folder}: no runs of pairs (folders that end in -pair01-treatment and the like)")
    return tuple(_campaign_run(path, pair, arm) for path, pair, arm in found)


def judge_campaign(folder: Path, *, missing_is_empty: bool = False) -> Campaign:
    """Read a campaign's folder and judge it, by the plan beside its runs where there is one.

    Args:
        folder: With a run folder for each run.
        missing_is_empty: A folder without runs is a campaign that has not begun.

    Raises:
        RecordError: There are no runs of pairs in the folder, or its plan is broken.
    """
    runs = () if missing_is_empty and not pair_folders(folder) else read_campaign(folder)
    return assess(runs, origin=str(folder), planned=_plan(folder / PLAN_FILE))


def _plan(path: Path) -> Planned | None:
    if not path.exists():
        return None
    try:
        return read_plan(json.loads(_text(path, "")))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RecordError(f"{path}: not the plan of a campaign ({error!r}); move it away") from error


def read_rows(reports: Path, failed: Mapping[str, str] | None = None) -> tuple[Row, ...]:
    """A row per claim, from the campaign of each experiment, or from its newest run that can be read.

    Args:
        reports: Folder of all reports.
        failed: By experiment, why it was not measured just now.
    """
    measured: dict[str, tuple[RunContents | Campaign, str]] = {}
    reasons = dict(failed or {})
    for folder in sorted(path for path in reports.glob("*") if path.is_dir()):
        if is_campaign(folder):
            try:
                measured[folder.name] = (judge_campaign(folder), f"{folder.name}/{REPORT}")
            except RecordError as error:  # of one experiment: the others have their rows all the same
                reasons.setdefault(folder.name, str(error))
        elif (run := next(_single_runs(folder), None)) is not None:
            measured[folder.name] = (run, f"{folder.name}/{Path(run.origin).name}/{REPORT}")
    return verdict_rows(measured, reasons)


def write_verdict(reports: Path, rows: tuple[Row, ...]) -> Path:
    """Make verdict.html in the folder of all reports.

    Raises:
        RecordError: The page cannot be written.
    """
    target = reports / "verdict.html"
    write_atomically(target, render_verdict(rows, _place(reports)))
    return target


def _single_runs(folder: Path) -> Iterator[RunContents]:
    """The runs of an experiment that belong to no campaign and can be read, newest first."""
    paired = {path for path, _, _ in pair_folders(folder)}
    found = (path.parent for path in folder.glob("*/journal.json"))
    for path in sorted((p for p in found if p not in paired), key=lambda p: p.name, reverse=True):
        try:
            yield read_run(path)
        except RecordError:
            continue  # an older run of the experiment may be whole


def _place(reports: Path) -> RunContents | None:
    """Some run, for the box on where it was measured."""
    for folder in sorted(path for path in reports.glob("*") if path.is_dir()):
        runs = (_campaign_run(*found).contents for found in pair_folders(folder))
        for contents in (*runs, next(_single_runs(folder), None)):
            if contents is not None:
                return contents
    return None


def pair_folders(folder: Path) -> list[tuple[Path, int, Arm]]:
    """Run folder, pair and arm of a campaign's runs, in the order in which they were made.

    Single runs of the experiment, and earlier campaigns, lie in the same folder and are no part of it.
    """
    found: list[tuple[Path, int, Arm]] = []
    for path in sorted(folder.glob("*"), key=lambda p: p.name):
        match = _PAIR_FOLDER.search(path.name)
        if match and path.is_dir():
            found.append((path, int(match["pair"]), TREATMENT if match["arm"] == TREATMENT else CONTROL))
    return found


def _campaign_run(path: Path, pair: int, arm: Arm) -> CampaignRun:
    has_report = (path / REPORT).is_file()
    try:
        return CampaignRun(pair, arm, str(path), read_run(path), "", has_report)
    except RecordError as error:
        return CampaignRun(pair, arm, str(path), None, str(error), has_report)


def write_atomically(target: Path, text: str) -> None:
    """Write a file so that it is either the old one or the whole new one.

    Raises:
        RecordError: It cannot be written.
    """
    try:
        with tempfile.NamedTemporaryFile(
            "w",
            dir=target.parent,
            prefix=f".{target.name}.",
            delete=False,
            encoding="utf-8",
            errors="backslashreplace",  # half of a surrogate pair, which JSON may hold, is no text
        ) as file:
            try:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).chmod(0o644)
                Path(file.name).replace(target)
            except BaseException:  # Ctrl-C included: no half of a file stays
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise RecordError(
            f"{target}: cannot be written ({error.strerror}); free space, or choose another place"
        ) from error


def _journal(path: Path) -> Journal:
    return read_journal(
        _text(path, "the experiment wrote none, or this is not a run folder"), origin=str(path)
    )


def _run(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        value = json.loads(_text(path, ""))
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path}: not JSON, perhaps cut short ({error})") from error
    if not isinstance(value, dict) or not str(value.get("format", "")).startswith("run/"):
        raise RecordError(f'{path}: not a run description, its `format` is not "run/1"')
    if value["format"] != "run/1":
        raise RecordError(f"{path}: format {value['format']!r}; this version reads 'run/1'")
    return value


def _load(path: Path) -> tuple[LoadRecord | None, LoadTable | None, str | None]:
    if not path.exists():
        return None, None, None
    try:
        record = read_record(path)
        return record, load_table(record.seconds, ratio=record.header.ratio), None
    except RecordError as error:
        return None, None, str(error)


def _flows(path: Path) -> tuple[tuple[Flow, ...], bool]:
    if not path.exists():
        return (), False
    return parse_flows(_json_lines(path)), True


def _search(path: Path, run: Mapping[str, Any] | None) -> LoadRecord | None:
    """The record of the search that found the capacity."""
    measures = (run or {}).get("measures")
    capacity = measures.get("capacity") if isinstance(measures, dict) else None
    folder = capacity.get("folder") if isinstance(capacity, dict) else None
    # A name, never a path out of the run folder.
    if not isinstance(folder, str) or not folder or Path(folder).name != folder:
        return None
    return _load(path / folder / "load.jsonl")[0]


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file, a line each; none where there is no such file."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                try:
                    value = json.loads(line)
                except (ValueError, RecursionError):
                    continue
                if isinstance(value, dict):
                    yield value
    except FileNotFoundError:
        return
    except OSError as error:
        raise RecordError(f"{path}: cannot be read ({error.strerror})") from error


def _text(path: Path, hint: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise RecordError(f"{path}: missing; {hint}" if hint else f"{path}: missing") from error
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"{path}: cannot be read ({error})") from error
