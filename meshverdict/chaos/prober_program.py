r"""What runs inside a prober pod: opens TCP connections on a clock, and says when they cease to succeed.

The text of this file is the pod's program (`python -c`), so that no image has to be built: standard library
only, and it must run on any Python from 3.11. One argument, JSON: ``[{"to": "host:port", "every_ms": 5,
"timeout_ms": 250, "talk": "PING\\r\\n"}]``. With ``talk``, one more connection stays open and talks on the
same clock, to show what becomes of connections that were open before a policy.

It prints JSON lines. A change is dated with the *start* of the first attempt that ended differently, so its
time is
exact to one interval, however long a dropped packet takes to be given up:

    {"to": ..., "state": "open" | "closed", "t": start, "why": "timeout" | "refused" | "EHOSTUNREACH" ..., "until": start before}
    {"to": ..., "second": t, "open": n, "closed": n}
    {"to": ..., "talk": "silent" | "answered" | "ended", "t": ...}
"""

from __future__ import annotations

import asyncio
import collections
import errno
import json
import socket
import struct
import sys
import time
from typing import Any

Address = tuple[str, int]

# A reset instead of FIN: no TIME_WAIT is left, so hundreds of connections a second do not use up the ports.
LINGER = struct.pack("ii", 1, 0)


def say(**line: object) -> None:
    """Print one JSON line at once."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


async def attempt(address: Address, timeout_s: float) -> str | None:
    """Open and close one connection; answers None, or why it failed."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        await asyncio.wait_for(asyncio.get_running_loop().sock_connect(sock, address), timeout_s)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
        return None  # noqa: TRY300 - closed below in any case
    except TimeoutError:
        return "timeout"
    except ConnectionRefusedError:
        return "refused"
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, "error")
    finally:
        sock.close()


async def resolve(host: str, port: int) -> Address:
    """The address of a name, which is asked until it answers."""
    while True:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(
                host, port, family=socket.AF_INET, type=socket.SOCK_STREAM
            )
            address = found[0][4]
            return str(address[0]), int(address[1])
        except OSError:
            await asyncio.sleep(0.2)


class Watch:
    """Attempts on one target, judged in the order of their starts."""

    def __init__(self, to: str) -> None:
        self.to = to
        self.state: str | None = None
        self.last: float | None = None
        self.waiting: collections.deque[tuple[float, asyncio.Task[str | None]]] = collections.deque()
        self.counts = {"open": 0, "closed": 0}
        self.second = int(time.time())

    def judge(self) -> None:
        """Take what has ended from the head of the queue; one that still runs holds back the others."""
        while self.waiting and self.waiting[0][1].done():
            start, task = self.waiting.popleft()
            why = task.result()
            state = "open" if why is None else "closed"
            self.counts[state] += 1
            if state != self.state:
                say(to=self.to, state=state, t=start, why=why, until=self.last)
                self.state = state
            self.last = start
        now = int(time.time())
        if now != self.second:
            say(to=self.to, second=self.second, **self.counts)
            self.counts, self.second = {"open": 0, "closed": 0}, now


async def watch(target: dict[str, Any]) -> None:
    """Attempt on a clock, for ever."""
    host, _, port = target["to"].rpartition(":")
    address = await resolve(host, int(port))
    timeout_s, every = target.get("timeout_ms", 250) / 1000, target["every_ms"] / 1000
    seen = Watch(target["to"])
    following = time.monotonic()
    while True:
        task = asyncio.ensure_future(attempt(address, timeout_s))
        seen.waiting.append((time.time(), task))
        following = max(following + every, time.monotonic() - every)
        await asyncio.sleep(max(0.0, following - time.monotonic()))
        seen.judge()


async def talk(target: dict[str, Any]) -> None:
    """Keep one connection open and talk on it; opened again once it has ended."""
    host, _, port = target["to"].rpartition(":")
    address = await resolve(host, int(port))
    every, text = target["every_ms"] / 1000, target["talk"].encode()
    while True:
        try:
            reader, writer = await asyncio.wait_for(asyncio.open_connection(*address), 1)
        except (OSError, TimeoutError):
            await asyncio.sleep(0.2)
            continue
        await converse(target["to"], reader, writer, every, text)


async def converse(
    to: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, every: float, text: bytes
) -> None:
    """Ask and listen until the connection ends."""
    state: str | None = None
    while True:
        start = time.time()
        try:
            if state != "silent":
                writer.write(text)
            answer = await asyncio.wait_for(reader.read(4096), 0.25)
            now = "answered" if answer else "ended"
        except TimeoutError:
            now = "silent"
        except OSError:
            now = "ended"
        if now != state:
            say(to=to, talk=now, t=start)
            state = now
        if now == "ended":
            writer.close()
            return
        await asyncio.sleep(every)


async def main(targets: list[dict[str, Any]]) -> None:
    """Watch all targets."""
    jobs = [watch(t) for t in targets] + [talk(t) for t in targets if t.get("talk")]
    await asyncio.gather(*jobs)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
