"""Servers that answer with one text, over TCP, UDP or HTTP: ``agnhost serve-hostname`` and ``agnhost porter``."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from meshverdict.runtime.programs.words import Flags, log

_ANY: Final = ""
_AFTER_SIGTERM: Final = 60
_PREFIXES: Final = {
    "SERVE_PORT_": "tcp",
    "SERVE_TCP_PORT_": "tcp",
    "SERVE_UDP_PORT_": "udp",
    "SERVE_TLS_PORT_": "tls",
    "SERVE_SCTP_PORT_": "sctp",
}


class HttpServer(ThreadingHTTPServer):
    """Many connections at a time, as Go's; a client that goes early is not worth a traceback."""

    daemon_threads = True
    request_queue_size = 512

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of connections that broke."""
        del request
        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionError):
            log(f"{client_address}: {error}")


def serve_hostname(arguments: list[str]) -> int:
    """``agnhost serve-hostname``."""
    flags = Flags("agnhost serve-hostname")
    flags.flag("--tcp", default=False, text="Serve raw over TCP.")
    flags.flag("--udp", default=False, text="Serve raw over UDP.")
    flags.flag("--http", default=True, text="Serve HTTP.")
    flags.flag("--close", default=False, text="Close connection per each HTTP request.")
    flags.add_argument("--port", type=int, default=9376)
    options = flags.parse_args(arguments)
    if options.http and (options.tcp or options.udp):
        log("Can't server TCP/UDP mode and HTTP mode at the same time")
        return 1
    name = socket.gethostname()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    if options.tcp:
        start(lambda: raw_tcp(options.port, name))
    if options.udp:
        start(lambda: udp(options.port, lambda _data, _who: name))
    if options.http:
        start(lambda: web(options.port, name, close=options.close))
    log(f"Serving on port {options.port}.")
    stop.wait()
    log("Shutting down after receiving signal: terminated.")
    log("Awaiting pod deletion.")
    time.sleep(_AFTER_SIGTERM)
    return 0


def porter(arguments: list[str]) -> int:
    """``agnhost porter``: a server for each SERVE_PORT_N of the environment."""
    flags = Flags("agnhost porter")
    flags.flag("--json-response", default=False, text="Answer with JSON that holds the method.")
    as_json: bool = flags.parse_args(arguments).json_response
    for name, value in os.environ.items():
        for prefix, kind in _PREFIXES.items():
            if name.startswith(prefix) and name.removeprefix(prefix).isdigit():
                _port(kind, int(name.removeprefix(prefix)), value, as_json=as_json)
    threading.Event().wait()
    return 0


def _port(kind: str, port: int, value: str, *, as_json: bool) -> None:
    match kind:
        case "udp":
            start(lambda: udp(port, lambda _data, _who: value))
        case "sctp":
            log(f"server on port {port} failed: SCTP is not served in this lab")
        case "tls":
            start(lambda: web(port, value, as_json=as_json, tls=True))
        case _:
            start(lambda: web(port, value, as_json=as_json))


def start(work: Callable[[], None]) -> None:
    """Do *work* in a thread; what cannot listen ends the program."""

    def run() -> None:
        try:
            work()
        except OSError as error:
            log(f"listen failed: {error.strerror or error}")
            os._exit(1)

    threading.Thread(target=run, daemon=True).start()


def raw_tcp(port: int, text: str) -> None:
    """Send *text* to everybody who connects, and close."""
    with socket.create_server((_ANY, port), backlog=512) as listening:
        while True:
            connection, who = listening.accept()
            log(f"TCP request from {who[0]}:{who[1]}")
            with connection:
                connection.sendall(text.encode())


def udp(port: int, answer: Callable[[bytes, tuple[str, int]], str | None]) -> None:
    """Answer each datagram; None is no answer."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((_ANY, port))
        log(f"Started UDP server on port {port}")
        while True:
            data, who = sock.recvfrom(65_535)
            text = answer(data, who)
            if text is not None:
                sock.sendto(text.encode(), who)


def web(port: int, text: str, *, as_json: bool = False, close: bool = False, tls: bool = False) -> None:
    """Answer *text* to every HTTP request."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = json.dumps({"Method": self.command, "Body": text}) if as_json else text
            data = body.encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json" if as_json else "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(data)))
            if close:
                self.send_header("Connection", "close")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            log(f"HTTP request from {self.client_address[0]}:{self.client_address[1]}")

    server = HttpServer((_ANY, port), Handler)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(
            os.environ.get("CERT_FILE", "localhost.crt"), os.environ.get("KEY_FILE", "localhost.key")
        )
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()
