"""The one Kubernetes client of a run, from an explicit kubeconfig, and chaosk8s pointed at the same cluster.

The libraries fall back silently: no kubeconfig means http://localhost, KUBECONFIG is read when
``kubernetes`` is imported, HTTP_PROXY takes loopback traffic elsewhere. So a run has a kubeconfig of
exactly one context, everything that could lead elsewhere is set aside for as long as the run lasts, and
chaosk8s is asked where it would go.
"""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.config import kube_config
from kubernetes.config.config_exception import ConfigException
from urllib3.exceptions import HTTPError

from meshverdict.chaos.kubeconfig import kubeconfig_of_context, write_private
from meshverdict.model.errors import LabError
from meshverdict.model.proxies import LOOPBACK, NO_PROXY, spare_loopback

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

TIMEOUT_S: Final = 10.0
LAB_LABEL: Final = "meshverdict.io/lab"
ISTIO_NAMESPACE: Final = "istio-system"
# Never the lab's, whatever labels somebody gives them: what is written here changes the whole cluster.
PROTECTED: Final = frozenset({"kube-system", "kube-public", "kube-node-lease", ISTIO_NAMESPACE})
# What chaosk8s and the client would take from the environment instead of the kubeconfig.
_MISLEADING: Final = ("KUBERNETES_CONTEXT", "KUBERNETES_HOST", "CHAOSTOOLKIT_IN_POD")
_NOWHERE: Final = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "",
    "clusters": [],
    "users": [],
    "contexts": [],
}


