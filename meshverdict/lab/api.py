"""The API server of a lab: identity, tokens, and the two doors - the machine's 127.0.0.1 and the world's address."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from meshverdict.cluster.auth import AUDIENCE, Authenticator
from meshverdict.cluster.http.server import make_app, serve
from meshverdict.cluster.objects import Objects
from meshverdict.cluster.store import Manifest
from meshverdict.cluster.tls import kubeconfig, make_identity, write_private
from meshverdict.runtime.runtime import Runtime
from meshverdict.runtime.topology import API_PORT, WORLD_ADDRESS

if TYPE_CHECKING:
    from meshverdict.lab.keeper import Plan
    from meshverdict.runtime.keeper import WorldHandle

_BACKLOG = 512
_TOKEN_SECONDS = 365 * 24 * 3600


class Api:
    """The API of one lab; made before the runtime, which needs its tokens, and started after it."""

    def __init__(self, objects: Objects, plan: Plan, world: WorldHandle) -> None:
        self._objects = objects
        self._plan = plan
        self._door: socket.socket = world.sockets["api"]
        self._identity = make_identity()
        self._auth = Authenticator(objects.store)
        self._serving: asyncio.Task[None] | None = None

    @property
    def root_ca(self) -> str:
        """The authority's certificate, PEM."""
        return self._identity.ca

    @property
    def url(self) -> str:
        """Where the machine reaches the API."""
        return f"https://127.0.0.1:{self._plan.api_port}"

    def pod_token(self, pod: Manifest, audience: str, seconds: int) -> str:
        """A token of the pod's service account, bound to the pod.

        Raises:
            LookupError: The account has gone.
        """
        name = pod["spec"].get("serviceAccountName") or "default"
        account = self._objects.get("serviceaccounts", pod["metadata"]["namespace"], name)
        if account is None:
            raise LookupError(f"service account {pod['metadata']['namespace']}/{name} is not there")
        # A kubelet renews the files of tokens long before they end. These are not renewed, so they last as long as
        # Kubernetes lets the usual ones last by default (a year); a pod's own end ends them too.
        seconds = max(seconds, _TOKEN_SECONDS)
        token, _ = self._auth.issue(account, seconds=seconds, audiences=(audience or AUDIENCE,), pod=pod)
        return token

    async def start(self, runtime: Runtime) -> None:
        """Serve, and write the kubeconfig."""
        app = make_app(self._objects, self._auth, runtime.backend)
        # The world's own network namespace: pods come in here, through the Service `kubernetes`.
        inner = socket.create_server((WORLD_ADDRESS, API_PORT), backlog=_BACKLOG)
        context = self._identity.server_context()
        self._serving = asyncio.create_task(serve(app, [self._door, inner], context))
        text = kubeconfig(self.url, self._identity.ca, self._auth.admin_token)
        write_private(self._plan.state.kubeconfig, text)
