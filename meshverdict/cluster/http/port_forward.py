"""``portforward``: TCP connections into a pod, over the channel protocol (Python) or SPDY in a websocket (kubectl)."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from dataclasses import dataclass, field
from typing import Final

from aiohttp import WSMsgType, web

from meshverdict.cluster.backend import BackendError
from meshverdict.cluster.errors import bad_request
from meshverdict.cluster.http import spdy, streams
from meshverdict.cluster.http.call import Call
from meshverdict.cluster.http.resources import stored
from meshverdict.cluster.store import Manifest

_TUNNEL: Final = "SPDY/3.1+portforward.k8s.io"
_CHANNELS: Final = ("v4.channel.k8s.io", "portforward.k8s.io", "channel.k8s.io")
_CHUNK: Final = 32 * 1024
_PORTS_LIMIT: Final = 64
_STREAMS_LIMIT: Final = 512


async def handle(call: Call) -> web.StreamResponse:
    """``/portforward``."""
    pod = stored(call)
    streams.require_upgrade(call)
    if not streams.running(pod):
        phase = (pod.get("status") or {}).get("phase", "Pending")
        raise bad_request(f"unable to forward port because pod is not running. Current status={phase}")
    offered = [p.strip() for p in call.request.headers.get("Sec-WebSocket-Protocol", "").split(",")]
    if _TUNNEL in offered:
        socket = web.WebSocketResponse(protocols=(_TUNNEL,), max_msg_size=4 * 1024 * 1024)
        await socket.prepare(call.request)
        await _Tunnel(call, pod, socket).run()
        return socket
    ports = _ports(call)
    socket = web.WebSocketResponse(protocols=_CHANNELS, max_msg_size=4 * 1024 * 1024)
    await socket.prepare(call.request)
    await _Channels(call, pod, socket, ports).run()
    return socket


def _ports(call: Call) -> list[int]:
    texts = [text for value in call.request.query.getall("ports", []) for text in value.split(",")]
    if not texts:
        raise bad_request('query parameter "ports" is required')
    if len(texts) > _PORTS_LIMIT:
        raise bad_request(f"at most {_PORTS_LIMIT} ports may be forwarded by one request")
    ports = []
    for text in texts:
        if not text.isdigit() or not 1 <= int(text[:6]) <= 65535:
            raise bad_request(f'unable to parse "{text}" as a port')
        ports.append(int(text))
    return ports


class _Channels:
    """Two channels a port: data at 2i, errors at 2i + 1; each begins with the port in two bytes."""

    def __init__(self, call: Call, pod: Manifest, socket: web.WebSocketResponse, ports: list[int]) -> None:
        self._backend = call.services.backend
        self._pod = pod
        self._socket = socket
        self._ports = ports
        self._queues: list[asyncio.Queue[bytes | None]] = [asyncio.Queue(64) for _ in ports]

    async def run(self) -> None:
        for index, port in enumerate(self._ports):
            for channel in (2 * index, 2 * index + 1):
                await self._socket.send_bytes(bytes([channel]) + struct.pack("<H", port))
        tasks = [asyncio.create_task(self._connection(i, p)) for i, p in enumerate(self._ports)]
        try:
            async for message in self._socket:
                if message.type is WSMsgType.BINARY and message.data:
                    await self._take(message.data)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _take(self, data: bytes) -> None:
        index, is_error = divmod(data[0], 2)
        if not is_error and index < len(self._queues) and len(data) > 1:
            await self._queues[index].put(data[1:])

    async def _connection(self, index: int, port: int) -> None:
        channel = 2 * index
        # At once, as a kubelet does: many servers speak first, and a client waits for the error of a closed port.
        try:
            reader, writer = await self._backend.dial(self._pod, port, loopback=True)
        except (OSError, BackendError) as error:
            text = f"failed to connect to port {port} of the pod: {error}"
            await self._socket.send_bytes(bytes([channel + 1]) + text.encode())
            return
        sending = asyncio.create_task(self._upstream(index, writer))
        try:
            with contextlib.suppress(ConnectionError):
                while data := await reader.read(_CHUNK):
                    await self._socket.send_bytes(bytes([channel]) + data)
        finally:
            writer.close()  # first of all: a second cancellation must not leave it open
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        if len(self._ports) == 1:
            await self._socket.close()

    async def _upstream(self, index: int, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while (data := await self._queues[index].get()) is not None:
                writer.write(data)
                await writer.drain()


@dataclass(slots=True)
class _Pair:
    """The two streams of one connection of kubectl's, and its bytes on the way into the pod."""

    port: int = 0
    error: int = 0
    data: int = 0
    queue: asyncio.Queue[bytes | None] = field(default_factory=lambda: asyncio.Queue(256))
    started: bool = False


