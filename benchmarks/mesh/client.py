"""An open-loop client in a pod: requests on a clock, whatever became of those before, and a line of JSON a second.

    client.py ADDRESS RATE SECONDS

Each line counts answers by body, or by what went wrong, and has the latencies in microseconds from the planned start.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from collections import Counter

REQUEST = b"GET / HTTP/1.1\r\nhost: %s\r\n\r\n"
DEADLINE_S = 5.0


class Client:
    """Connections that are kept, and what came back over them."""

    def __init__(self, address: str) -> None:
        host, _, port = address.partition(":")
        # Once: a lookup for each new connection would be measured too.
        self._place = (socket.gethostbyname(host), int(port or 80))
        self._request = REQUEST % address.encode()
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.outcomes: Counter[str] = Counter()
        self.late: list[int] = []

    async def ask(self, planned: float) -> None:
        """One request."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                outcome = await self._exchange()
        except Exception as error:  # noqa: BLE001 - whatever it was, the request was lost
            outcome = f"lost: {type(error).__name__}"
        self.outcomes[outcome] += 1
        self.late.append(round((time.monotonic() - planned) * 1e6))

    async def _exchange(self) -> str:
        reader, writer = self._free.pop() if self._free else await asyncio.open_connection(*self._place)
        try:
            writer.write(self._request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
            body = (await reader.readexactly(length)).decode()
        except BaseException:
            writer.close()
            raise
        if b"connection: close" in head:
            writer.close()
        else:
            self._free.append((reader, writer))
        status = head.split(b" ", 2)[1].decode()
        return body if status == "200" else f"lost: {status} {body[:80]}"


async def main(address: str, rate: float, seconds: float) -> None:
    """Ask on the clock; print what came of it."""
    client, tasks = Client(address), set()
    start = time.monotonic()
    told = 1
    for number in range(int(rate * seconds)):
        planned = start + number / rate
        pause = planned - time.monotonic()
        if pause > 0:
            await asyncio.sleep(pause)
        task = asyncio.create_task(client.ask(planned))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        if planned - start >= told:
            tell(client)
            told += 1
    await asyncio.gather(*tasks)
    tell(client)
    print(json.dumps({"done": True}), flush=True)
    await asyncio.sleep(3)  # what its sidecar used is read as long as it runs


def tell(client: Client) -> None:
    """One line."""
    print(json.dumps({"t": time.time(), "outcomes": client.outcomes, "us": client.late}), flush=True)
    client.outcomes, client.late = Counter(), []


asyncio.run(main(sys.argv[1], float(sys.argv[2]), float(sys.argv[3])))
