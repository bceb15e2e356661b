"""What the API server asks this room about an Istio resource: may it be stored, and what should its author know?

A rule that is silently not enforced makes a wrong verdict, so whatever is not translated is refused by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from meshverdict.mesh import check_envoy_filter, validation
from meshverdict.mesh.fields import Refused, findings
from meshverdict.mesh.inputs import protocol
from meshverdict.mesh.lookup import mtls_mode
from meshverdict.mesh.shapes import SHAPES
from meshverdict.mesh.validation import InvalidResourceError
from meshverdict.mesh.values import Mesh, Resource, Workload
from meshverdict.model.errors import UnsupportedError

Manifest = Mapping[str, Any]

GROUPS: Final = {
    "networking.istio.io": frozenset({"VirtualService", "DestinationRule", "EnvoyFilter", "ServiceEntry"}),
    "security.istio.io": frozenset({"PeerAuthentication", "AuthorizationPolicy"}),
}
_IDENTITY_FIELDS: Final = ("principals", "namespaces", "serviceAccounts")
_IDENTITY_KEYS: Final = frozenset({"source.principal", "source.namespace", "source.serviceAccount"})


def check(manifest: Manifest) -> None:
    """Refuse an Istio resource that a real cluster refuses, or that the lab would not enforce exactly as written.

    Args:
        manifest: A resource whose types the CRD's schema has accepted; unknown fields may still be there.

    Raises:
        InvalidResourceError: A real cluster refuses it too; says who there and in which words.
        UnsupportedError: Istio would take it, the lab does not enforce it; names the field, the reason, the way out.
    """
    kind = manifest.get("kind") or ""
    if kind not in SHAPES:
        raise UnsupportedError(
            "kind", f"{kind} is not enforced by the embedded lab; these are: {', '.join(SHAPES)}"
        )
    # A field that is refused is refused whatever is inside: its content may be wrong only by our smaller schema.
    refused = next(
        (f for f in findings(manifest.get("spec") or {}, SHAPES[kind], "spec") if f.kind == "refused"), None
    )
    try:
        validation.validate(manifest)
    except InvalidResourceError as error:
        if refused is None or error.answer == "webhook":
            raise
    if refused is not None and isinstance(refused.shape, Refused):
        raise UnsupportedError(refused.path, refused.shape.reason)
    _supported(kind, manifest.get("spec") or {})


def warnings(manifest: Manifest) -> list[str]:
    """What the author of an accepted resource should know, as Istio's webhook says it, for Warning headers."""
    return validation.warnings(manifest) if manifest.get("kind") in SHAPES else []


def _supported(kind: str, spec: Mapping[str, Any]) -> None:
    """Refuse values that Istio takes and the lab does not enforce."""
    if kind == "EnvoyFilter":
        check_envoy_filter.supported(spec)
    if kind == "VirtualService":
        for number, name in enumerate(spec.get("gateways") or ()):
            if name != "mesh":
                raise UnsupportedError(
                    f"spec.gateways[{number}]", "the lab has no gateways: remove it, or write mesh"
                )
    if kind == "DestinationRule":
        _known_tls_modes(spec)
    if kind == "AuthorizationPolicy":
        _known_actions(spec)
    if kind == "ServiceEntry":
        _known_entries(spec)


def _known_entries(spec: Mapping[str, Any]) -> None:
    given = spec.get("resolution") or "NONE"
    if given not in {"STATIC", "DNS"}:
        raise UnsupportedError("spec.resolution", f"{given} is not enforced: use STATIC or DNS")
    addresses = spec.get("addresses") or ()
    if len(addresses) > 1 or any("/" in address for address in addresses):
        raise UnsupportedError(
            "spec.addresses", "a host has one address here, and no network: write one address"
        )
    if ":" in "".join(addresses):
        raise UnsupportedError("spec.addresses", "the lab has IPv4 only")
    if not addresses and _has_tcp(spec):
        raise UnsupportedError(
            "spec.addresses",
            "a TCP port is known by its address here: write the address that clients call",
        )
    if spec.get("exportTo", ["*"]) != ["*"]:
        raise UnsupportedError("spec.exportTo", "a ServiceEntry is shown to all namespaces: remove the field")


