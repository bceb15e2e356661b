"""The commands about results: report, compare."""

from __future__ import annotations

import argparse
from pathlib import Path

from meshverdict.cli.output import answer
from meshverdict.model.errors import EXIT_HOLDS, EXIT_INVALID, UsageError


def report(options: argparse.Namespace) -> int:
    """Remake the report; with --check judge the run."""
    from meshverdict.report.check import check  # noqa: PLC0415 - quick start of the other commands
    from meshverdict.report.files import write_report  # noqa: PLC0415

    folder = run_folder(options.folder)
    if options.check:
        judgement = check(folder)
        text = f"{judgement.word}: {folder}\n" + "\n".join(f"  - {r}" for r in judgement.reasons)
        answer(judgement.as_dict(), as_json=options.output == "json", text=text.rstrip())
        return judgement.exit_code
    path = write_report(folder)
    answer({"report": str(path)}, as_json=options.output == "json", text=str(path))
    return EXIT_HOLDS


def compare(options: argparse.Namespace) -> int:
    """Put two runs side by side: a description, not a verdict."""
    from meshverdict.report.compare import compare_paths  # noqa: PLC0415

    comparison = compare_paths(Path(options.a), Path(options.b))
    print(comparison.render(options.output))
    return EXIT_HOLDS if comparison.comparable else EXIT_INVALID


def run_folder(text: str) -> Path:
    """The run folder, if it is one."""
    folder = Path(text)
    if not folder.is_dir():
        raise UsageError(
            f"{folder}: no such folder; name a run folder such as reports/isolate-redis/20260101T120000Z"
        )
    if not (folder / "journal.json").is_file():
        raise UsageError(f"{folder}: not a run folder, it has no journal.json")
    return folder
