"""`meshverdict demo`: the whole thing once, for somebody who has never seen it."""

from __future__ import annotations

import argparse
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from meshverdict.cli.output import progress
from meshverdict.lab.client import ApiClient
from meshverdict.lab.options import UpOptions
from meshverdict.lab.pod_table import render
from meshverdict.lab.state import LabInfo, StateFolder
from meshverdict.model.errors import EXIT_INVALID, LabError
from meshverdict.model.paths import data_folder, project_root
from meshverdict.model.settings import LabSettings

EXAMPLE = "reports/example/isolate-redis/report.html"
DOWN_TIMEOUT_S = 15.0


def demo(options: argparse.Namespace) -> int:
    """Lab up, load, policy, report; ends with the next commands to type.

    Returns:
        0 when the claim holds, 1 when the run deviates, 3 when it could not be measured.
    """
    from meshverdict.lab.up import start, stop  # noqa: PLC0415 - quick start of the other commands

    state = StateFolder(options.name)
    was_running = state.running()
    beside = ", with an Envoy beside each" if options.sidecars else ""
    progress(f"1/3  the lab: traefik -> apache -> app -> redis, each in its own namespace{beside}")
    try:
        wanted = LabSettings(sidecars=options.sidecars)
        info = start(
            UpOptions(name=options.name, port=options.port, settings=wanted),
            lambda line: progress(f"     {line}"),
        )
    except LabError as error:
        progress(f"meshverdict: {error}")
        progress(f"Meanwhile, a report that was measured elsewhere: {_example()}")
        return EXIT_INVALID
    try:
        return _measure(options, info)
    finally:
        if not (was_running or options.keep):
            stop(state, DOWN_TIMEOUT_S)


def _measure(options: argparse.Namespace, info: LabInfo) -> int:
    from meshverdict.report.check import check  # noqa: PLC0415

    ready = f"{info.ready_s:.1f} s" if info.ready_s is not None else "an earlier start"
    print(f"\nLab ready in {ready}.\n", flush=True)
    print(
        render(ApiClient(info.kubeconfig).get("/api/v1/pods")["items"], datetime.now(UTC)) + "\n", flush=True
    )
    progress(
        "2/3  the experiment: load, then redis cut off from everyone but the app (experiments/isolate-redis.json)"
    )
    folder = _run_experiment(options.name)
    progress("3/3  the verdict of this one run")
    judgement = check(folder)
    print(
        "\n".join(
            [
                "",
                *judgement.lines,
                "",
                f"{judgement.word}   report: {folder / 'report.html'}",
                "",
                next_steps(options.name, info, folder),
            ]
        )
    )
    return judgement.exit_code


def _run_experiment(name: str) -> Path:
    """Run the experiment with Chaos Toolkit's own command; returns the run folder."""
    from meshverdict.chaos.campaign import run_once  # noqa: PLC0415

    # A demonstration is about this machine, whatever a person has exported for their clusters.
    for variable in ("MESHVERDICT_CONTEXT", "KUBECONFIG"):
        os.environ.pop(variable, None)
    reports = Path.cwd() / "reports" if project_root() is None else None
    return run_once(data_folder("experiments") / "isolate-redis.json", {}, reports=reports, lab=name)


def next_steps(name: str, info: LabInfo, folder: Path) -> str:
    """The next five commands to type."""
    flag = "" if name == "default" else f" --name {name}"
    bin_folder = Path(sys.executable).parent
    prefix = f"{bin_folder.parent.name}/bin/" if bin_folder.parent.parent == Path.cwd() else ""
    port = info.ingress["port"] if info.ingress else 8081
    return "\n".join(
        [
            "Next:",
            f"  {prefix}meshverdict up{flag}",
            f"  curl -H 'Host: pippo.lan' http://127.0.0.1:{port}/count/set",
            f"  {prefix}locust -f locustfiles/app.py",
            f"  {prefix}chaos run experiments/isolate-redis.json",
            f"  {prefix}meshverdict compare {os.path.relpath(folder)} reports/isolate-redis/<the next run>",
        ]
    )


def _example() -> str:
    root = project_root()
    return str(root / EXAMPLE) if root else EXAMPLE