def _has_tcp(spec: Mapping[str, Any]) -> bool:
    ports = spec.get("ports") or ()
    return any(protocol(port.get("protocol") or port.get("name") or "") == "TCP" for port in ports)


def _known_tls_modes(spec: Mapping[str, Any]) -> None:
    for path, policy in _policies(spec):
        mode = (policy.get("tls") or {}).get("mode")
        if mode in {"SIMPLE", "MUTUAL"}:
            reason = f"{mode} needs certificates from outside the mesh: use DISABLE or ISTIO_MUTUAL"
            raise UnsupportedError(f"{path}.tls.mode", reason)


def _policies(spec: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    holders = [("spec", spec), *((f"spec.subsets[{i}]", s) for i, s in enumerate(spec.get("subsets") or ()))]
    for path, holder in holders:
        policy = holder.get("trafficPolicy") or {}
        yield f"{path}.trafficPolicy", policy
        for i, settings in enumerate(policy.get("portLevelSettings") or ()):
            yield f"{path}.trafficPolicy.portLevelSettings[{i}]", settings


def _known_actions(spec: Mapping[str, Any]) -> None:
    action = spec.get("action")
    if action in {"AUDIT", "CUSTOM"}:
        what = "calls an external authorizer" if action == "CUSTOM" else "only marks requests for a log"
        raise UnsupportedError("spec.action", f"{action} {what}, which the lab has not: use ALLOW or DENY")
    for number, rule in enumerate(spec.get("rules") or ()):
        for place, condition in enumerate((rule or {}).get("when") or ()):
            key = condition.get("key") or ""
            if key.startswith(("request.auth.", "experimental.")):
                path = f"spec.rules[{number}].when[{place}].key"
                raise UnsupportedError(path, f"{key} is not known to the lab's proxies: remove the condition")


def check_identities(manifest: Manifest, mesh: Mesh) -> None:
    """Refuse an AuthorizationPolicy that asks who the client is where no client can say so.

    An identity is the client's certificate, so a workload that the policy selects has to have a sidecar and mutual TLS
    on (PERMISSIVE or STRICT). Without, an ALLOW would deny everybody and a DENY nobody, silently.

    Args:
        manifest: An AuthorizationPolicy that `check` accepted.
        mesh: The cluster as it is.

    Raises:
        UnsupportedError: Names the field and the workload.
    """
    meta = manifest["metadata"]
    path = _identity_path(manifest.get("spec") or {})
    if path is None:
        return
    rule = Resource(
        "AuthorizationPolicy", meta.get("namespace") or "default", meta["name"], manifest.get("spec") or {}
    )
    for workload in mesh.workloads:
        in_reach = rule.namespace in {workload.namespace, mesh.settings.root_namespace}
        if in_reach and rule.selects(workload.labels):
            _refuse_without_identity(path, workload, mesh)


def _refuse_without_identity(path: str, workload: Workload, mesh: Mesh) -> None:
    what = "identities are client certificates"
    if not workload.sidecar:
        raise UnsupportedError(
            path,
            f"{what}, and pod {workload.key}, which the policy selects, has no sidecar: label its namespace "
            "istio-injection=enabled and restart it, or use ipBlocks",
        )
    if mtls_mode(mesh, workload.namespace, workload.labels, 0) == "DISABLE":
        raise UnsupportedError(
            path,
            f"{what}, and a PeerAuthentication disables mutual TLS for pod {workload.key}, which the policy selects: "
            "set it to STRICT or PERMISSIVE, or use ipBlocks",
        )


def _identity_path(spec: Mapping[str, Any]) -> str | None:
    for number, rule in enumerate(spec.get("rules") or ()):
        for place, item in enumerate((rule or {}).get("from") or ()):
            for word in _IDENTITY_FIELDS:
                for name in (word, f"not{word[0].upper()}{word[1:]}"):
                    if ((item or {}).get("source") or {}).get(name):
                        return f"spec.rules[{number}].from[{place}].source.{name}"
        for place, condition in enumerate((rule or {}).get("when") or ()):
            if condition.get("key") in _IDENTITY_KEYS:
                return f"spec.rules[{number}].when[{place}].key"
    return None
