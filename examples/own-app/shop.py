"""Somebody else's app: a basket that is kept in Redis. Nothing of meshverdict is in it."""

import json
import os
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

REDIS = os.environ.get("REDIS", "store:6379")


def ask(*words):
    """One command of Redis, whose answer is a number or a text."""
    host, _, port = REDIS.partition(":")
    with socket.create_connection((host, int(port)), timeout=2) as connection:
        connection.sendall(" ".join(words).encode() + b"\r\n")
        answer = connection.makefile("rb")
        first = answer.readline().decode().strip()
        if first.startswith("$") and first != "$-1":
            return answer.readline().decode().strip()
        return None if first == "$-1" else first[1:]


class Shop(BaseHTTPRequestHandler):
    """/basket shows the basket, /basket/add puts something into it, /ready tells whether the store answers."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        """Answer one request."""
        try:
            if self.path == "/basket/add":
                self.answer(200, {"items": int(ask("INCR", "basket"))})
            elif self.path == "/basket":
                self.answer(200, {"items": int(ask("GET", "basket") or 0)})
            elif self.path == "/ready":
                self.answer(200, {"store": ask("PING")})
            else:
                self.answer(404, {"error": "no such page"})
        except OSError as error:
            self.answer(503, {"error": str(error)})

    def answer(self, status, value):
        """Send JSON."""
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """No line for each request."""


if __name__ == "__main__":
    ThreadingHTTPServer(("", 8000), Shop).serve_forever()
