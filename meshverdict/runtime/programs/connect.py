"""``agnhost connect``: one attempt, and the word that says how it ended.

Test suites tell a refused connection from one that nobody answers by these words, so they are exact: TIMEOUT,
REFUSED, ``DNS: ...`` and ``OTHER: ...`` on stderr with exit status 1; silence and 0 when it works.
"""

from __future__ import annotations

import errno
import socket
import sys
from typing import Final

from meshverdict.runtime.programs.words import Flags, address, duration

_SCTP: Final = 132
_KINDS: Final = {
    "": (socket.SOCK_STREAM, 0),
    "tcp": (socket.SOCK_STREAM, 0),
    "udp": (socket.SOCK_DGRAM, 0),
    "sctp": (socket.SOCK_STREAM, _SCTP),
}


def main(arguments: list[str]) -> int:
    """Connect; the exit status."""
    flags = Flags("agnhost connect")
    flags.add_argument("target", metavar="[host:port]")
    flags.add_argument("--timeout", type=duration, default=0.0)
    flags.add_argument("--protocol", default="tcp")
    flags.add_argument("--udp-data", default="hostname")
    options = flags.parse_args(arguments)
    if options.protocol not in _KINDS:
        sys.stdout.write(f"Unsupported protocol\n{options.protocol}")
        return 1
    word = attempt(options.target, options.protocol, options.timeout, options.udp_data)
    if word:
        sys.stderr.write(f"{word}\n")
    return 1 if word else 0


def attempt(target: str, protocol: str, timeout: float, data: str) -> str:
    """How one attempt ended: ``""`` when it worked.

    Args:
        target: ``host:port``.
        protocol: ``tcp``, ``udp`` or ``sctp``.
        timeout: Seconds; 0 for the kernel's patience.
        data: What a UDP attempt sends; it works only if an answer comes.
    """
    kind, number = _KINDS[protocol]
    try:
        host, port = address(target)
        place = socket.getaddrinfo(host, port, socket.AF_INET, socket.SOCK_STREAM)[0][4]
    except (ValueError, OSError) as error:
        return f"DNS: {_lookup(target, error)}"
    try:
        with socket.socket(socket.AF_INET, kind, number) as sock:
            sock.settimeout(timeout or None)
            sock.connect(place)
            if protocol == "udp":
                sock.send(f"{data}\n".encode())
                if not sock.recv(1024):
                    return "OTHER: No data received from the server. Cannot guarantee the server received the request."
    except TimeoutError:
        return "TIMEOUT"
    except ConnectionRefusedError:
        return "REFUSED"
    except OSError as error:
        word = errno.errorcode.get(error.errno or 0, "")
        return "TIMEOUT" if word == "ETIMEDOUT" else f"OTHER: dial {protocol} {target}: {error.strerror}"
    return ""


def _lookup(target: str, error: Exception) -> str:
    if isinstance(error, socket.gaierror):
        return f"lookup {target.rpartition(':')[0]}: no such host"
    return str(error)
