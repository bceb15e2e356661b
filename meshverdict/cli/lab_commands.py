"""The commands about the embedded lab: up, down, status, kubeconfig, doctor, images."""

from __future__ import annotations

import argparse
import os
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from meshverdict.cli.output import answer, progress
from meshverdict.lab.client import ApiClient
from meshverdict.lab.options import UpOptions
from meshverdict.lab.pod_table import pod_status, render, rows
from meshverdict.lab.state import LabInfo, StateFolder
from meshverdict.model.errors import EXIT_DEVIATES, EXIT_HOLDS, EXIT_INVALID, LabError, UsageError
from meshverdict.model.settings import LabSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from meshverdict.chaos.cluster import KubeAccess

DOWN_TIMEOUT_S = 15.0


def settings_of(options: argparse.Namespace) -> LabSettings:
    """LabSettings from the parsed options; refuses numbers that make no sense."""
    if not 1 <= options.zones <= 16:
        raise UsageError(f"--zones {options.zones}: between 1 and 16")
    delay, back = options.zone_delay
    delays = (delay,) if back is None else (delay, back)
    for option, values in (("--zone-delay", delays), ("--zone-jitter", (options.zone_jitter,))):
        said = ",".join(f"{value:g}" for value in values)
        if not all(0 <= value <= 1000 for value in values):
            raise UsageError(f"{option} {said}: between 0 and 1000 milliseconds, one way")
        if any(values) and options.zones == 1:
            raise UsageError(f"{option} {said}: one zone has nobody to be apart from; add --zones 2")
    return LabSettings(
        zones=options.zones,
        zone_delay_ms=delay,
        zone_delay_back_ms=None if back == delay else back,
        zone_jitter_ms=options.zone_jitter,
        denied=options.denied,
        established=options.established,
        network_policy=options.network_policy == "on",
        sidecars=options.sidecars,
        mesh_retries=options.mesh_retries,
    )


def up(options: argparse.Namespace) -> int:
    """Start a lab and wait until everything is Ready."""
    from meshverdict.lab.up import start  # noqa: PLC0415 - quick start of the other commands

    if not options.timeout > 0:
        raise UsageError(f"--timeout {options.timeout:g}: seconds, more than 0")
    if options.context:
        return _prepare(options)
    _refuse_exported("up", "bring the lab to")
    request = UpOptions(
        name=options.name,
        settings=settings_of(options),
        manifests=tuple(os.path.abspath(m) for m in options.manifests),  # noqa: PTH100 - symlinks stay as typed
        images=os.path.abspath(options.images) if options.images else None,  # noqa: PTH100
        port=options.port,
        tie=options.tie,
        ready_timeout_s=options.timeout,
    )
    info = start(request, progress if options.output == "text" else lambda _: None)
    answer(info.as_dict(), as_json=options.output == "json", text=describe(info))
    return EXIT_HOLDS


def _prepare(options: argparse.Namespace) -> int:
    """Bring the lab's manifests to a real cluster."""
    from meshverdict.chaos import preflight  # noqa: PLC0415
    from meshverdict.chaos.prepare import prepare  # noqa: PLC0415

    tell = progress if options.output == "text" else lambda _: None
    made = prepare(options.context, options.manifests, timeout=options.timeout, progress=tell)
    text = (
        f"{preflight.render(made.findings[-1:])}\n"
        f"{made.objects} objects applied, {made.pods} pods Ready in {made.seconds:g} s\n"
        f"  next      MESHVERDICT_CONTEXT={made.context} chaos run experiments/isolate-redis.json\n"
        f"  remove    meshverdict down --context {made.context}"
    )
    answer(made.as_dict(), as_json=options.output == "json", text=text)
    return EXIT_HOLDS


def describe(info: LabInfo) -> str:
    """What a person wants to know when the lab is up."""
    lines = [
        f"lab {info.name!r} ready in {info.ready_s:.1f} s" if info.ready_s else f"lab {info.name!r} is up"
    ]
    if info.ingress:
        where = f"http://{info.ingress['host']}:{info.ingress['port']}"
        lines.append(f"  ingress   {where}   (curl -H 'Host: pippo.lan' {where}/count/get)")
    lines.append(f"  kubectl   export KUBECONFIG={info.kubeconfig}")
    lines.append(f"  stop      meshverdict down{'' if info.name == 'default' else ' --name ' + info.name}")
    return "\n".join(lines)


