"""Runs inside a pod that measures round trips between zones: the standard library alone, sent there as text.

answer                       sends back what comes, for ever
ask COUNT ADDRESS...         asks each COUNT times, one question at a time; prints [[p50, p99], ...] in milliseconds
"""

import json
import socket
import sys
import threading
import time

PORT = 7421
_SIZE = 64


def answer() -> None:
    """Send back what comes."""
    server = socket.create_server(("", PORT), backlog=64)

    def serve(sock: socket.socket) -> None:
        with sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while data := sock.recv(4096):
                sock.sendall(data)

    while True:
        sock, _ = server.accept()
        threading.Thread(target=serve, args=(sock,), daemon=True).start()


def ask(address: str, count: int) -> tuple[float, float]:
    """Median and 99th percentile of round trips on an open connection, milliseconds."""
    took = []
    with socket.create_connection((address, PORT), 5) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(count):
            begun = time.perf_counter()
            sock.sendall(b"." * _SIZE)
            sock.recv(_SIZE, socket.MSG_WAITALL)
            took.append((time.perf_counter() - begun) * 1e3)
    took.sort()
    return took[len(took) // 2], took[min(len(took) - 1, int(len(took) * 0.99))]


if __name__ == "__main__":
    if sys.argv[1] == "answer":
        answer()
    sys.stdout.write(json.dumps([ask(address, int(sys.argv[2])) for address in sys.argv[3:]]) + "\n")
