"""Ask a sidecar's Envoy itself: its admin interface, which listens on the pod's own loopback only."""

from __future__ import annotations

import asyncio
import socket
from typing import Final

from meshverdict.mesh.bootstrap import ADMIN_PORT
from meshverdict.runtime.linux import socket_in

_TIMEOUT_S: Final = 2.0


async def ask_admin(network: int, path: str, *, method: str = "GET") -> str:
    """The body of an answer of the admin interface.

    Args:
        network: The pod's network namespace.
        path: Path and query.
        method: POST for what changes something.

    Raises:
        OSError: Nobody listens (Envoy is not running), or the answer is none.
        TimeoutError: No answer in time.
    """
    async with asyncio.timeout(_TIMEOUT_S):
        sock = socket_in(network, socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", ADMIN_PORT))
        except BaseException:
            sock.close()
            raise
        reader, writer = await asyncio.open_connection(sock=sock)
        try:
            writer.write(
                f"{method} {path} HTTP/1.1\r\nHost: admin\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
            )
            answer = await reader.read(-1)
        finally:
            writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        raise ConnectionError(f"the admin interface answers {head[:40]!r} to {path}")
    chunked = b"transfer-encoding: chunked" in head.lower()
    return (_joined(body) if chunked else body).decode()


def _joined(body: bytes) -> bytes:
    """A chunked body without its frames."""
    parts = []
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size.partition(b";")[0], 16)
        if not length:
            break
        parts.append(body[:length])
        body = body[length + 2 :]
    return b"".join(parts)
