"""A Chaos Toolkit control that leaves a run folder made from a seed: whole campaigns without a lab, in seconds."""

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "report"))

import synthetic


def after_experiment_control(context, state):  # noqa: ARG001 - Chaos Toolkit names its arguments
    """Write what the lab's control would have written, in the same place, for the same variables."""
    arm, pair = os.environ.get("MESHVERDICT_ARM"), os.environ.get("MESHVERDICT_PAIR")
    seed = int(os.environ.get("MESHVERDICT_SEED", "1"))
    reports = Path(os.environ["MESHVERDICT_REPORTS"]) / "pretend"
    suffix = f"-pair{int(pair):02d}-{arm}" if pair else ""
    folder = reports / f"{time.time_ns()}{suffix}"
    treated = arm != "control"
    speed = float(os.environ.get("PRETEND_EFFECT", "1")) if treated else 1.0
    speed *= 1 + seed % 13 / 500 + (0.002 if treated else 0) * (seed % 5)
    shape = synthetic.Shape(
        arm=arm,
        pair=int(pair) if pair else None,
        seed=seed,
        treated=treated,
        speed=speed,
        baseline_s=8,
        policy_s=8,
    )
    synthetic.write_run(folder, shape)
    if state.get("status") == "interrupted":
        journal = folder / "journal.json"
        journal.write_text(journal.read_text().replace('"status": "completed"', '"status": "interrupted"', 1))
    Path(os.environ["MESHVERDICT_TELL"]).write_text(f"{folder}\n")
