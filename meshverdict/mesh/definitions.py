"""The CRDs of the Istio kinds, made from `shapes`; their text is the package's data in ``crds/``, and a test compares.

Names, versions, short names, categories and columns are Istio's own, so that kubectl shows the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

import yaml

from meshverdict.mesh.fields import openapi
from meshverdict.mesh.shapes import SHAPES

Manifest = dict[str, Any]
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Definition:
    """One kind.

    Args:
        kind: Its name.
        plural: Its name in URLs.
        short: kubectl's short name; empty for none.
        group: Its API group.
        versions: Served versions, the stored one first.
        columns: kubectl's columns besides name and age: (title, JSON path).
    """

    kind: str
    plural: str
    short: str
    group: str
    versions: tuple[str, ...]
    columns: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """``virtualservices.networking.istio.io``: the CRD's name, and its file's."""
        return f"{self.plural}.{self.group}"


_NETWORKING: Final = "networking.istio.io"
_SECURITY: Final = "security.istio.io"
_THREE: Final = ("v1", "v1beta1", "v1alpha3")
DEFINITIONS: Final = (
    Definition(
        "VirtualService",
        "virtualservices",
        "vs",
        _NETWORKING,
        _THREE,
        (("Gateways", ".spec.gateways"), ("Hosts", ".spec.hosts")),
    ),
    Definition("DestinationRule", "destinationrules", "dr", _NETWORKING, _THREE, (("Host", ".spec.host"),)),
    Definition("EnvoyFilter", "envoyfilters", "", _NETWORKING, ("v1alpha3",)),
    Definition(
        "ServiceEntry",
        "serviceentries",
        "se",
        _NETWORKING,
        _THREE,
        (("Hosts", ".spec.hosts"), ("Location", ".spec.location"), ("Resolution", ".spec.resolution")),
    ),
    Definition(
        "PeerAuthentication",
        "peerauthentications",
        "pa",
        _SECURITY,
        ("v1", "v1beta1"),
        (("Mode", ".spec.mtls.mode"),),
    ),
    Definition(
        "AuthorizationPolicy",
        "authorizationpolicies",
        "ap",
        _SECURITY,
        ("v1", "v1beta1"),
        (("Action", ".spec.action"),),
    ),
)


def build(definition: Definition) -> Manifest:
    """The CRD of a kind."""
    names: Manifest = {
        "kind": definition.kind,
        "listKind": f"{definition.kind}List",
        "plural": definition.plural,
        "singular": definition.kind.lower(),
        "categories": ["istio-io", f"{definition.group.partition('.')[0]}-istio-io"],
    }
    if definition.short:
        names["shortNames"] = [definition.short]
    columns = [{"name": title, "type": "string", "jsonPath": path} for title, path in definition.columns]
    columns.append({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"})
    status: Manifest = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"type": "object", "properties": {"spec": openapi(SHAPES[definition.kind]), "status": status}}
    if definition.kind in {"VirtualService", "DestinationRule", "ServiceEntry"}:
        schema["required"] = ["spec"]
    shared = {"openAPIV3Schema": schema}
    versions = [
        {
            "name": version,
            "served": True,
            "storage": version == definition.versions[0],
            "additionalPrinterColumns": columns,
            "subresources": {"status": {}},
            "schema": shared,
        }
        for version in definition.versions
    ]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": definition.name, "labels": {"app.kubernetes.io/part-of": "meshverdict"}},
        "spec": {"group": definition.group, "names": names, "scope": "Namespaced", "versions": versions},
    }


class _Dumper(yaml.SafeDumper):
    """The versions share one schema: it is written once, under a name that says what it is."""

    def generate_anchor(self, node: Any) -> str:
        return "schema" if isinstance(node, yaml.MappingNode) else "columns"


def text(definition: Definition) -> str:
    """The CRD as the file in ``crds/`` has it."""
    head = f"# {definition.kind}: what the embedded lab enforces. Made from its shape in meshverdict/mesh; do not edit.\n"
    body: str = yaml.dump(build(definition), Dumper=_Dumper, sort_keys=False, width=110)
    return head + body


def manifests() -> list[Manifest]:
    """The CustomResourceDefinitions of the Istio kinds that the lab enforces, as the package carries them."""
    folder = resources.files(__package__) / "crds"
    texts = ((folder / f"{d.name}.yaml").read_text("utf-8") for d in DEFINITIONS)
    return [yaml.load(text, _LOADER) for text in texts]  # noqa: S506 - one of yaml's safe loaders, chosen above
