"""Every command and option in one place; each command names the function that runs it."""

from __future__ import annotations

import argparse
from typing import TypeAlias

from meshverdict import __version__
from meshverdict.cli import lab_commands, result_commands
from meshverdict.cli.demo import demo
from meshverdict.cli.sweep_command import sweep
from meshverdict.model.settings import DEFAULT_INGRESS_PORT

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - argparse has no public name for it
DESCRIPTION = "Do you need a service mesh? Answered with measurements."
EPILOG = "Exit codes: 0 holds, 1 deviates or differs, 2 usage, 3 could not measure."


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(prog="meshverdict", description=DESCRIPTION, epilog=EPILOG)
    top.add_argument("--version", action="version", version=f"meshverdict {__version__}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    _lab(commands)
    _results(commands)
    _sweep(commands)
    return top


def _lab(commands: Commands) -> None:
    up = _command(commands, "up", lab_commands.up, "start the embedded lab; returns when everything is Ready")
    lab_settings(up)
    up.add_argument(
        "--manifests",
        action="append",
        default=[],
        metavar="DIR",
        help="folder or file to apply (repeatable; default: the lab of the seed)",
    )
    up.add_argument("--images", metavar="FILE", help="a YAML file with more entries for the image table")
    up.add_argument(
        "--port",
        type=int,
        default=DEFAULT_INGRESS_PORT,
        help="publish the ingress on 127.0.0.1:PORT (default %(default)s; another one if it is taken)",
    )
    up.add_argument(
        "--context",
        type=_context,
        metavar="NAME",
        help="prepare a real cluster by this kubeconfig context instead",
    )
    up.add_argument(
        "--tie", type=int, metavar="FD", help="end the lab when the other end of this file descriptor closes"
    )
    up.add_argument(
        "--timeout",
        type=float,
        default=60.0,
        metavar="S",
        help="how long everything may take to become Ready (default %(default)s s)",
    )
    down = _command(commands, "down", lab_commands.down, "stop the lab; nothing of it is left")
    down.add_argument(
        "--context",
        type=_context,
        metavar="NAME",
        help="remove the lab's objects from a real cluster instead",
    )
    down.add_argument(
        "--manifests", action="append", default=[], metavar="DIR", help="with --context: what `up` was given"
    )
    clean = _command(
        commands, "clean", lab_commands.clean, "put back what killed runs changed, and remove what they left"
    )
    clean.add_argument(
        "--context", type=_context, metavar="NAME", help="on the real cluster of this kubeconfig context"
    )
    access = _command(
        commands,
        "access",
        lab_commands.access,
        "print a ServiceAccount that may run experiments and little else, for `kubectl apply -f -`",
    )
    access.add_argument(
        "-n",
        "--namespace",
        action="append",
        default=[],
        help="a namespace of the lab (repeatable; default: the seed's)",
    )
    access.add_argument(
        "--also",
        action="append",
        default=[],
        choices=("flows-hubble", "flows-lab", "usage"),
        help="a right that goes beyond the lab (repeatable; see docs/real-clusters.md)",
    )
    status = _command(commands, "status", lab_commands.status, "what runs: the lab's settings and its pods")
    status.add_argument("-n", "--namespace", help="only the pods of this namespace")
    reach = _command(
        commands, "reach", lab_commands.reach, "who reaches whom: predicted from the policies, and tried"
    )
    reach.add_argument(
        "-n", "--namespace", action="append", default=[], help="only pods of this namespace (repeatable)"
    )
    zones = _command(
        commands,
        "measure-zones",
        lab_commands.measure_zones,
        "find the round trip between the cluster's zones, by asking from one to another",
    )
    zones.add_argument(
        "--questions",
        type=int,
        default=300,
        metavar="N",
        help="from each pod to each other (default %(default)s)",
    )
    zones.add_argument(
        "--context",
        type=_context,
        metavar="NAME",
        help="of a real cluster, by this kubeconfig context, instead",
    )
    _command(commands, "kubeconfig", lab_commands.kubeconfig, "print the path of the lab's kubeconfig")
    doctor = _command(
        commands,
        "doctor",
        lab_commands.doctor,
        "what this machine lacks for an embedded lab, and how to get it",
    )
    doctor.add_argument("--fix-list", action="store_true", help="print only the missing Debian packages")
    doctor.add_argument(
        "--context",
        type=_context,
        metavar="NAME",
        help="what a real cluster lacks, by this kubeconfig context, instead",
    )
    doctor.add_argument(
        "--manifests",
        action="append",
        default=[],
        metavar="DIR",
        help="with --context: what `up` will be given",
    )
    images = _command(
        commands, "images", lab_commands.images, "the image table: image -> command on this machine"
    )
    images.add_argument("--images", metavar="FILE", help="a YAML file with more entries")
    images.add_argument(
        "--build",
        action="store_true",
        help="print the commands that build this project's images and bring them to a real cluster",
    )
    images.add_argument(
        "--context",
        type=_context,
        metavar="NAME",
        help="with --build: the cluster's kubeconfig context (default: minikube; kind's begin with kind-)",
    )
    run_demo = _command(
        commands, "demo", demo, "lab, load, policy, report: the whole thing once, in about two minutes"
    )
    run_demo.add_argument("--sidecars", action="store_true", help="with an Envoy sidecar beside each pod")
    run_demo.add_argument("--keep", action="store_true", help="leave the lab running afterwards")
    run_demo.add_argument(
        "--port", type=int, default=DEFAULT_INGRESS_PORT, help="publish the ingress on 127.0.0.1:PORT"
    )


def _results(commands: Commands) -> None:
    run = _command(
        commands, "run", result_commands.run, "run an experiment and judge it; with --pairs, a campaign"
    )
    run.add_argument(
        "experiment",
        metavar="EXPERIMENT",
        help="an experiment's file, such as experiments/isolate-redis.json",
    )
    run.add_argument(
        "--pairs",
        type=int,
        metavar="N",
        help="N interleaved pairs with and without the treatment; 6 are the least that can be judged, and 8 the least"
        " that are enough for the metrics beside the primary one as well",
    )
    run.add_argument(
        "--look-after",
        type=int,
        metavar="K",
        help="look once, after K of the N pairs, and stop there if the difference is clear (p <= 0.01); the"
        " end is then judged at 4 %% instead of 5 %%",
    )
    run.add_argument(
        "--seed",
        type=int,
        default=1,
        metavar="S",
        help="seed of the order of the arms and of the arrivals (default %(default)s)",
    )
    run.add_argument(
        "--var",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a value of the experiment's configuration (repeatable)",
    )
    run.add_argument(
        "--var-file",
        metavar="FILE",
        help="a YAML or JSON file with values of the experiment's configuration; --var goes before it",
    )
    run.add_argument(
        "--reports", metavar="DIR", help="folder of all reports (default: beside the experiment's own folder)"
    )
    _real_cluster(run)
    lint = _command(
        commands, "lint", result_commands.lint, "find in experiments what `chaos validate` lets through"
    )
    lint.add_argument("files", nargs="+", metavar="FILE", help="experiments, or folders of them")
    verdict = _command(
        commands, "verdict", result_commands.verdict, "run all experiments and write the one-page answer"
    )
    verdict.add_argument(
        "--quick", action="store_true", help="within ten minutes; most rows are then undecided, and say so"
    )
    verdict.add_argument(
        "--page-only", action="store_true", help="run nothing: make the page from the reports that are there"
    )
    verdict.add_argument(
        "--seed", type=int, default=1, metavar="S", help="seed of all campaigns (default %(default)s)"
    )
    verdict.add_argument("--reports", metavar="DIR", help="folder of all reports")
    _real_cluster(verdict)
    report = _command(commands, "report", result_commands.report, "remake the report of a run or a campaign")
    report.add_argument(
        "folder",
        metavar="FOLDER",
        help="a run folder, reports/EXPERIMENT/TIME, or a campaign's folder, reports/EXPERIMENT",
    )
    report.add_argument(
        "--check",
        action="store_true",
        help="also judge it: exit 0 holds (a campaign: does not differ), 1 deviates (differs), 3 could not measure",
    )
    compare = _command(
        commands, "compare", result_commands.compare, "put two runs, or two campaigns, side by side"
    )
    compare.add_argument(
        "a", metavar="A", help="a run folder, a Chaos Toolkit journal, or a campaign's folder"
    )
    compare.add_argument("b", metavar="B", help="the other one, of the same kind")
    compare.add_argument(
        "--out", metavar="FILE", help="write to FILE (default for html: compare-A-B.html in this folder)"
    )
    compare.add_argument(
        "--fail-on",
        choices=("differs",),
        help="exit 1 if the verdicts differ: HOLDS and DEVIATES of two runs, or two campaigns' words",
    )


def _sweep(commands: Commands) -> None:
    command = _command(
        commands, "sweep", sweep, "find the value of a rate limit, and say what a wrong one costs"
    )
    command.add_argument(
        "--write",
        action="append",
        default=[],
        metavar="FILE",
        help="write the value into this policy (repeatable); nothing else in it is touched",
    )
    command.add_argument(
        "--check",
        action="append",
        default=[],
        metavar="FILE",
        help="exit 1 when the value in this policy has gone stale (repeatable)",
    )
    command.add_argument(
        "--tolerance",
        type=float,
        default=0.2,
        metavar="SHARE",
        help="how far a checked value may be off (default %(default)s)",
    )
    command.add_argument(
        "--replicas",
        type=int,
        default=1,
        metavar="N",
        help="proxies that each enforce the value on their own (default %(default)s)",
    )
    command.add_argument(
        "--from",
        dest="run_folder",
        metavar="RUN",
        help="take the run folder of a sweep that was made already, and run nothing",
    )
    command.add_argument(
        "--experiment",
        metavar="FILE",
        help="an experiment with the action sweep_rate_limit (default: ratelimit-sweep.json)",
    )
    command.add_argument(
        "--var", action="append", default=[], metavar="NAME=VALUE", help="a value of its configuration"
    )
    command.add_argument("--seed", type=int, default=1, metavar="S", help="seed of the arrivals")
    command.add_argument("--reports", metavar="DIR", help="folder of all reports")
    _real_cluster(command)


def _command(commands: Commands, name: str, function: object, text: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + ".", epilog=EPILOG
    )
    command.set_defaults(run=function)
    if name != "compare":
        command.add_argument(
            "-o", "--output", choices=("text", "json"), default="text", help="how the answer is printed"
        )
    else:
        command.add_argument(
            "-o",
            "--output",
            choices=("text", "html", "md", "json"),
            default="text",
            help="form of the answer; html writes a file and prints its path (default %(default)s)",
        )
    command.add_argument("--name", default="default", help="name of the lab (default %(default)s)")
    return command


def _context(text: str) -> str:
    """A context's name; a variable that was not set is no wish for the embedded lab."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the name is empty: name a context, or leave the option out")
    return text


def _delays(text: str) -> tuple[float, float | None]:
    """One delay for both ways, or one each."""
    parts = text.split(",")
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    if not 1 <= len(numbers) <= 2:
        raise argparse.ArgumentTypeError(
            f"{text!r}: milliseconds, such as 0.5, or 0.5,0.8 for there and back"
        )
    return numbers[0], numbers[1] if len(numbers) == 2 else None


def _real_cluster(command: argparse.ArgumentParser) -> None:
    """Where the runs are to take place, other than in the embedded lab."""
    command.add_argument(
        "--context",
        type=_context,
        metavar="NAME",
        help="run on the real cluster of this kubeconfig context (after `up --context NAME`)",
    )
    command.add_argument(
        "--ingress",
        metavar="URL",
        help="with --context: base URL of the lab's ingress from here (default: through the Kubernetes API)",
    )
    command.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="make the load with N pods instead of the experiment's number",
    )


def lab_settings(command: argparse.ArgumentParser) -> None:
    """The options that LabSettings is made of."""
    command.add_argument(
        "--zones",
        type=int,
        default=1,
        metavar="N",
        help="availability zones, one node each (default %(default)s)",
    )
    command.add_argument(
        "--zone-delay",
        type=_delays,
        default=(0.0, None),
        metavar="MS[,BACK]",
        help="one-way delay between zones in milliseconds; with BACK another one from the later zone to the earlier",
    )
    command.add_argument(
        "--zone-jitter",
        type=float,
        default=0.0,
        metavar="MS",
        help="each packet between zones takes up to MS longer, in the order in which they came",
    )
    command.add_argument(
        "--denied",
        choices=("drop", "reject"),
        default="drop",
        help="what happens to a denied packet (default %(default)s)",
    )
    command.add_argument(
        "--established",
        choices=("keep", "cut"),
        default="cut",
        help="what a new policy does to open connections (default %(default)s)",
    )
    command.add_argument(
        "--network-policy",
        choices=("on", "off"),
        default="on",
        help="off: policies are accepted and not enforced, as under flannel",
    )
    command.add_argument(
        "--sidecars", action="store_true", help="inject Envoy sidecars into the lab's namespaces"
    )
    command.add_argument(
        "--mesh-retries",
        choices=("today", "1.14"),
        default="today",
        help="what sidecars retry by default: as Istio today, or as Istio 1.14, also answers of 503",
    )
