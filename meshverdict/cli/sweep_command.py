"""`meshverdict sweep`: who maintains the values of rate limits? A pipeline that measures them can."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from meshverdict.analysis.loose import mapping, mappings, number
from meshverdict.cli.output import answer
from meshverdict.cli.result_commands import announce, choose_cluster, reports_of, run_folder, variables_of
from meshverdict.model.errors import EXIT_DEVIATES, EXIT_HOLDS, EXIT_INVALID, UsageError


def sweep(options: argparse.Namespace) -> int:
    """Find the value of a rate limit, print what a wrong one costs; write it, or check one that is written.

    Returns:
        0; 1 when a checked value is stale; 3 when nothing could be measured.
    """
    from meshverdict.chaos.limit_file import read_limits, stale  # noqa: PLC0415 - quick start of the other commands

    if options.replicas < 1:
        raise UsageError(f"--replicas {options.replicas}: at least 1 proxy enforces the limit")
    if not 0 < options.tolerance < 1:
        raise UsageError(f"--tolerance {options.tolerance:g}: a share between 0 and 1, such as 0.2")
    kept = {file: read_limits(Path(file)) for file in options.check}
    for file in options.write:
        read_limits(Path(file))
    folder = run_folder(options.run_folder) if options.run_folder else _run(options)
    found, reasons = _found(folder)
    if found is None:
        text = "\n".join(["nothing was measured", *(f"  - {reason}" for reason in reasons)])
        answer({"run": str(folder), "reasons": reasons}, as_json=options.output == "json", text=text)
        return EXIT_INVALID
    value = float(found["value"]) / options.replicas
    verdicts = [
        {"file": file, "limit": round(limit, 3), "stale": stale(limit, value, options.tolerance)}
        for file, limits in kept.items()
        for limit in limits
    ]
    written = [_write(Path(file), value) for file in options.write]
    said = {
        **found,
        "per_proxy": round(value, 3),
        "run": str(folder),
        "checked": verdicts,
        "written": written,
    }
    text = "\n".join([*_lines(found, value, options.replicas, verdicts, written), f"run: {folder}"])
    answer(said, as_json=options.output == "json", text=text)
    return EXIT_DEVIATES if any(verdict["stale"] for verdict in verdicts) else EXIT_HOLDS


def _run(options: argparse.Namespace) -> Path:
    from meshverdict.chaos.campaign import run_once  # noqa: PLC0415
    from meshverdict.model.paths import data_folder  # noqa: PLC0415

    choose_cluster(options)
    own = options.experiment
    experiment = Path(own) if own else data_folder("experiments") / "ratelimit-sweep.json"
    if not experiment.is_file():
        raise UsageError(f"{experiment}: no such file; name an experiment with the action sweep_rate_limit")
    announce(experiment)
    reports = reports_of(options)
    lab = None if options.name == "default" else options.name
    return run_once(experiment, variables_of(options.var), seed=options.seed, reports=reports, lab=lab)


def _found(folder: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """What the sweep of a run found; None, with the reasons, where the run measured nothing."""
    from meshverdict.report.files import read_run  # noqa: PLC0415
    from meshverdict.report.judge import INVALID, judge  # noqa: PLC0415

    contents = read_run(folder)
    judgement = judge(contents)
    if judgement.word == INVALID:
        return None, list(judgement.reasons)
    measures = contents.section("measures")
    found = mapping(measures.get("sweep"))
    if not found:
        return None, [f"{folder}: the run swept nothing; its experiment needs the action sweep_rate_limit"]
    wrong = [name for name in ("value", "goodput") if not (number(found.get(name)) or 0) > 0]
    if wrong or not mappings(found.get("points")):
        names = ", ".join([*wrong, *([] if mappings(found.get("points")) else ["points"])])
        return None, [f"{folder / 'run.json'}: measures.sweep says nothing of: {names}; run the sweep again"]
    return {"capacity": mapping(measures.get("capacity")).get("per_s"), **found}, []


def _write(file: Path, value: float) -> str:
    from meshverdict.chaos.limit_file import rewritten  # noqa: PLC0415

    text = rewritten(file.read_text(encoding="utf-8"), value)
    new = file.with_name(f".{file.name}.new")
    new.write_text(text, encoding="utf-8")
    new.replace(file)
    return str(file)


def _lines(
    found: dict[str, Any], value: float, replicas: int, verdicts: list[dict[str, Any]], written: list[str]
) -> list[str]:
    from meshverdict.report.overload import steps  # noqa: PLC0415

    lines = [f"{'limit':>8}  {'goodput':>8}  {'429':>6}  {'waiting':>8}"]
    for point in steps(found):
        mark = "" if point.sustained else "   its queue grows"
        mark = "   <- the value" if point.limit == found["value"] else mark
        lines.append(
            f"{point.limit:8.1f}  {point.goodput:8.1f}  {point.limited:6.1%}  {point.queue:8.0f}{mark}"
        )
    each = f", {value:.1f} for each of {replicas} proxies" if replicas > 1 else ""
    lines += ["", f"limit {found['value']:.1f} requests a second{each}: goodput {found['goodput']:.1f}"]
    lines += [
        _cost(found, key, word)
        for key, word in (("goodput_at_half", "half of it"), ("goodput_at_double", "twice of it"))
    ]
    for verdict in verdicts:
        word = "is STALE" if verdict["stale"] else "is still right"
        lines.append(
            f"{verdict['file']}: {verdict['limit']:.1f} {word} ({verdict['limit'] / value - 1:+.0%})"
        )
    return lines + [f"{file}: {value:.1f} written" for file in written]


def _cost(found: dict[str, Any], key: str, word: str) -> str:
    at = number(found.get(key))
    if at is None:
        return f"  {word}: not tried"
    best = float(found["goodput"])
    return f"  {word}: goodput {at:.1f}, {(best - at) / best:.0%} of it lost"
