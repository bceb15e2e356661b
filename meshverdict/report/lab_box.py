"""What the place of measurement is not: every report carries this box, lest anybody read too much into it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshverdict.analysis.telemetry import BUSY_LIMIT, PRESSURE_LIMIT, STEAL_LIMIT

if TYPE_CHECKING:
    from meshverdict.report.contents import RunContents


def lab_box(contents: RunContents) -> tuple[str, ...]:
    """The box's sentences."""
    cluster, settings, machine = (contents.section(key) for key in ("cluster", "settings", "machine"))
    if contents.run is None:
        return ("This is a plain Chaos Toolkit journal: nothing is known about the place where it ran.",)
    if cluster.get("kind") == "real":
        return _real(contents)
    denied = settings.get("denied", "unknown")
    fate = (
        "silently dropped"
        if denied == "drop"
        else "rejected with an answer"
        if denied == "reject"
        else "unknown"
    )
    open_connections = {"cut": "cuts open connections too", "keep": "leaves open connections alone"}.get(
        str(settings.get("established")), "treats open connections in a way that was not recorded"
    )
    cores = machine.get("cores")
    lines = [
        (
            "Network policy is enforced by nftables, not by Cilium: enforcement times and the fate"
            f" of open connections differ by CNI. Here a denied packet is {fate}, and a new policy"
            f" {open_connections}."
        ),
        (
            f"All tiers and the load generator share {cores or 'the same'} cores of one machine. A run is"
            f" invalid when somebody waited for a core more than {PRESSURE_LIMIT:.0%} of the time (where the kernel"
            f" does not tell: when the cores were more than {BUSY_LIMIT:.0%} busy), or when more than"
            f" {STEAL_LIMIT:.0%} of their time was taken away from below. {_crowd(contents)}"
        ),
    ]
    if settings.get("network_policy") is False:
        lines.append("Network policies were accepted and not enforced in this run, as under flannel.")
    if settings.get("sidecars"):
        lines.append(
            "The mesh is real Envoy without istiod, istio-agent and Istio's own filters: sidecar tax"
            " and memory are this lab's, not Istio's; sidecar mode only."
        )
    there, back = settings.get("zone_delay_ms") or 0, settings.get("zone_delay_back_ms")
    jitter = settings.get("zone_jitter_ms")
    if there or back or jitter:
        ways = f"{there} ms one way" if back is None else f"{there} ms there and {back} ms back"
        more = f", up to {jitter} ms more of jitter" if jitter else ""
        lines.append(f"The delay between zones, {ways}{more}, was configured, not found.")
    return tuple(lines)


def _crowd(contents: RunContents) -> str:
    """How busy the machine was under load, in words."""
    time, machine = contents.load_time(), contents.machine
    if time is None or machine is None:
        return "How busy it was here was not recorded."
    busy, pressure = (machine.mean(name, *time) for name in ("busy", "pressure"))
    if busy is None:
        return "How busy it was here was not recorded for long enough."
    waited = "" if pressure is None else f", and somebody waited {pressure:.0%} of the time"
    return f"Here they were {busy:.0%} busy under load{waited}."


def _real(contents: RunContents) -> tuple[str, ...]:
    cluster = contents.section("cluster")
    found = [f"A real cluster (context {cluster.get('context')}, Kubernetes {cluster.get('version')})."]
    for key, label in (
        ("cni", "Network plug-in"),
        ("istio", "Istio"),
        ("zones", "Zones and their measured round trips"),
    ):
        if cluster.get(key):
            found.append(f"{label}: {cluster[key]}.")
    return tuple(found)
