"""What a real cluster lacks for the lab and its experiments, each with its way out: said before the first write.

Only what makes the lab itself impossible is an obstacle. A cluster without Istio or Cilium still answers the
experiments that need neither, and its user is told which ones do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from kubernetes import client
from kubernetes.client.exceptions import ApiException

from meshverdict.chaos.rollout import has_sidecar
from meshverdict.chaos.survey import wanted_memory
from meshverdict.model.errors import LabError

if TYPE_CHECKING:
    from meshverdict.chaos.canary import Canary
    from meshverdict.chaos.cluster import KubeAccess
    from meshverdict.chaos.lab import Wanted
    from meshverdict.chaos.survey import Survey

MESHED: Final = "Istio"
APP_IMAGE: Final = "meshverdict/app"
LOAD_IMAGE: Final = "meshverdict/load"
# What load pods and probers ask for beside the lab's own workloads, bytes.
_MEASURING: Final = 256 * 2**20
# verb, API group, resource, subresource: what a run does in the lab's namespaces ...
_RUNS: Final = (
    ("create", "", "pods", ""),
    ("create", "", "pods", "exec"),
    ("create", "", "pods", "portforward"),
    ("get", "", "pods", "log"),
    ("create", "", "configmaps", ""),
    ("create", "batch", "jobs", ""),
    ("create", "networking.k8s.io", "networkpolicies", ""),
)
# ... and what `up` does beside it.
_PREPARES: Final = (
    ("create", "", "namespaces", ""),
    ("create", "apps", "deployments", ""),
    ("create", "rbac.authorization.k8s.io", "clusterroles", ""),
    ("create", "networking.k8s.io", "ingressclasses", ""),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        ok: None when it could not be found out.
        detail: What was found.
        remedy: What to do when it is not ok.
        needed: Whether the lab cannot be without it.
    """

    what: str
    ok: bool | None
    detail: str
    remedy: str = ""
    needed: bool = False

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def findings(survey: Survey, manifests: Sequence[Mapping[str, Any]], *, context: str) -> list[Finding]:
    """Everything that a survey says about a cluster's fitness for the manifests. Pure."""
    return [
        Finding("Kubernetes", ok=True, detail=survey.version or "of unknown version"),
        _plugin(survey),
        _istio(survey),
        *_classes(survey, manifests),
        *(_image(survey, name, context) for name in _own_images(manifests)),
        _memory(survey, manifests),
        _zones(survey),
    ]


def obstacles(found: Sequence[Finding]) -> list[str]:
    """What keeps the lab from being there at all, one line each."""
    return [f"{f.what}: {f.detail}; {f.remedy}" for f in found if f.needed and f.ok is False]


def render(found: Sequence[Finding]) -> str:
    """A line for each finding, with its way out below where it is not ok."""
    marks = {True: "ok  ", False: "MISS", None: "?   "}
    lines = []
    for finding in found:
        lines.append(f"{marks[finding.ok]} {finding.what}: {finding.detail}")
        if finding.ok is not True and finding.remedy:
            lines.append(f"       {finding.remedy}")
    return "\n".join(lines)


def _plugin(survey: Survey) -> Finding:
    remedy = (
        "without Cilium a run has no flow log, so who was dropped is not seen. Install it: docs/minikube.md,"
        " docs/kind.md, docs/eks.md"
    )
    if survey.plugins is None:
        return Finding("network plug-in", ok=None, detail="may not be looked at", remedy=remedy)
    if not survey.plugins:
        return Finding("network plug-in", ok=None, detail="none of those that are known here", remedy=remedy)
    listed = ", ".join(survey.plugins)
    return Finding("network plug-in", ok="Cilium" in listed, detail=listed, remedy=remedy)


def _istio(survey: Survey) -> Finding:
    remedy = (
        "needed by experiments whose name has `mesh` in it, or whose treatment is Istio's. Install it: istioctl"
        " install --set profile=minimal -y (see docs/minikube.md)"
    )
    if survey.istio is None:
        return Finding(MESHED, ok=None, detail="may not be looked at", remedy=remedy)
    if not survey.istio:
        return Finding(MESHED, ok=False, detail="no istiod in this cluster", remedy=remedy)
    detail = f"istiod {survey.istio}; its root namespace {survey.istio_root} is never written to"
    return Finding(MESHED, ok=True, detail=detail)


