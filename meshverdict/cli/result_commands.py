"""The commands that measure, and those about what was measured: run, verdict, report, compare, lint."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from meshverdict.cli.output import answer, progress
from meshverdict.model.errors import EXIT_DEVIATES, EXIT_HOLDS, EXIT_INVALID, UsageError
from meshverdict.model.yaml_text import read_yaml

if TYPE_CHECKING:
    from meshverdict.report.campaign import Campaign


def run(options: argparse.Namespace) -> int:
    """Run once and judge the run, or run a campaign and judge its pairs."""
    from meshverdict.chaos.campaign import CampaignPlan, run_campaign, run_once  # noqa: PLC0415
    from meshverdict.report.check import check  # noqa: PLC0415
    from meshverdict.report.files import write_report  # noqa: PLC0415

    choose_cluster(options)
    experiment = Path(options.experiment)
    if not experiment.is_file():
        raise UsageError(
            f"{experiment}: no such file; name an experiment such as experiments/isolate-redis.json"
        )
    announce(experiment)
    variables = {**variables_in(options.var_file), **variables_of(options.var)}
    reports = reports_of(options)
    lab = None if options.name == "default" else options.name
    if options.pairs is None:
        if options.look_after is not None:
            raise UsageError("--look-after: it belongs to a campaign; add --pairs N")
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
        CampaignPlan(
            experiment,
            options.pairs,
            options.seed,
            variables,
            reports,
            look_after=options.look_after,
            lab=lab,
        ),
        progress,
    )
    return _campaign(campaign, write_report(Path(campaign.origin)), options)


def announce(experiment: Path) -> None:
    """Say what an experiment that does not come with this package would run, before it does.

    Raises:
        UsageError: The file cannot be read.
    """
    from meshverdict.chaos.announced import announced, known  # noqa: PLC0415

    if not known(experiment):
        for line in announced(experiment):
            progress(line)


def reports_of(options: argparse.Namespace) -> Path | None:
    """The folder of all reports that was named; None for the usual one.

    Raises:
        UsageError: Something else lies there: known before a lab is started.
    """
    if not options.reports:
        return None
    named = Path(options.reports)
    there = next(path for path in (named, *named.absolute().parents) if path.exists())
    if not there.is_dir():
        raise UsageError(f"--reports {named}: {there} is no folder; name a folder, which is made if need be")
    return named


def choose_cluster(options: argparse.Namespace) -> None:
    """Hand the chosen cluster to the runs, each of which is a `chaos run` of its own.

    Raises:
        UsageError: The number of workers is wrong, or there is no such context.
    """
    from meshverdict.chaos.cluster import opened  # noqa: PLC0415 - quick start of the other commands

    if options.workers is not None and options.workers < 1:
        raise UsageError(f"--workers {options.workers}: at least 1 pod makes the load")
    if options.context is not None:
        with opened(options.context):
            pass  # a name that leads nowhere is said once, before any run
    for variable, value in (
        ("MESHVERDICT_CONTEXT", options.context),
        ("MESHVERDICT_INGRESS", options.ingress),
        ("MESHVERDICT_WORKERS", options.workers),
    ):
        if value is not None:
            os.environ[variable] = str(value)


def _campaign(campaign: Campaign, report_path: Path, options: argparse.Namespace) -> int:
    from meshverdict.report.render_campaign import sentence  # noqa: PLC0415

    text = "\n".join([campaign.title, campaign.verdict, sentence(campaign), f"report: {report_path}"])
    answer(
        {**campaign.as_dict(), "report": str(report_path)},
        as_json=options.output == "json",
        text=text,
    )
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


def variables_in(file: str | None) -> dict[str, str]:
    """The values of a ``--var-file``; none without one."""
    if file is None:
        return {}
    try:
        documents = read_yaml(Path(file).read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"--var-file {file}: cannot be read ({' '.join(str(error).split())})") from error
    found = documents[0] if len(documents) == 1 else None
    if not isinstance(found, dict) or any(isinstance(v, dict | list) or v is None for v in found.values()):
        raise UsageError(f"--var-file {file}: write one `NAME: VALUE` a line, such as `rate: 100`")
    return {str(name): str(value) for name, value in found.items()}


def report(options: argparse.Namespace) -> int:
    """Remake the report of a run or of a campaign; with --check judge it."""
    from meshverdict.report.check import check  # noqa: PLC0415 - quick start of the other commands
    from meshverdict.report.files import is_campaign, judge_campaign, write_report  # noqa: PLC0415

    folder = Path(options.folder)
    if not is_campaign(folder):
        folder = run_folder(options.folder)
    path = write_report(folder)
    if options.check and is_campaign(folder):
        return _campaign(judge_campaign(folder), path, options)
    if options.check:
        judgement = check(folder)
        text = f"{judgement.word}: {folder}\n" + "\n".join(f"  - {r}" for r in judgement.reasons)
        answer(judgement.as_dict(), as_json=options.output == "json", text=text.rstrip())
        return judgement.exit_code
    answer({"report": str(path)}, as_json=options.output == "json", text=str(path))
    return EXIT_HOLDS


def compare(options: argparse.Namespace) -> int:
    """Put two runs or two campaigns side by side: a description, not a verdict."""
    from meshverdict.report.compare import compare_paths  # noqa: PLC0415
    from meshverdict.report.files import write_atomically  # noqa: PLC0415

    a, b = Path(options.a), Path(options.b)
    comparison = compare_paths(a, b)
    rendered = comparison.render(options.output)
    target = _target(options, a, b)
    if target is None:
        print(rendered)
    else:
        write_atomically(target, rendered)
        print(target)
    if not comparison.comparable:
        return EXIT_INVALID
    return EXIT_DEVIATES if options.fail_on == "differs" and comparison.differs else EXIT_HOLDS


def _target(options: argparse.Namespace, a: Path, b: Path) -> Path | None:
    """The file that a comparison is written to; None for standard output."""
    if options.out is not None:
        target = Path(options.out)
        if not target.parent.is_dir():
            raise UsageError(f"--out {target}: there is no folder {target.parent}")
        if target.is_dir():
            raise UsageError(f"--out {target}: this is a folder; name a file in it")
        return target
    if options.output != "html":
        return None
    return Path(f"compare-{_slug(a)}-{_slug(b)}.html")


def _slug(path: Path) -> str:
    name = path.resolve().name
    return name.removesuffix(".json")


def lint(options: argparse.Namespace) -> int:
    """Find in experiments what `chaos validate` lets through."""
    from meshverdict.chaos.lint import exit_code, lint_files, render  # noqa: PLC0415

    problems = lint_files([Path(file) for file in options.files])
    print(render(problems, options.output))
    return exit_code(problems)


def verdict(options: argparse.Namespace) -> int:
    """Run the suite and write the page: a row for every claim.

    Returns:
        0; 3 when an experiment, or every one, could not be measured.
    """
    from meshverdict.chaos.suite import LAB, run_suite, suite_plan  # noqa: PLC0415
    from meshverdict.model.paths import data_folder, project_root  # noqa: PLC0415
    from meshverdict.report.files import read_rows, write_verdict  # noqa: PLC0415
    from meshverdict.report.verdict_page import NOT_MEASURED, as_value, conclusion  # noqa: PLC0415

    choose_cluster(options)
    reports = reports_of(options) or (project_root() or Path.cwd()) / "reports"
    failed: dict[str, str] = {}
    if options.page_only and not reports.is_dir():
        raise UsageError(f"--reports {reports}: no such folder; name the folder that holds all reports")
    if not options.page_only:
        lab = LAB if options.name == "default" else options.name
        experiments = data_folder("experiments")
        plan = suite_plan(experiments, quick=options.quick, seed=options.seed, reports=reports, lab=lab)
        progress(plan.words)
        failed = run_suite(plan, seed=options.seed, reports=reports, progress=progress)
    rows = read_rows(reports, failed)
    page = write_verdict(reports, rows)
    lines = [f"not measured: {name}: {reason}" for name, reason in failed.items()]
    value = {
        **as_value(rows),
        "page": str(page),
        "failed": [f"{n}: {reason}" for n, reason in failed.items()],
    }
    answer(value, as_json=options.output == "json", text="\n".join([*lines, conclusion(rows), str(page)]))
    unmeasured = any(row.word == "invalid" for row in rows) or all(row.word == NOT_MEASURED for row in rows)
    return EXIT_INVALID if failed or unmeasured else EXIT_HOLDS


def run_folder(text: str) -> Path:
    """The run folder, if it is one."""
    folder = Path(text)
    if not folder.is_dir():
        raise UsageError(
            f"{folder}: no such folder; name a run folder such as reports/isolate-redis/20260101T120000Z"
        )
    if not (folder / "journal.json").is_file():
        raise UsageError(
            f"{folder}: neither a run folder (it has no journal.json) nor a campaign's folder (it has no runs"
            " of pairs)"
        )
    return folder
