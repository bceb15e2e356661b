"""Zone affinity as experiments act on it: its forms, the app's kind of connections, commands in pods.

Connections that are open already stay where they are when affinity comes, so an experiment has them made anew
(``run_in_pods`` with ``CLIENT KILL``), in both arms of a campaign.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from kubernetes.client import AppsV1Api
from kubernetes.client.exceptions import ApiException

from meshverdict.chaos.affinity import FORMS, objects_of, within, without
from meshverdict.chaos.execute import Place, execute_in_all, refused_by_redis
from meshverdict.chaos.manifests import Objects
from meshverdict.chaos.rollout import await_rollout
from meshverdict.chaos.session import current
from meshverdict.model.errors import LabError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_EXEC_TIMEOUT_S: Final = 20.0


def set_affinity(form: str, manifests: str) -> str:
    """Keep callers in their zone in one of the forms that there are, or in none; what another form made is removed.

    Args:
        form: "none", "same-zone", "same-zone-shards", "prefer-close", "strict" (kube-proxy), "distribute", "failover", "labels" or "labels-http"
            (the mesh): manifests/policies/az-FORM.yaml.
        manifests: Folder of all manifests.
    """
    session = current()
    wanted = objects_of(manifests, form)
    there = [m for f in FORMS for m in objects_of(manifests, f) if _place(m) in session.namespaces]
    outside = sorted({_place(m) for m in wanted} - set(session.namespaces))
    if outside:
        raise UsageError(f"affinity {form!r}: there is no namespace {outside[0]!r} labelled as the lab's")
    if session.ledger is not None:
        session.ledger.remember((m, _place(m)) for m in there)
    objects = Objects(session.access, session.scratch)
    kept = {_key(m) for m in wanted}
    for manifest in reversed(there):
        if manifest["kind"] != "Service" and _key(manifest) not in kept:
            objects.delete(manifest)
    for manifest in wanted:
        if manifest["kind"] != "Service":
            objects.apply(manifest)
    for key, fields in _service_fields(there, wanted).items():
        _patch_service(key, fields, needed=key in kept)
    return form


def _place(manifest: Mapping[str, Any]) -> str:
    return str(manifest["metadata"]["namespace"])


def _key(manifest: Mapping[str, Any]) -> tuple[str, str, str]:
    return manifest["kind"], manifest["metadata"]["namespace"], manifest["metadata"]["name"]


def _service_fields(
    there: Sequence[dict[str, Any]], wanted: Sequence[dict[str, Any]]
) -> dict[tuple[str, str, str], dict[str, Any]]:
    """What each Service is to have: every form's fields as they are without it, then those of the form that is wanted."""
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for fields_of, manifests in ((without, there), (within, wanted)):
        for manifest in manifests:
            if manifest["kind"] == "Service":
                found.setdefault(_key(manifest), {}).update(fields_of(manifest))
    return found


def _patch_service(key: tuple[str, str, str], fields: Mapping[str, Any], *, needed: bool) -> None:
    """Set these fields, and leave the rest of the Service as it is; one of another form need not be there."""
    access, (_, namespace, name) = current().access, key
    try:
        access.json(access.core.patch_namespaced_service, name, namespace, {"spec": dict(fields)})
    except ApiException as error:
        if needed or error.status != HTTPStatus.NOT_FOUND:
            raise


def set_environment(ns: str, name: str, values: dict[str, Any], timeout: float = 60.0) -> bool:
    """Set variables of a Deployment's first container, and wait until all its pods have them.

    They stay when the run ends: every run of an experiment that depends on them sets its own, which takes no time where
    they are right already.

    Args:
        ns: Namespace.
        name: Of the Deployment.
        values: Variables with their values.
        timeout: Seconds until the new pods serve and the old ones are gone.

    Returns:
        Whether anything had to change.
    """
    session = current()
    if ns not in session.namespaces:
        raise UsageError(f"namespace {ns!r} is not labelled meshverdict.io/lab=true, so it is not touched")
    access, apps = session.access, AppsV1Api(session.access.api)
    found = access.json(apps.read_namespaced_deployment, name, ns)
    container = found["spec"]["template"]["spec"]["containers"][0]
    before = {v["name"]: v.get("value") for v in container.get("env") or ()}
    wanted = {key: str(value) for key, value in values.items()}
    if all(before.get(key) == value for key, value in wanted.items()):
        return False
    env = [{"name": key, "value": value} for key, value in wanted.items()]
    template = {"spec": {"containers": [{"name": container["name"], "env": env}]}}
    access.json(apps.patch_namespaced_deployment, name, ns, {"spec": {"template": template}})
    await_rollout(access, [ns], timeout)
    return True


def run_in_pods(
    ns: str, command: list[str], container: str, label_selector: str | None = None
) -> dict[str, str]:
    """Run a command in a container of every pod that a selector matches; answers what each said.

    Args:
        ns: Namespace.
        command: Program and arguments; there is no shell unless it is the program.
        container: Name of the container.
        label_selector: Such as "topology.kubernetes.io/zone=zone-a".
    """
    session = current()
    if ns not in session.namespaces:
        raise UsageError(f"namespace {ns!r} is not labelled meshverdict.io/lab=true, so it is not touched")
    access = session.access
    options = {"label_selector": label_selector} if label_selector else {}
    pods = access.json(access.core.list_namespaced_pod, ns, **options)["items"]
    if not pods:
        raise UsageError(f"namespace {ns}: no pod matches {label_selector!r}, so nothing would be done")
    places = [Place(ns, pod["metadata"]["name"], container) for pod in pods]
    said = execute_in_all(access, places, command, timeout=_EXEC_TIMEOUT_S)
    found = {place.pod: text.strip() for place, text in zip(places, said, strict=True)}
    for pod, text in found.items():
        if refused_by_redis(text):
            raise LabError(f"pod {ns}/{pod}: {' '.join(command)} was refused: {text[-300:]}")
    return found