def _classes(survey: Survey, manifests: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """The ingress classes that the manifests use: their own, or the cluster's."""
    own = {
        m["metadata"]["name"]: str((m.get("spec") or {}).get("controller", ""))
        for m in manifests
        if m["kind"] == "IngressClass"
    }
    used = [(m.get("spec") or {}).get("ingressClassName") for m in manifests if m["kind"] == "Ingress"]
    return [_class(survey, str(name), own) for name in dict.fromkeys([*own, *filter(None, used)])]


def _class(survey: Survey, name: str, own: Mapping[str, str]) -> Finding:
    what = f"ingress class {name}"
    there = survey.classes
    if name in own:
        if there is not None and there.get(name, own[name]) != own[name]:
            detail = f"belongs to {there[name]}, the lab's is {own[name]}"
            remedy = "rename the class in manifests/00-traefik and manifests/01-apache"
            return Finding(what, ok=False, detail=detail, remedy=remedy, needed=True)
        return Finding(what, ok=True, detail="comes with the manifests")
    if there is None:
        return Finding(what, ok=None, detail="may not be looked at")
    remedy = f"install an ingress controller of that class, or use one of: {', '.join(there) or 'none'}"
    return Finding(
        what,
        ok=name in there,
        detail="is there" if name in there else "is missing",
        remedy=remedy,
        needed=True,
    )


def _own_images(manifests: Sequence[Mapping[str, Any]]) -> list[str]:
    """The images that no registry has: this project's, and those of the load."""
    used = [
        str(c.get("image", ""))
        for m in manifests
        for c in ((((m.get("spec") or {}).get("template") or {}).get("spec")) or {}).get("containers") or ()
    ]
    return [*dict.fromkeys(i for i in used if i.startswith(APP_IMAGE)), LOAD_IMAGE]


def _image(survey: Survey, name: str, context: str) -> Finding:
    what = f"image {name}"
    if survey.has_image(name):
        return Finding(what, ok=True, detail="is on a node")
    remedy = f"`meshverdict images --build --context {context}` prints the commands that build and load it"
    return Finding(
        what, ok=None, detail="no node says that it has it (nodes name their 50 largest)", remedy=remedy
    )


def _memory(survey: Survey, manifests: Sequence[Mapping[str, Any]]) -> Finding:
    wanted = wanted_memory(manifests) + _MEASURING
    text = f"the lab asks for {_mib(wanted)}"
    if survey.nodes is None or survey.requested is None:
        return Finding("memory", ok=None, detail=f"{text}; what is free may not be looked at")
    # A lab that is there already, and is brought up again, needs no second place.
    places = {str(m["metadata"].get("namespace")) for m in manifests}
    there = sum(size for name, size in survey.requested_in.items() if name in places)
    free = sum(node.memory for node in survey.nodes) - survey.requested + there
    remedy = "give it more (minikube start --memory 6g), or add a node"
    return Finding(
        "memory",
        ok=free >= wanted,
        detail=f"{text}, {_mib(max(0, free))} are free",
        remedy=remedy,
        needed=True,
    )


def _mib(count: int) -> str:
    return f"{count // 2**20} MiB"


def _zones(survey: Survey) -> Finding:
    remedy = "experiments on zones need two: kubectl label node NODE topology.kubernetes.io/zone=zone-a (and zone-b)"
    if survey.nodes is None:
        return Finding("zones", ok=None, detail="nodes may not be looked at", remedy=remedy)
    detail = ", ".join(survey.zones) or "no node has a zone"
    return Finding("zones", ok=len(survey.zones) > 1, detail=detail, remedy=remedy)


def rights(access: KubeAccess, lab: Sequence[str] = ()) -> Finding:
    """Whether we may do what `up` does, or what a run does where there is a lab; asked of the cluster itself.

    Args:
        access: The cluster.
        lab: The lab's namespaces; none means that `up` has yet to make them.
    """
    api = client.AuthorizationV1Api(access.api)
    missing = []
    wanted = [(right, place) for place in lab for right in _RUNS]
    for (verb, group, resource, subresource), place in wanted or [(r, "") for r in (*_PREPARES, *_RUNS)]:
        asked = {
            "verb": verb,
            "group": group,
            "resource": resource,
            "subresource": subresource,
            "namespace": place,
        }
        body = {"spec": {"resourceAttributes": {k: v for k, v in asked.items() if v}}}
        try:
            answer = access.json(api.create_self_subject_access_review, body)
        except ApiException as error:
            return Finding("rights", ok=None, detail=f"cannot be asked for ({error.status} {error.reason})")
        if not (answer.get("status") or {}).get("allowed"):
            what = f"{verb} {resource}{'/' + subresource if subresource else ''}"
            missing.append(f"{what} in {place}" if place else what)
    remedy = "`meshverdict access` prints an account with what a runner needs in a lab; `up` needs an administrator"
    detail = f"missing: {', '.join(missing)}" if missing else f"all that {'a run' if lab else '`up`'} needs"
    return Finding("rights", ok=not missing, detail=detail, remedy=remedy, needed=True)


def enforcement(canary: Canary | None) -> Finding:
    """What the canary found."""
    what = "network policy"
    if canary is None:
        return Finding(
            what, ok=None, detail="not tried: there is no lab yet", remedy="`meshverdict up` tries it"
        )
    if canary.enforced is None:
        return Finding(what, ok=None, detail=f"could not be tried: {canary.why}")
    if canary.enforced:
        return Finding(what, ok=True, detail=canary.words)
    remedy = (
        "policies are accepted and do nothing here, so an experiment with a NetworkPolicy finds its claim untrue."
        " Use a network plug-in that enforces them: minikube start --cni=cilium; on EKS switch the VPC CNI's"
        " enableNetworkPolicy on, or install Cilium (docs/eks.md)"
    )
    return Finding(what, ok=False, detail=canary.words, remedy=remedy)


def build_commands(context: str) -> list[str]:
    """Commands that build this project's images and bring them to the cluster of a context. Pure.

    Args:
        context: minikube's profile, or ``kind-NAME``; any other cluster pulls from a registry.
    """
    app, load = f"{APP_IMAGE}:0.1", LOAD_IMAGE
    build = [f"docker build -t {app} app/", f"docker build -f meshverdict/load/Dockerfile -t {load} ."]
    if context.startswith("kind-"):
        name = context.removeprefix("kind-")
        return [*build, *(f"kind load docker-image {image} --name {name}" for image in (app, load))]
    if context == "minikube" or _is_minikube(context):
        return [*build, *(f"minikube image load {image} -p {context}" for image in (app, load))]
    return [
        *build,
        *(f"docker tag {image} REGISTRY/{image} && docker push REGISTRY/{image}" for image in (app, load)),
        "# then write REGISTRY/ before the image in manifests/03-app/C-02-app-dpl.yaml,",
        f"# and export MESHVERDICT_LOAD_IMAGE=REGISTRY/{load}",
    ]


def _is_minikube(context: str) -> bool:
    return context.startswith("minikube")


def refuse_unlike(
    wanted: Wanted, pods: Sequence[Mapping[str, Any]], zones: Sequence[str], context: str
) -> None:
    """Refuse a real cluster that is not what an experiment needs. Pure.

    Args:
        wanted: What the experiment needs; how a cluster denies packets, and its delays, are what they are.
        pods: Of the lab's namespaces.
        zones: Of the nodes.
        context: For the message.

    Raises:
        LabError: With the commands that make it so.
    """
    if wanted.zones is not None and len(zones) < wanted.zones:
        raise LabError(
            f"the experiment needs {wanted.zones} zones, context {context} has {len(zones) or 'none'}"
            f" ({', '.join(zones) or 'no node is labelled'}): kubectl --context {context} label node NODE"
            " topology.kubernetes.io/zone=zone-a, and so on"
        )
    bare = sorted({p["metadata"]["namespace"] for p in pods if not has_sidecar(p)})
    meshed = sorted({p["metadata"]["namespace"] for p in pods if has_sidecar(p)})
    if wanted.sidecars and not meshed:
        raise LabError(
            "the experiment needs sidecars, and no pod of the lab has one. With Istio installed: kubectl --context"
            f" {context} label namespace {' '.join(bare)} istio-injection=enabled, then for each of them kubectl"
            f" --context {context} rollout restart deployment,daemonset -n NAMESPACE"
        )
    if wanted.sidecars is False and meshed:
        raise LabError(
            f"the experiment needs a lab without sidecars, and pods of {', '.join(meshed)} have one: kubectl --context"
            f" {context} label namespace {' '.join(meshed)} istio-injection- , then restart their workloads"
        )


def refuse_unfit(found: Sequence[Finding]) -> None:
    """Refuse a cluster that the lab cannot be on.

    Raises:
        LabError: Naming everything that is missing, and the way out; nothing was written.
    """
    missing = obstacles(found)
    if missing:
        raise LabError("nothing was written, because of what this cluster lacks: " + "; ".join(missing))