class _Tunnel:
    """kubectl's connections, multiplexed with SPDY."""

    def __init__(self, call: Call, pod: Manifest, socket: web.WebSocketResponse) -> None:
        self._backend = call.services.backend
        self._pod = pod
        self._socket = socket
        self._wire = spdy.Connection()
        self._pairs: dict[str, _Pair] = {}
        self._by_stream: dict[int, _Pair] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        try:
            async for message in self._socket:
                if message.type is not WSMsgType.BINARY:
                    break
                for happening in self._wire.feed(message.data):
                    await self._react(happening)
        except spdy.SpdyError:
            await self._socket.close(code=1002)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _react(self, happening: spdy.Happening) -> None:
        match happening:
            case spdy.Opened(stream, headers):
                await self._open(stream, headers)
            case spdy.Data(stream, content, end):
                pair = self._by_stream.get(stream)
                if pair is not None and stream == pair.data:
                    if content:
                        await pair.queue.put(content)
                    if end:
                        await pair.queue.put(None)
            case spdy.Reset(stream):
                pair = self._by_stream.get(stream)
                if pair is not None and stream == pair.data:
                    await pair.queue.put(None)
            case spdy.Send(content):
                await self._socket.send_bytes(content)

    async def _open(self, stream: int, headers: dict[str, str]) -> None:
        kind, port = headers.get("streamtype"), headers.get("port", "")
        if kind not in {"data", "error"} or not port.isdigit() or not 1 <= int(port[:6]) <= 65535:
            raise spdy.SpdyError("a stream without type and port")
        if len(self._by_stream) >= _STREAMS_LIMIT:
            raise spdy.SpdyError("too many streams")
        await self._socket.send_bytes(self._wire.reply(stream))
        key = headers.get("requestid") or port
        pair = self._pairs.setdefault(key, _Pair(int(port)))
        self._by_stream[stream] = pair
        if kind == "data":
            pair.data = stream
        else:
            pair.error = stream
        if pair.data and pair.error and not pair.started:
            pair.started = True
            task = asyncio.create_task(self._connection(key, pair))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _connection(self, key: str, pair: _Pair) -> None:
        send = self._socket.send_bytes
        try:
            reader, writer = await self._backend.dial(self._pod, pair.port, loopback=True)
        except (OSError, BackendError) as error:
            text = f"failed to connect to port {pair.port} of the pod: {error}"
            await send(spdy.data(pair.error, text.encode(), end=True))
            await send(spdy.data(pair.data, b"", end=True))
            self._forget(key, pair)
            return
        sending = asyncio.create_task(_send_all(pair, writer))
        try:
            with contextlib.suppress(ConnectionError):
                while content := await reader.read(_CHUNK):
                    await send(spdy.data(pair.data, content))
            with contextlib.suppress(ConnectionError):
                await send(spdy.data(pair.data, b"", end=True))
                await send(spdy.data(pair.error, b"", end=True))
        finally:
            writer.close()  # first of all: a second cancellation must not leave it open
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            self._forget(key, pair)

    def _forget(self, key: str, pair: _Pair) -> None:
        self._pairs.pop(key, None)
        self._by_stream.pop(pair.data, None)
        self._by_stream.pop(pair.error, None)


async def _send_all(pair: _Pair, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, OSError):
        while (content := await pair.queue.get()) is not None:
            writer.write(content)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
