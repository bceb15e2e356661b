"""The command line's own short questions to the embedded API: standard library only, so that they are quick."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from meshverdict.model.errors import LabError

TIMEOUT_S = 10.0


class ApiClient:
    """GET requests with a lab's kubeconfig.

    Args:
        kubeconfig: File written by the lab: certificate authority and token inside.
    """

    def __init__(self, kubeconfig: Path | str) -> None:
        config = yaml.safe_load(Path(kubeconfig).read_text())
        cluster = config["clusters"][0]["cluster"]
        self.server: str = cluster["server"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._token: str = config["users"][0]["user"]["token"]
        context = ssl.create_default_context(cadata=authority)
        # No proxy from the environment: the API is on this machine's loopback.
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )

    def get(self, path: str) -> dict[str, Any]:
        """The JSON answer to GET *path*."""
        request = urllib.request.Request(self.server + path)  # noqa: S310 - the server is the lab's own https URL
        request.add_header("Authorization", f"Bearer {self._token}")
        request.add_header("Accept", "application/json")
        try:
            with self._opener.open(request, timeout=TIMEOUT_S) as answer:
                loaded: dict[str, Any] = json.load(answer)
                return loaded
        except urllib.error.HTTPError as error:
            raise LabError(
                f"the lab's API answered {error.code} to GET {path}: {error.read(500).decode(errors='replace')}"
            ) from error
        except (
            OSError,
            ValueError,
            http.client.HTTPException,
        ) as error:  # gone, or going in the middle of its answer
            raise LabError(
                f"the lab's API at {self.server} does not answer ({error}); see `meshverdict status`"
            ) from error
