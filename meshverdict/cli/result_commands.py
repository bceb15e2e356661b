"""The commands about results: report, compare."""

from __future__ import annotations

import argparse
from pathlib import Path

from meshverdict.cli.output import answer, progress
from meshverdict.model.errors import EXIT_HOLDS, EXIT_INVALID, UsageError


def run(options: argparse.Namespace) -> int:
    """Run once and judge the run, or run a campaign and judge its pairs."""
    from meshverdict.chaos.campaign import CampaignPlan, run_campaign, run_once  # noqa: PLC0415
    from meshverdict.report.check import check  # noqa: PLC0415
    from meshverdict.report.files import write_report  # noqa: PLC0415

    experiment = Path(options.experiment)
    if not experiment.is_file():
        raise UsageError(
            f"{experiment}: no such file; name an experiment such as experiments/isolate-redis.json"
        )
    variables = variables_of(options.var)
    reports = Path(options.reports) if options.reports else None
    lab = None if options.name == "default" else options.name
    if options.pairs is None:
        folder = run_once(experiment, variables, seed=options.seed, reports=reports, lab=lab)
        judgement = check(folder)
        text = "\n".join(
            [
                *judgement.lines,
                *(f"  - {r}" for r in judgement.reasons),
                f"{judgement.word}   report: {folder / 'report.html'}",
            ]
        )
        answer({**judgement.as_dict(), "run": str(folder)}, as_json=options.output == "json", text=text)
        return judgement.exit_code
    campaign = run_campaign(
        CampaignPlan(experiment, options.pairs, options.seed, variables, reports), progress
    )
    path = write_report(Path(campaign.origin))
    text = f"{campaign.title}\n{campaign.primary}: {campaign.verdict}\n{campaign.pairs} usable pairs   report: {path}"
    answer(campaign.as_dict(), as_json=options.output == "json", text=text)
    return campaign.exit_code


def variables_of(texts: list[str]) -> dict[str, str]:
    """``NAME=VALUE`` texts as a mapping."""
    values = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise UsageError(f"--var {text}: write NAME=VALUE, such as --var rate=100")
        values[name] = value
    return values


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


def lint(options: argparse.Namespace) -> int:
    """Find in experiments what `chaos validate` lets through."""
    from meshverdict.chaos.lint import exit_code, lint_files, render  # noqa: PLC0415

    problems = lint_files([Path(file) for file in options.files])
    print(render(problems, options.output))
    return exit_code(problems)


def verdict(options: argparse.Namespace) -> int:
    """Run the suite and write the page: a row for every claim."""
    from meshverdict.chaos.suite import run_suite, suite_plan  # noqa: PLC0415
    from meshverdict.model.paths import data_folder, project_root  # noqa: PLC0415
    from meshverdict.report.files import write_verdict  # noqa: PLC0415

    reports = Path(options.reports) if options.reports else (project_root() or Path.cwd()) / "reports"
    failed: list[str] = []
    if not options.page_only:
        plan = suite_plan(data_folder("experiments"), quick=options.quick, seed=options.seed, reports=reports)
        progress(plan.words)
        failed = list(run_suite(plan, seed=options.seed, reports=reports, progress=progress))
    page = write_verdict(reports)
    text = "\n".join([*(f"not measured: {line}" for line in failed), str(page)])
    answer({"page": str(page), "failed": failed}, as_json=options.output == "json", text=text)
    return EXIT_INVALID if failed else EXIT_HOLDS


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
