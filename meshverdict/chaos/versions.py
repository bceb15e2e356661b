"""Ask the lab's programs which version they are: an image's name is only what somebody called it."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any, Final

from urllib3.exceptions import HTTPError

from meshverdict.chaos.execute import execute
from meshverdict.model.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from meshverdict.chaos.cluster import KubeAccess

log = logging.getLogger("chaostoolkit")
TIMEOUT_S: Final = 5.0
# By the last part of an image's name: what to call the program, and commands that may tell.
_PROGRAMS: Final[dict[str, tuple[str, tuple[tuple[str, ...], ...]]]] = {
    "traefik": ("traefik", (("traefik", "version"),)),
    "httpd": ("apache", (("apache2", "-v"), ("httpd", "-v"))),
    "apache": ("apache", (("apache2", "-v"), ("httpd", "-v"))),
    "redis": ("redis", (("redis-server", "--version"),)),
    "envoy": ("envoy", (("envoy", "--version"),)),
    "proxyv2": ("envoy", (("envoy", "--version"),)),
    "app": ("gunicorn", (("python", "-m", "gunicorn", "--version"),)),
}
_VERSION = re.compile(r"\d+\.\d+(?:\.\d+)*")


def version_in(text: str) -> str | None:
    """The version in what a program says of itself.

    >>> version_in("Server version: Apache/2.4.71 (Debian)"), version_in("Redis server v=7.0.15 sha=0")
    ('2.4.71', '7.0.15')
    """
    found = _VERSION.search(text)
    return found[0] if found else None


def programs(access: KubeAccess, pods: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Program and version, as far as the pods tell; a program that cannot be asked is left out."""
    found: dict[str, str] = {}
    for pod, container, image in _containers(pods):
        name, commands = _PROGRAMS.get(_short(image), ("", ()))
        if name and name not in found:
            version = next((v for c in commands if (v := _ask(access, pod, container, c))), None)
            if version is not None:
                found[name] = version
    return found


def _containers(pods: Iterable[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], str, str]]:
    for pod in pods:
        if (pod.get("status") or {}).get("phase") == "Running":
            for container in pod["spec"].get("containers") or ():
                yield pod["metadata"], str(container["name"]), str(container.get("image", ""))


def _short(image: str) -> str:
    return image.rsplit("/", 1)[-1].partition("@")[0].partition(":")[0]


def _ask(access: KubeAccess, pod: Mapping[str, Any], container: str, command: tuple[str, ...]) -> str | None:
    try:
        said = execute(access, pod["namespace"], pod["name"], container, command, timeout=TIMEOUT_S)
    except (LabError, HTTPError) as error:
        log.debug("%s in %s cannot be asked: %r", command[0], pod["name"], error)
        return None
    return version_in(said)