@dataclass(frozen=True)
class KubeAccess:
    """A cluster that was chosen, and its client.

    Attributes:
        kind: ``embedded`` or ``real``.
        context: Name of the kubeconfig's context.
        kubeconfig: A file with this context alone.
        api: The official client.
    """

    kind: str
    context: str
    kubeconfig: Path
    api: client.ApiClient

    @classmethod
    def open(cls, kubeconfig: Path, *, kind: str) -> KubeAccess:
        """A client for the current context of *kubeconfig*.

        Raises:
            LabError: The file cannot be read as a kubeconfig.
        """
        try:
            value = yaml.safe_load(kubeconfig.read_text())
            api = config.new_client_from_config_dict(value, value["current-context"])  # type: ignore[no-untyped-call]
        except (OSError, ValueError, yaml.YAMLError, ConfigException, KeyError, TypeError) as error:
            raise LabError(f"kubeconfig {kubeconfig}: cannot be used ({error})") from error
        if any(name in api.configuration.host for name in LOOPBACK):
            api.configuration.proxy = None
            api = client.ApiClient(api.configuration)
        return cls(kind, value["current-context"], kubeconfig, api)

    @property
    def host(self) -> str:
        """URL of the API server."""
        return str(self.api.configuration.host)

    @property
    def core(self) -> client.CoreV1Api:
        """Pods, namespaces, services, config maps."""
        return client.CoreV1Api(self.api)

    @property
    def networking(self) -> client.NetworkingV1Api:
        """Network policies, ingresses."""
        return client.NetworkingV1Api(self.api)

    def json(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> dict[str, Any]:
        """The answer to one of the client's methods as JSON values: no models between us and the manifest.

        Raises:
            ApiException: The server refused.
        """
        answer = call(*arguments, _preload_content=False, _request_timeout=TIMEOUT_S, **options)
        loaded: dict[str, Any] = json.loads(answer.data)
        return loaded

    def page(self, path: str, query: Mapping[str, str], *, timeout_s: float = TIMEOUT_S) -> str:
        """The text at a path of the API server: the client's own pod proxy cannot pass a query on.

        Raises:
            LabError: The server answers with an error.
            HTTPError: It does not answer.
        """
        settings = self.api.configuration.auth_settings().values()
        headers = {s["key"]: s["value"] for s in settings if s["in"] == "header" and s["value"]}
        answer = self.api.rest_client.pool_manager.request(
            "GET", self.host + path, fields=dict(query), headers=headers, timeout=timeout_s, retries=False
        )
        text = answer.data.decode(errors="replace")
        if answer.status != 200:
            raise LabError(f"GET {path}: {answer.status} {text[:200]}")
        return str(text)

    def version(self) -> str:
        """The server's version, such as v1.31.0."""
        return str(self.json(client.VersionApi(self.api).get_code).get("gitVersion", ""))

    def lab_namespaces(self) -> dict[str, dict[str, str]]:
        """The namespaces that may be touched, with their labels."""
        found = self.json(self.core.list_namespace, label_selector=f"{LAB_LABEL}=true")
        never = PROTECTED | {root_namespace(self)}
        return {
            i["metadata"]["name"]: dict(i["metadata"].get("labels") or {})
            for i in found["items"]
            if i["metadata"]["name"] not in never
        }


def root_namespace(access: KubeAccess) -> str:
    """Istio's root namespace: an EnvoyFilter in it is in force in every sidecar of the cluster.

    It is ``rootNamespace`` of the mesh configuration, by default istio-system; that it cannot be read changes
    nothing, since istio-system is protected in any case.
    """
    try:
        mesh = access.json(access.core.read_namespaced_config_map, "istio", ISTIO_NAMESPACE)
        config = yaml.safe_load((mesh.get("data") or {}).get("mesh") or "{}")
    except (ApiException, yaml.YAMLError):
        return ISTIO_NAMESPACE
    return str((config or {}).get("rootNamespace") or ISTIO_NAMESPACE)


@contextmanager
def opened(context: str) -> Iterator[KubeAccess]:
    """The cluster of a context that is looked up in KUBECONFIG, else in ``~/.kube/config``.

    Raises:
        UsageError: There is no such context.
        LabError: Its kubeconfig cannot be used; or within the block the cluster refused something, or went away.
    """
    sources = os.environ.get("KUBECONFIG") or "~/.kube/config"
    named_by = "MESHVERDICT_CONTEXT=" if os.environ.get("MESHVERDICT_CONTEXT") == context else "--context "
    with tempfile.TemporaryDirectory(prefix="meshverdict-") as folder:
        alone = kubeconfig_of_context(context, Path(folder), sources, named_by=named_by)
        access = KubeAccess.open(alone, kind="real")
        with answering(access):
            yield access


@contextmanager
def answering(access: KubeAccess) -> Iterator[KubeAccess]:
    """Let a cluster's refusals, and its silence, be errors that name it.

    Raises:
        LabError: The cluster refused something within the block, or could not be reached.
    """
    try:
        yield access
    except (ApiException, HTTPError) as error:
        raise LabError(f"context {access.context}, {access.host}: {short(error)}") from error


def short(error: Exception) -> str:
    """What a refusal says, in a line: the server's own message where there is one."""
    said = getattr(error, "body", None)
    try:
        message = json.loads(said)["message"] if said else None
    except (ValueError, KeyError, TypeError):
        message = None
    return " ".join(str(message or getattr(error, "reason", None) or error).split())[:200]


@contextmanager
def only_reaching() -> Iterator[Aim]:
    """Let no library reach any cluster until the block aims at one; everything is put back afterwards."""
    names = ("KUBECONFIG", *NO_PROXY, *_MISLEADING)
    before = {name: os.environ.get(name) for name in names}
    location = kube_config.KUBE_CONFIG_DEFAULT_LOCATION
    default = client.Configuration._default  # noqa: SLF001 - the library has no getter that does not copy
    with tempfile.TemporaryDirectory(prefix="meshverdict-") as scratch:
        aim = Aim(Path(scratch))
        for name in _MISLEADING:
            os.environ.pop(name, None)
        aim.at(write_private(Path(scratch) / "nowhere", _NOWHERE))
        try:
            yield aim
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
            kube_config.KUBE_CONFIG_DEFAULT_LOCATION = location
            client.Configuration._default = default  # noqa: SLF001 - see above


@dataclass(frozen=True)
class Aim:
    """Where every Kubernetes library of this process is pointed.

    Attributes:
        scratch: A private folder that lasts as long as the aim.
    """

    scratch: Path

    def at(self, kubeconfig: Path) -> None:
        """Point all libraries at the current context of *kubeconfig*."""
        os.environ["KUBECONFIG"] = str(kubeconfig)
        # Read once, when `kubernetes` was imported: long before any control runs.
        kube_config.KUBE_CONFIG_DEFAULT_LOCATION = str(kubeconfig)

    def at_cluster(self, access: KubeAccess) -> None:
        """Point all libraries at *access*, and make sure that chaosk8s would go there.

        Raises:
            LabError: It would not.
        """
        self.at(access.kubeconfig)
        if any(name in access.host for name in LOOPBACK):
            spare_loopback()
        from chaosk8s import create_k8s_api_client  # noqa: PLC0415 - it imports all of chaosk8s

        theirs = str(create_k8s_api_client().configuration.host)
        if theirs != access.host:
            raise LabError(
                f"chaosk8s would talk to {theirs}, not to the chosen cluster {access.host}; nothing was"
                " touched. Unset HTTP_PROXY and the KUBERNETES_ variables, then run again"
            )
