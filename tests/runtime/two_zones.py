"""A server in the second zone, and clients in both that measure the way to it."""

from __future__ import annotations

import asyncio
from typing import Any

from labs import Lab
from memory_objects import is_ready, pod

SERVE = """
import socket
s = socket.create_server(("", 7000), backlog=64)
while True:
    c, _ = s.accept()
    while data := c.recv(1 << 16):
        c.sendall(data)
    c.close()
"""
# Round trips on one open connection, milliseconds, the shortest and the median; and a megabyte there and back.
ASK = """
import socket, sys, time, threading
c = socket.create_connection((sys.argv[1], 7000), 5)
c.settimeout(None)
c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
took = []
for _ in range(50):
    start = time.perf_counter()
    c.sendall(b"x" * 100)
    c.recv(100, socket.MSG_WAITALL)
    took.append((time.perf_counter() - start) * 1e3)
payload = bytes(range(256)) * 4096
threading.Thread(target=c.sendall, args=(payload,)).start()
assert c.recv(len(payload), socket.MSG_WAITALL) == payload
print(min(took), sorted(took)[25])
"""


def python(name: str, node: str, *arguments: str) -> dict[str, Any]:
    container = {"name": "main", "image": "python:3.11", "command": ["python3", "-c", *arguments]}
    return pod(name, container, nodeName=node)


async def two_zones(running: Lab) -> str:
    """A server in the second zone, the delay line's log, and a place to ask from in each; the server's address."""
    running.objects.create("pods", python("server", "node-b", SERVE))
    for name, node in (("far", "node-a"), ("near", "node-b")):
        running.objects.create("pods", python(name, node, "import time; time.sleep(600)"))
    for name in ("server", "far", "near"):
        await running.objects.until("test", name, is_ready)
    server = running.objects.get("pods", "test", "server")
    assert server is not None
    await asyncio.sleep(0.3)  # the server has no probe: its port is open a moment after its start
    address: str = server["status"]["podIP"]
    return address


async def round_trips(running: Lab, name: str, address: str) -> tuple[float, float]:
    status, out, err = await running.run("test", name, "main", "python3", "-c", ASK, address)
    assert status == 0, err
    shortest, median = map(float, out.split())
    return shortest, median
