"""Measure the committed example anew: a run, a second one to compare it with, a campaign, and a verdict page.

Only what is small is kept: the whole first run, what the comparison needs of the second one, and the pages of
the campaign and of the runs that the verdict rests on. Names of this machine and its folders are taken out of the
copies.
"""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = Path("reports/example")
EXPERIMENT = "experiments/isolate-redis.json"
LAB = "example"
FIRST, AGAIN, VERDICT = EXAMPLE / "isolate-redis", EXAMPLE / "isolate-redis-again", EXAMPLE / "verdict"
COMPARED = ("journal.json", "run.json", "load.jsonl")
PAIRS = "6"
ATTEMPTS = 6
SHORT = ("--var", "baseline_s=10", "--var", "treated_s=12", "--var", "restored_s=5")


def main() -> int:
    """Measure, then put the new example in the old one's place."""
    _command("up", "--name", LAB, "--port", "8097")
    try:
        if "--verdict-only" not in sys.argv:
            _two_runs()
        shutil.rmtree(VERDICT, ignore_errors=True)
        VERDICT.mkdir()
        _campaign()
    finally:
        _command("down", "--name", LAB)
    # Every experiment says what its lab must be like, so the suite makes labs of its own.
    _command("verdict", "--quick", "--reports", str(VERDICT), "-o", "json")
    _keep_pages()
    size = sum(path.stat().st_size for path in EXAMPLE.rglob("*") if path.is_file())
    print(f"{EXAMPLE}: {size / 1e6:.2f} MB")
    return 0


def _two_runs() -> None:
    with tempfile.TemporaryDirectory(dir="reports", prefix="making-example-") as scratch:
        runs = [_run(Path(scratch)) for _ in range(2)]
        _copy(runs[0], FIRST, [path.name for path in runs[0].iterdir() if path.name != "report.html"])
        _copy(runs[1], AGAIN, COMPARED)
    _command("report", str(FIRST))
    _command("compare", str(FIRST), str(AGAIN), "-o", "html", "--out", str(EXAMPLE / "comparison.html"))


def _campaign() -> None:
    words = (
        "run",
        EXPERIMENT,
        "--pairs",
        PAIRS,
        "--name",
        LAB,
        "--reports",
        str(VERDICT),
        *SHORT,
        "-o",
        "json",
    )
    # What was interrupted by a failure goes on when it is asked again.
    if not any(_verdict(json.loads(_command(*words))) != "invalid" for _ in range(ATTEMPTS)):
        raise SystemExit("the campaign could not be measured; see above")


def _keep_pages() -> None:
    """Of each run that a row leads to its report alone; of the campaign its own report, which leads no further."""
    for report in VERDICT.glob("*/*-pair*/report.html"):
        report.unlink()
    _command("report", str(VERDICT / "isolate-redis"))
    for folder in (path for path in VERDICT.glob("*/*") if path.is_dir()):
        report = folder / "report.html"
        if (
            report.is_file()
            and f"{folder.parent.name}/{folder.name}/report.html" in (VERDICT / "verdict.html").read_text()
        ):
            for path in folder.iterdir():
                if path.is_dir():  # the search for the capacity
                    shutil.rmtree(path)
                elif path != report:
                    path.unlink()
            report.write_text(_public(report.read_text(), ROOT / "reports"))
        else:
            shutil.rmtree(folder)
    for lock in VERDICT.glob("*/.campaign.lock"):
        lock.unlink()


def _run(reports: Path) -> Path:
    """A run that could be measured; on a busy machine that takes more than one."""
    for _ in range(ATTEMPTS):
        answer = json.loads(
            _command("run", EXPERIMENT, "--name", LAB, "--reports", str(reports), *SHORT, "-o", "json")
        )
        if _verdict(answer) != "invalid":
            return Path(answer["run"])
        print(f"not usable: {'; '.join(answer['reasons'])}", file=sys.stderr)
    raise SystemExit(f"{ATTEMPTS} runs could not be measured; quieten the machine")


def _verdict(answer: dict[str, Any]) -> str:
    """The word; an answer without one is an error."""
    if "verdict" not in answer:
        raise SystemExit(f"it could not be run: {answer.get('error')}")
    return str(answer["verdict"])


def _copy(source: Path, target: Path, names: list[str] | tuple[str, ...]) -> None:
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name in names:
        (target / name).write_text(_public((source / name).read_text(), source.resolve().parent.parent))


def _public(text: str, reports: Path) -> str:
    """A text without the names of this machine and of its folders."""
    for private, public in ((str(reports), "reports"), (str(ROOT), "meshverdict")):
        text = text.replace(private, public)
    return text.replace(f'"{platform.node()}"', '"example"').replace(f">{platform.node()}<", ">example<")


def _command(*arguments: str) -> str:
    """What a command printed; of those that judge, a run that deviates or could not be measured is an answer."""
    done = subprocess.run(
        [sys.executable, "-m", "meshverdict", *arguments], stdout=subprocess.PIPE, text=True, check=False
    )
    answers = {0, 1, 3} if arguments[0] in {"run", "verdict", "compare"} else {0}
    if done.returncode not in answers:
        raise SystemExit(f"meshverdict {' '.join(arguments)} ended with {done.returncode}")
    return done.stdout


if __name__ == "__main__":
    raise SystemExit(main())
