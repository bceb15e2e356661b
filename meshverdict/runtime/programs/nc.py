"""``nc`` as busybox has it: connect or listen, and carry bytes between the socket and the standard streams."""

from __future__ import annotations

import os
import select
import socket
import sys
import threading
from typing import Final

from meshverdict.runtime.programs.words import Flags

_CHUNK: Final = 65_536
_LAST_WORDS: Final = 0.2  # the other side has said all: what is in the pipe already is still sent


def main(arguments: list[str]) -> int:
    """Run it; the exit status."""
    flags = Flags("nc")
    flags.add_argument("-l", dest="listen", action="store_true", help="Listen")
    flags.add_argument("-k", dest="again", action="store_true", help="Listen for further connections")
    flags.add_argument("-p", dest="port", type=int, default=0, help="Local port")
    flags.add_argument("-w", dest="wait", type=float, default=0.0, help="Seconds to wait for a connection")
    flags.add_argument("-u", dest="udp", action="store_true", help="UDP")
    flags.add_argument("-z", dest="scan", action="store_true", help="Only connect")
    flags.add_argument("-n", dest="numeric", action="store_true", help="No names: nothing changes here")
    flags.add_argument("-v", dest="verbose", action="store_true", help="Say what happens")
    flags.add_argument("words", nargs="*", metavar="HOST PORT")
    options = flags.parse_args(arguments)
    try:
        if options.listen:
            port = options.port or int(options.words[-1] if options.words else 0)
            return _listen(port, udp=options.udp, again=options.again)
        if len(options.words) != 2 or not options.words[1].isdigit():
            sys.stderr.write("Usage: nc [-uzv] [-w SEC] HOST PORT   or   nc -l [-k] [-u] -p PORT\n")
            return 1
        return _connect(options.words[0], int(options.words[1]), options)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"nc: {getattr(error, 'strerror', None) or error}\n")
        return 1


def _connect(host: str, port: int, options: object) -> int:
    udp, scan = getattr(options, "udp", False), getattr(options, "scan", False)
    kind = socket.SOCK_DGRAM if udp else socket.SOCK_STREAM
    try:
        place = socket.getaddrinfo(host, port, socket.AF_INET, kind)[0][4]
    except socket.gaierror:
        sys.stderr.write(f"nc: bad address '{host}'\n")
        return 1
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.settimeout(getattr(options, "wait", 0) or None)
        try:
            sock.connect(place)
        except TimeoutError:
            sys.stderr.write("nc: timed out\n")
            return 1
        except OSError as error:
            sys.stderr.write(f"nc: can't connect to remote host ({place[0]}): {error.strerror}\n")
            return 1
        if getattr(options, "verbose", False):
            sys.stderr.write(f"{host} ({place[0]}:{port}) open\n")
        if not scan:
            _carry(sock, patience=getattr(options, "wait", 0) or None)
    return 0


def _listen(port: int, *, udp: bool, again: bool) -> int:
    if udp:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("", port))
            data, who = sock.recvfrom(_CHUNK)
            os.write(1, data)
            sock.connect(who)
            _carry(sock, patience=None)
        return 0
    with socket.create_server(("", port)) as listening:
        while True:
            connection, _ = listening.accept()
            with connection:
                _carry(connection, patience=None)
            if not again:
                return 0


def _carry(sock: socket.socket, *, patience: float | None) -> None:
    """Both directions until the other side closes; the end of the input is told to it."""
    sock.settimeout(None)

    def send() -> None:
        try:
            while data := os.read(0, _CHUNK):
                sock.sendall(data)
            if sock.type == socket.SOCK_STREAM:
                sock.shutdown(socket.SHUT_WR)
        except OSError:
            return  # the connection ended first, and the other direction says so

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    while True:
        ready, _, _ = select.select([sock], [], [], patience)
        data = sock.recv(_CHUNK) if ready else b""
        if not data:
            sender.join(_LAST_WORDS)
            return
        os.write(1, data)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
