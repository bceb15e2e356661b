"""A small HTTP server that costs next to nothing: it says its version. Runs in a pod."""

from __future__ import annotations

import asyncio
import os
import signal


async def main() -> None:
    """Serve until SIGTERM."""
    body = os.environ.get("VERSION", "-").encode()
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    # The pod's network is its own.
    server = await asyncio.start_server(handle, "0.0.0.0", 8080)  # noqa: S104
    await ended.wait()
    server.close()


asyncio.run(main())