def down(options: argparse.Namespace) -> int:
    """Stop the lab; saying so when there is none is not an error."""
    if options.context:
        from meshverdict.chaos.prepare import remove  # noqa: PLC0415

        tell = progress if options.output == "text" else lambda _: None
        count = remove(options.context, options.manifests, progress=tell)
        answer(
            {"context": options.context, "removed": count},
            as_json=options.output == "json",
            text=f"{count} objects removed",
        )
        return EXIT_HOLDS
    _refuse_exported("down", "take the lab from")
    from meshverdict.lab.up import stop  # noqa: PLC0415

    stopped = stop(StateFolder(options.name), DOWN_TIMEOUT_S)
    text = f"lab {options.name!r} stopped" if stopped else f"no lab {options.name!r} is running"
    answer({"name": options.name, "stopped": stopped}, as_json=options.output == "json", text=text)
    return EXIT_HOLDS


def clean(options: argparse.Namespace) -> int:
    """Put back what killed runs changed, and remove what they left."""
    from meshverdict.chaos.leftovers import clean as sweep  # noqa: PLC0415

    with _chosen(options) as access:
        done = sweep(access)
    answer(done, as_json=options.output == "json", text="\n".join(done) or "nothing was left")
    return EXIT_HOLDS


def measure_zones(options: argparse.Namespace) -> int:
    """Find the round trip between the cluster's zones, by asking from each."""
    from meshverdict.chaos.zone_rtt import measure, render  # noqa: PLC0415

    if options.questions < 10:
        raise UsageError(f"--questions {options.questions}: at least 10, for a median that means something")
    with _chosen(options) as access:
        found = measure(access, options.questions)
    answer([f.as_dict() for f in found], as_json=options.output == "json", text=render(found))
    return EXIT_HOLDS


@contextmanager
def _chosen(options: argparse.Namespace) -> Iterator[KubeAccess]:
    """The cluster that was named, else the embedded lab; its refusals become errors that name it."""
    from meshverdict.chaos.cluster import KubeAccess, answering, opened  # noqa: PLC0415

    context = context_of(options)
    if context is not None:
        with opened(context) as found:
            yield found
        return
    with answering(KubeAccess.open(Path(running_lab(options.name).kubeconfig), kind="embedded")) as found:
        yield found


def context_of(options: argparse.Namespace) -> str | None:
    """The real cluster that was named, by ``--context`` or else by MESHVERDICT_CONTEXT; None for the embedded lab."""
    return options.context or os.environ.get("MESHVERDICT_CONTEXT") or None


def _refuse_exported(command: str, does: str) -> None:
    """Making and removing a lab asks for the name itself: a variable is easily forgotten."""
    if os.environ.get("MESHVERDICT_CONTEXT"):
        raise UsageError(
            f"MESHVERDICT_CONTEXT is set: type `meshverdict {command} --context NAME` to {does} that cluster, or unset"
            " it for the embedded lab"
        )


def access(options: argparse.Namespace) -> int:
    """Print the manifests of somebody who may run experiments and little else."""
    from meshverdict.chaos.access.manifests import LAB, as_yaml  # noqa: PLC0415
    from meshverdict.chaos.access.manifests import access as manifests  # noqa: PLC0415

    made = manifests(options.namespace or LAB, options.also)
    answer(made, as_json=options.output == "json", text=as_yaml(made).rstrip())
    return EXIT_HOLDS


def running_lab(name: str) -> LabInfo:
    """The running lab, or the command that starts one."""
    info = StateFolder(name).info()
    if info is None:
        flag = "" if name == "default" else f" --name {name}"
        raise LabError(f"no lab {name!r} is running; start one with `meshverdict up{flag}`")
    return info


def _refuse_unknown(info: LabInfo, namespaces: Sequence[str]) -> None:
    """Of a namespace that is not there nothing could be wrong, which would look like an answer."""
    if not namespaces:
        return
    there = [n["metadata"]["name"] for n in ApiClient(info.kubeconfig).get("/api/v1/namespaces")["items"]]
    unknown = [name for name in namespaces if name not in there]
    if unknown:
        raise UsageError(
            f"-n {', '.join(unknown)}: the lab has no such namespace (it has: {', '.join(there)})"
        )


