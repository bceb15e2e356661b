"""``agnhost netexec``: an HTTP and a UDP server that say who asks, who they are, and what they see of others."""

from __future__ import annotations

import datetime as dt
import http.client
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from meshverdict.runtime.programs.listeners import HttpServer, start, udp
from meshverdict.runtime.programs.words import Flags, duration, log

_PATIENCE: Final = 5.0
Query = Mapping[str, str]
Answer = tuple[int, str, Mapping[str, str]]


def main(arguments: list[str]) -> int:
    """Serve until somebody asks for ``/exit``."""
    flags = Flags("agnhost netexec")
    flags.add_argument("--http-port", type=int, default=8080)
    flags.add_argument("--udp-port", type=int, default=8081)
    flags.add_argument("--sctp-port", type=int, default=-1)
    flags.add_argument("--http-override", default="")
    options = flags.parse_args(arguments)
    if options.sctp_port != -1:
        log("SCTP is not served in this lab: leave --sctp-port out")
        return 1
    if options.udp_port != -1:
        start(lambda: udp(options.udp_port, udp_answer))
    log(f"Started HTTP server on port {options.http_port}")
    server = HttpServer(("", options.http_port), handler(options.http_override))
    server.serve_forever()
    return 0


def udp_answer(data: bytes, who: tuple[str, int]) -> str | None:
    """What the UDP server says."""
    words = data.decode(errors="replace").split(maxsplit=1)
    command = words[0].lower() if words else ""
    match command:
        case "hostname":
            return socket.gethostname()
        case "echo":
            return words[1].rstrip("\n") if len(words) > 1 else ""
        case "clientip":
            return f"{who[0]}:{who[1]}"
        case "":
            return None
        case _:
            return f"Unknown command: {command}"


def handler(override: str) -> type[BaseHTTPRequestHandler]:
    """The HTTP side; with *override* every request is that one."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            target = urlsplit(override or self.path)
            query = dict(parse_qsl(target.query, keep_blank_values=True))
            log(f"GET {override or self.path}")
            code, text, headers = respond(target.path, query, self)
            data = text.encode()
            self.send_response(code)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            return

    return Handler


def respond(path: str, query: Query, request: BaseHTTPRequestHandler) -> Answer:
    """Status, text and headers of one request."""
    match path:
        case "/clientip":
            return 200, f"{request.client_address[0]}:{request.client_address[1]}", {}
        case "/hostname" | "/hostName":
            return 200, socket.gethostname(), {}
        case "/header":
            return 200, request.headers.get(query.get("key", ""), ""), {}
        case _ if path in _ROUTES:
            return _ROUTES[path](query)
        case _:
            return 200, f"NOW: {dt.datetime.now(dt.UTC).isoformat(sep=' ')}", {}


def _echo(query: Query) -> Answer:
    code, text = query.get("code", ""), query.get("msg", "")
    if code and not code.isdigit():
        return 200, f"argument 'code' must be an integer or empty, got \"{code}\"\n", {}
    return int(code or 200), text, {}


def _redirect(query: Query) -> Answer:
    code = query.get("code", "")
    return int(code) if code.isdigit() else 302, "", {"Location": query.get("location", "")}


def _exit(query: Query) -> Answer:
    code = query.get("code") or "0"
    if not code.isdigit():
        return 200, f"argument 'code' must be an integer [0-127] or empty, got \"{code}\"\n", {}
    time.sleep(duration(query.get("wait") or "0"))
    os._exit(int(code))


def _shutdown(_: Query) -> Answer:
    os._exit(0)


def _shell(query: Query) -> Answer:
    """A command for a shell, which is what this path of the original is there for; it runs as the pod's own user."""
    command = query.get("shellCommand") or query.get("cmd", "")
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    found = {"output": done.stdout.decode(errors="replace")} if done.stdout else {}
    if done.returncode:
        found["error"] = f"exit status {done.returncode}"
    return 200, json.dumps(found, separators=(",", ":")), {}


def _dial(query: Query) -> Answer:
    request, tries = query.get("request", ""), query.get("tries") or "1"
    if not tries.isdigit():
        return 400, f"tries parameter is invalid. {tries}\n", {}
    if not request:
        return 400, "request parameter not specified. <nil>\n", {}
    protocol = query.get("protocol", "").lower() or "http"
    ask = {"http": _dial_http, "udp": _dial_udp}.get(protocol)
    if ask is None:
        return 400, f"unsupported protocol. {protocol}\n", {}
    host, port = query.get("host", ""), query.get("port", "")
    if not port.isdigit():
        return 400, "host and/or port param are invalid.\n", {}
    found: dict[str, list[str]] = {}
    for _ in range(int(tries)):
        try:
            found.setdefault("responses", []).append(ask(host, int(port), request))
        except (OSError, http.client.HTTPException) as error:
            found.setdefault("errors", []).append(str(error) or type(error).__name__)
    return 200, json.dumps(found, separators=(",", ":"), sort_keys=True), {}


def _dial_http(host: str, port: int, request: str) -> str:
    connection = http.client.HTTPConnection(host, port, timeout=_PATIENCE)
    try:
        connection.request("GET", f"/{request}")
        return connection.getresponse().read().decode(errors="replace")
    finally:
        connection.close()


def _dial_udp(host: str, port: int, request: str) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(_PATIENCE)
        sock.connect((host, port))
        sock.send(request.encode())
        return sock.recv(2048).decode(errors="replace")


_ROUTES: Final[Mapping[str, Callable[[Query], Answer]]] = {
    "/echo": _echo,
    "/exit": _exit,
    "/shutdown": _shutdown,
    "/redirect": _redirect,
    "/shell": _shell,
    "/dial": _dial,
    "/healthz": lambda _query: (200, "", {}),
}
