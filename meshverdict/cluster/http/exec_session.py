"""``exec`` and ``attach`` over websockets: the channel protocols v5 and v4.

A message's first byte is its channel: 0 input, 1 output, 2 errors, 3 the final Status, 4 terminal size; in v5,
255 closes a channel.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any, Final

from aiohttp import WSMsgType, web

from meshverdict.cluster.backend import BackendError, ExecSession, LogOptions
from meshverdict.cluster.errors import ApiError, bad_request
from meshverdict.cluster.http import streams
from meshverdict.cluster.http.answers import encode
from meshverdict.cluster.http.call import Call
from meshverdict.cluster.http.resources import stored
from meshverdict.cluster.store import Manifest

PROTOCOLS: Final = ("v5.channel.k8s.io", "v4.channel.k8s.io")
_STDIN, _STDOUT, _STDERR, _ERROR, _RESIZE, _CLOSE = 0, 1, 2, 3, 4, 255
_CHUNK: Final = 32 * 1024
_SUCCESS: Final[dict[str, Any]] = {"metadata": {}, "status": "Success"}


async def handle(call: Call) -> web.StreamResponse:
    """``/exec`` or ``/attach``."""
    pod = stored(call)
    container = streams.choose_container(call, pod)
    streams.require_upgrade(call)
    command = call.request.query.getall("command", [])
    if call.route.subresource == "exec" and not command:
        raise bad_request("you must specify at least 1 command for the container")
    if not streams.running(pod):
        name = pod["metadata"]["name"]
        phase = (pod.get("status") or {}).get("phase", "Pending")
        raise ApiError(
            500 if phase in {"Succeeded", "Failed"} else 400,
            "BadRequest" if phase == "Pending" else "InternalError",
            f"cannot exec into a container in a completed pod; current phase is {phase}"
            if phase in {"Succeeded", "Failed"}
            else f"pod {name} does not have a host assigned"
            if not pod["spec"].get("nodeName")
            else f"container not found ({json.dumps(container)})",
        )
    if call.route.subresource == "attach":
        return await _attach(call, pod, container)
    try:
        session = await call.services.backend.exec(
            pod, container, command, stdin=call.flag("stdin"), tty=call.flag("tty")
        )
    except BackendError as error:
        raise bad_request(str(error)) from None
    try:
        socket = await _accept(call)
        await _Bridge(call, socket, session, command).run()
    finally:
        await session.close()
    return socket


async def _accept(call: Call) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(protocols=PROTOCOLS, max_msg_size=4 * 1024 * 1024)
    await socket.prepare(call.request)
    return socket


class _Bridge:
    """Carries bytes between a websocket and a command until the command ends."""

    def __init__(
        self, call: Call, socket: web.WebSocketResponse, session: ExecSession, command: list[str]
    ) -> None:
        self._call = call
        self._socket = socket
        self._session = session
        self._command = command

    async def run(self) -> None:
        outputs = [asyncio.create_task(self._pump(self._session.stdout, _STDOUT))]
        if self._session.stderr is not None:
            outputs.append(asyncio.create_task(self._pump(self._session.stderr, _STDERR)))
        reading = asyncio.create_task(self._read())
        ending = asyncio.create_task(self._session.wait())
        try:
            await asyncio.wait({ending, reading}, return_when=asyncio.FIRST_COMPLETED)
            if not ending.done():
                return  # the client has gone: the command is ended by whoever closes the session
            await asyncio.wait(outputs, timeout=2)
            with contextlib.suppress(ConnectionError):
                await self._socket.send_bytes(bytes([_ERROR]) + encode(self._result(ending.result())))
                await self._socket.close()
        finally:
            tasks = [*outputs, reading, ending]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _pump(self, stream: asyncio.StreamReader, channel: int) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await stream.read(_CHUNK):
                await self._socket.send_bytes(bytes([channel]) + data)

    async def _read(self) -> None:
        async for message in self._socket:
            if message.type is WSMsgType.BINARY:
                await self._take(message.data)
            elif message.type is WSMsgType.TEXT:
                await self._take(message.data.encode())

    async def _take(self, data: bytes) -> None:
        if not data:
            return
        channel, content = data[0], data[1:]
        stdin = self._session.stdin
        if channel == _STDIN and stdin is not None:
            with contextlib.suppress(ConnectionError):
                stdin.write(content)
                await stdin.drain()
        elif channel == _RESIZE:
            self._resize(content)
        elif channel == _CLOSE and content[:1] == bytes([_STDIN]) and stdin is not None:
            with contextlib.suppress(ConnectionError, OSError):
                stdin.close()

    def _resize(self, content: bytes) -> None:
        try:
            size = json.loads(content)
            self._session.resize(int(size["Height"]), int(size["Width"]))
        except (ValueError, KeyError, TypeError):
            return  # a size that cannot be read changes nothing

    def _result(self, status: int) -> dict[str, Any]:
        if status == 0:
            return _SUCCESS
        cause = {"reason": "ExitCode", "message": str(status)}
        text = f"command terminated with non-zero exit code: error executing command {self._command}, exit code {status}"
        return {
            "metadata": {},
            "status": "Failure",
            "message": text,
            "reason": "NonZeroExitCode",
            "details": {"causes": [cause]},
        }


async def _attach(call: Call, pod: Manifest, container: str) -> web.StreamResponse:
    """Output of the running container from now on; input cannot be attached here."""
    if call.flag("stdin"):
        raise bad_request("the embedded lab attaches no input to a running container: use exec")
    chunks = call.services.backend.logs(pod, container, LogOptions(follow=True, tail_lines=0))
    socket = await _accept(call)
    closed = asyncio.create_task(_until_closed(socket))

    async def forward() -> None:
        with contextlib.suppress(ConnectionError, BackendError):
            async for chunk in chunks:
                await socket.send_bytes(bytes([_STDOUT]) + chunk)
            await socket.send_bytes(bytes([_ERROR]) + encode(_SUCCESS))

    sending = asyncio.create_task(forward())
    try:
        await asyncio.wait({closed, sending}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (closed, sending):
            task.cancel()
        await asyncio.gather(closed, sending, return_exceptions=True)
        await socket.close()
    return socket


async def _until_closed(socket: web.WebSocketResponse) -> None:
    async for _ in socket:
        pass