def status(options: argparse.Namespace) -> int:
    """The lab's settings and pods; exit 3 while a pod is not Ready."""
    info = running_lab(options.name)
    _refuse_unknown(info, [options.namespace] if options.namespace else [])
    where = f"/namespaces/{options.namespace}" if options.namespace else ""
    pods = ApiClient(info.kubeconfig).get(f"/api/v1{where}/pods")["items"]
    now = datetime.now(UTC)
    bad = [p["metadata"]["name"] for p in pods if pod_status(p) not in ("Running", "Completed", "Succeeded")]
    keys = ("namespace", "name", "ready", "status", "restarts", "age")
    value = {
        "lab": info.as_dict(),
        "up_s": round(time.time() - info.started, 1),
        "pods": [dict(zip(keys, row, strict=True)) for row in rows(pods, now)],
        "not_ready": bad,
    }
    s = info.settings
    head = (
        f"lab {info.name!r}: {s.zones} zone{'s' * (s.zones > 1)}, denied packets: {s.denied}, open connections: {s.established}, "
        f"network policy: {'on' if s.network_policy else 'off (accepted, not enforced)'}"
    )
    answer(value, as_json=options.output == "json", text=f"{describe(info)}\n{head}\n\n{render(pods, now)}")
    return EXIT_INVALID if bad else EXIT_HOLDS


def reach(options: argparse.Namespace) -> int:
    """Predict and try who reaches whom; exit 1 where packets do not do what the policies say."""
    from meshverdict.lab.reach import reach as try_all  # noqa: PLC0415
    from meshverdict.lab.reach import render as table  # noqa: PLC0415

    info = running_lab(options.name)
    _refuse_unknown(info, options.namespace)
    rows = try_all(info, options.namespace)
    answer([row.as_dict() for row in rows], as_json=options.output == "json", text=table(rows))
    return EXIT_DEVIATES if any(row.agrees is False for row in rows) else EXIT_HOLDS


def kubeconfig(options: argparse.Namespace) -> int:
    """Print the path, to be used as `export KUBECONFIG=$(meshverdict kubeconfig)`."""
    info = running_lab(options.name)
    answer({"kubeconfig": info.kubeconfig}, as_json=options.output == "json", text=info.kubeconfig)
    return EXIT_HOLDS


def doctor(options: argparse.Namespace) -> int:
    """Say what is missing; exit 3 when a lab cannot be here, or policies do nothing in the cluster."""
    context = context_of(options)
    if context is not None:
        return _examine(options, context)
    from meshverdict.lab.doctor import examine, missing_packages, report  # noqa: PLC0415

    findings = examine()
    if options.fix_list:
        answer(
            missing_packages(findings),
            as_json=options.output == "json",
            text=" ".join(missing_packages(findings)),
        )
    else:
        answer([f.as_dict() for f in findings], as_json=options.output == "json", text=report(findings))
    return EXIT_HOLDS if all(f.ok or not f.needed for f in findings) else EXIT_INVALID


def _examine(options: argparse.Namespace, context: str) -> int:
    """Say what a real cluster lacks."""
    from meshverdict.chaos import preflight  # noqa: PLC0415
    from meshverdict.chaos.prepare import examine  # noqa: PLC0415

    found = examine(context, options.manifests)
    answer([f.as_dict() for f in found], as_json=options.output == "json", text=preflight.render(found))
    return EXIT_INVALID if preflight.obstacles(found) or found[-1].ok is False else EXIT_HOLDS


def images(options: argparse.Namespace) -> int:
    """Print the image table, or the commands that make the images for a real cluster."""
    if options.build:
        from meshverdict.chaos.preflight import build_commands  # noqa: PLC0415

        commands = build_commands(options.context or "minikube")
        answer(commands, as_json=options.output == "json", text="\n".join(commands))
        return EXIT_HOLDS
    from meshverdict.lab.doctor import image_rows  # noqa: PLC0415

    table = image_rows(options.images)
    width = max(len(row["image"]) for row in table)
    text = "\n".join(f"{row['image'].ljust(width)}   {row['command']}" for row in table)
    answer(table, as_json=options.output == "json", text=text)
    return EXIT_HOLDS
