"""What chaosk8s takes without a word and then does not do: measured with its version 0.39."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from meshverdict.chaos.lint.document import Place
from meshverdict.chaos.lint.findings import Activity, Subject, as_object, is_number, shown
from meshverdict.chaos.lint.variables import single_variable, uses
from meshverdict.model.errors import MeshverdictError
from meshverdict.model.paths import data_folder

_CRD: Final = "chaosk8s.crd.actions"
_OWN: Final = (
    "use create_custom_object and delete_custom_object, or apply_manifests of meshverdict.chaos.actions"
)
_BROKEN: Final = {
    (_CRD, "replace_custom_object"): "the kubernetes client refuses the call, and nothing is sent",
    (_CRD, "replace_cluster_custom_object"): "the kubernetes client refuses the call, and nothing is sent",
    (_CRD, "apply_from_json"): "the kubernetes client refuses the call, and nothing is sent",
    (_CRD, "apply_from_yaml"): "the kubernetes client refuses the call, and nothing is sent",
}
_FRAGILE: Final = {
    ("chaosk8s.deployment.probes", "deployment_partially_available"): (
        "it raises, instead of answering false, while no replica is available",
        "use deployment_fully_available or deployment_not_fully_available",
    ),
    ("chaosk8s.node.actions", "drain_nodes"): (
        "it fails at the first pod without volumes",
        "cordon the node with cordon_node and evict its pods with terminate_pods",
    ),
}
_OUR_CONTROL: Final = "meshverdict.chaos.control"
_DATA: Final = ("manifests", "locustfiles")


def check(subject: Subject) -> None:
    """Every python activity of chaosk8s, and the files that our own actions name."""
    for activity in subject.every_activity():
        module, name = activity.provider.get("module"), activity.provider.get("func")
        if not isinstance(module, str) or not isinstance(name, str):
            continue
        if module.startswith("chaosk8s"):
            _function(subject, activity, module, name)
            _specification(subject, activity, name)
        _files(subject, activity, module)


def _function(subject: Subject, activity: Activity, module: str, name: str) -> None:
    place: Place = (*activity.place, "provider", "func")
    if (module, name) in _BROKEN:
        subject.found.say("broken-function", place, f"{name} is broken: {_BROKEN[module, name]}", _OWN)
    is_patch = module == _CRD and name in {"patch_custom_object", "patch_cluster_custom_object"}
    if is_patch and isinstance(activity.arguments.get("resource"), dict):
        subject.found.say(
            "broken-function",
            (*activity.place, "provider", "arguments", "resource"),
            f"{name} is broken with an object: it is sent as a JSON patch, which is a list, and refused (415)",
            'write "resource" as a list of JSON patch operations',
        )
    if (module, name) in _FRAGILE:
        why, fix = _FRAGILE[module, name]
        subject.found.say("fragile-function", place, f"{name}: {why}", fix)
    if name == "exec_in_pods" and not activity.arguments.get("container_name"):
        subject.found.say(
            "exec-without-container",
            (*activity.place, "provider"),
            "exec_in_pods without container_name runs nothing and answers [], without a word",
            'add "container_name" to the arguments',
        )


def _specification(subject: Subject, activity: Activity, name: str) -> None:
    if name == "create_network_policy" and not (
        activity.arguments.get("spec_path") or activity.arguments.get("spec")
    ):
        subject.found.say(
            "no-specification",
            (*activity.place, "provider"),
            "create_network_policy has neither spec nor spec_path: nothing is created",
            'add "spec_path" with a file, or "spec" with the whole NetworkPolicy',
        )


def _files(subject: Subject, activity: Activity, module: str) -> None:
    wanted: list[tuple[Place, Any]] = []
    here: Place = (*activity.place, "provider", "arguments")
    if module.startswith("chaosk8s"):
        wanted = [
            ((*here, key), activity.arguments.get(key)) for key in ("spec_path", "resource_as_yaml_file")
        ]
    elif module == "meshverdict.chaos.actions":
        paths = activity.arguments.get("paths")
        listed = paths if isinstance(paths, list) else [paths]
        wanted = [((*here, "paths", index), path) for index, path in enumerate(listed)]
    for place, path in wanted:
        if isinstance(path, str) and path:
            _exists(subject, place, path, silent=module.startswith("chaosk8s"))


def _exists(subject: Subject, place: Place, path: str, *, silent: bool) -> None:
    candidates = list(_candidates(subject, path))
    if not candidates or any(_is_there(c) for c in candidates):
        return
    looked = " and ".join(dict.fromkeys(str(c) for c in candidates))
    effect = ", and chaosk8s then goes on without any specification" if silent else ""
    subject.found.say(
        "missing-manifest",
        place,
        f"there is no file {looked}{effect}",
        "correct the path; `${manifests}/...` is looked for beside the experiment",
    )


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _candidates(subject: Subject, path: str) -> Iterator[Path]:
    """Where the file would be looked for; nothing when that is known only at the run."""
    text = path
    for name in dict.fromkeys(name for name, _ in uses(path)):
        value = subject.configuration.get(name)
        if isinstance(value, dict) and value.get("type") == "env":
            value = subject.environ.get(str(value.get("key")), value.get("default"))
        if isinstance(value, bool) or not (isinstance(value, str) or is_number(value)):
            return
        text = text.replace(f"${{{name}}}", str(value))
    if single_variable(text) or "\0" in text:
        return
    # Our control looks for its folders beside the experiment, then in the installation.
    yield subject.folder / text
    yield Path.cwd() / text
    for folder in _DATA:
        prefix = f"${{{folder}}}/"
        declared = subject.configuration.get(folder)
        if (
            path.startswith(prefix)
            and isinstance(declared, str)
            and Path(declared).name == folder
            and _ours(subject)
        ):
            try:
                yield data_folder(folder) / path.removeprefix(prefix)
            except MeshverdictError:
                continue


def _ours(subject: Subject) -> bool:
    providers = (as_object(as_object(c).get("provider")) for _, c in subject.controls())
    return any(p.get("module") == _OUR_CONTROL for p in providers)


def check_secrets(subject: Subject) -> None:
    """Secrets that make chaosk8s act on another cluster than the one that was named for the run."""
    for group, values in as_object(subject.experiment.get("secrets")).items():
        for key in as_object(values):
            if key.startswith("KUBERNETES_"):
                subject.found.say(
                    "secret-selects-cluster",
                    ("secrets", group, key),
                    f"{key} makes these activities choose a cluster by themselves ({shown(group)}), perhaps not the"
                    " one that the run is for",
                    "take it out and name the cluster with `meshverdict run --context NAME`",
                )
