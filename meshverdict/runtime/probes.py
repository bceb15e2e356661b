"""Probes of a container: asked from the pod's node, counted by Kubernetes' thresholds."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

Dial = Callable[[str, int], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
Execute = Callable[[list[str], float], Awaitable[tuple[int, str]]]

# A container that has just started is asked this often until its first good answer, so that the lab is
# up in seconds; the thresholds count at the period that the pod asks for.
EAGER_S: Final = 0.1
EAGER_FOR_S: Final = 10.0
_MAX_BODY: Final = 10 << 10


@dataclass(frozen=True, slots=True)
class Outcome:
    """One answer; *message* says what was wrong."""

    ok: bool
    message: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """A probe's numbers, seconds and counts, with Kubernetes' defaults."""

    initial_delay: float
    period: float
    timeout: float
    success: int
    failure: int

    @classmethod
    def of(cls, probe: Mapping[str, Any]) -> Settings:
        """From a manifest."""
        return cls(
            initial_delay=probe.get("initialDelaySeconds") or 0,
            period=probe.get("periodSeconds") or 10,
            timeout=probe.get("timeoutSeconds") or 1,
            success=probe.get("successThreshold") or 1,
            failure=probe.get("failureThreshold") or 3,
        )


class Counter:
    """Turns single answers into a verdict: so many in a row change it."""

    def __init__(self, settings: Settings, *, verdict: bool | None) -> None:
        self._settings = settings
        self._last: bool | None = None
        self._run = 0
        self.verdict = verdict

    def count(self, ok: bool) -> bool | None:  # noqa: FBT001 - the answer
        """Take one answer; returns the verdict after it."""
        self._run = self._run + 1 if ok == self._last else 1
        self._last = ok
        needed = self._settings.success if ok else self._settings.failure
        if self._run >= needed:
            self.verdict = ok
        return self.verdict


def port_number(container: Mapping[str, Any], port: Any) -> int:
    """A port by number or by the container's name for it."""
    if isinstance(port, int) or str(port).isdigit():
        return int(port)
    for named in container.get("ports") or ():
        if named.get("name") == port:
            return int(named["containerPort"])
    raise ValueError(f"unknown port name {port!r} in container {container['name']}")


async def ask(
    probe: Mapping[str, Any], container: Mapping[str, Any], address: str, dial: Dial, execute: Execute
) -> Outcome:
    """Ask once, within the probe's timeout."""
    timeout = Settings.of(probe).timeout
    try:
        if action := probe.get("exec"):
            return await _exec(list(action["command"]), timeout, execute)
        async with asyncio.timeout(timeout):
            if action := probe.get("httpGet"):
                return await _http(action, container, address, dial)
            if action := probe.get("tcpSocket"):
                port = port_number(container, action["port"])
                _, writer = await dial(action.get("host") or address, port)
                writer.close()
                return Outcome(ok=True)
    except TimeoutError:
        return Outcome(ok=False, message=_timeout_text(probe, container, address))
    except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        return Outcome(ok=False, message=_error_text(probe, container, address, error))
    return Outcome(
        ok=False, message="gRPC probes are not supported by the embedded lab; use httpGet or tcpSocket"
    )


async def _exec(command: list[str], timeout: float, execute: Execute) -> Outcome:  # noqa: ASYNC109 - it kills the command
    status, output = await execute(command, timeout)
    return Outcome(ok=status == 0, message=output.strip())


async def _http(action: Mapping[str, Any], container: Mapping[str, Any], address: str, dial: Dial) -> Outcome:
    host = action.get("host") or address
    port = port_number(container, action["port"])
    headers = {h["name"]: h.get("value", "") for h in action.get("httpHeaders") or ()}
    lowered = {name.lower() for name in headers}
    if "host" not in lowered:
        headers["Host"] = f"{host}:{port}"
    if "user-agent" not in lowered:
        headers["User-Agent"] = "kube-probe/1.36"
    headers |= {"Accept": "*/*", "Connection": "close"}
    path = action.get("path") or "/"
    if not path.startswith("/"):
        path = "/" + path
    request = f"GET {path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items()) + "\r\n"
    reader, writer = await dial(host, port)
    try:
        if action.get("scheme") == "HTTPS":
            # As Kubernetes: a probe does not check certificates.
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            await writer.start_tls(context)
        writer.write(request.encode())
        await writer.drain()
        head = await reader.readuntil(b"\r\n")
        parts = head.split(None, 2)
        if len(parts) < 2 or not parts[0].startswith(b"HTTP/"):
            raise ValueError(f"malformed HTTP response {head[:60]!r}")
        status = int(parts[1])
    finally:
        writer.close()
    if 200 <= status < 400:
        return Outcome(ok=True)
    return Outcome(ok=False, message=f"HTTP probe failed with statuscode: {status}")


def _where(probe: Mapping[str, Any], container: Mapping[str, Any], address: str) -> tuple[str, str]:
    action = probe.get("httpGet") or probe.get("tcpSocket") or {}
    host = action.get("host") or address
    try:
        port = str(port_number(container, action.get("port", 0)))
    except ValueError:
        port = str(action.get("port"))
    scheme = str(action.get("scheme") or "HTTP").lower()
    return f"{host}:{port}", f"{scheme}://{host}:{port}{action.get('path') or '/'}"


def _timeout_text(probe: Mapping[str, Any], container: Mapping[str, Any], address: str) -> str:
    place, url = _where(probe, container, address)
    if probe.get("httpGet"):
        return f'Get "{url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)'
    return f"dial tcp {place}: i/o timeout"


def _error_text(
    probe: Mapping[str, Any], container: Mapping[str, Any], address: str, error: BaseException
) -> str:
    place, url = _where(probe, container, address)
    text = (
        f"dial tcp {place}: connect: connection refused"
        if isinstance(error, ConnectionRefusedError)
        else str(error)
    )
    return f'Get "{url}": {text}' if probe.get("httpGet") else text


@dataclass(frozen=True, slots=True)
class Watch:
    """What a probe's loop calls.

    Attributes:
        verdict: Called with every verdict that has changed.
        failed: Called with the message of every failure that counts.
        eager: Ask more often until the first good answer (startup and readiness).
    """

    ask: Callable[[], Awaitable[Outcome]]
    verdict: Callable[[bool], None]
    failed: Callable[[str], None]
    eager: bool


async def watch(settings: Settings, watch: Watch, *, initial: bool | None) -> None:
    """Ask for ever at the probe's period; ends by cancellation."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(settings.initial_delay)
    counter = Counter(settings, verdict=initial)
    begun = due = loop.time()
    answered = False
    while True:
        outcome = await watch.ask()
        now = loop.time()
        regular = now >= due
        hurried = watch.eager and not answered and now - begun < EAGER_FOR_S
        answered = answered or outcome.ok
        if regular or outcome.ok:
            before = counter.verdict
            after = counter.count(outcome.ok)
            if not outcome.ok:
                watch.failed(outcome.message)
            if after != before and after is not None:
                watch.verdict(after)
            due = now + settings.period
        wait = due - loop.time()
        if hurried and not outcome.ok:
            wait = min(wait, EAGER_S)
        await asyncio.sleep(max(0.0, wait))
