"""``wget`` as busybox has it: one request, its body to a file or to the standard output, its errors by name."""

from __future__ import annotations

import contextlib
import http.client
import socket
import sys
from pathlib import PurePosixPath
from typing import IO, Final
from urllib.parse import urljoin, urlsplit

from meshverdict.runtime.programs.words import Flags

_CHUNK: Final = 65_536
_REDIRECTS: Final = 5


class WgetError(Exception):
    """What goes behind ``wget:``."""


def main(arguments: list[str]) -> int:
    """Fetch; the exit status."""
    flags = Flags("wget")
    flags.add_argument("-q", "--quiet", dest="quiet", action="store_true")
    flags.add_argument("-S", "--server-response", dest="headers", action="store_true")
    flags.add_argument("--spider", action="store_true")
    flags.add_argument("-O", "--output-document", dest="output")
    flags.add_argument("-T", "--timeout", dest="timeout", type=float, default=0.0)
    flags.add_argument("-t", "--tries", dest="tries", type=int, default=1)
    flags.add_argument("-U", "--user-agent", dest="agent", default="Wget")
    flags.add_argument("--header", action="append", default=[])
    flags.add_argument("--post-data")
    flags.add_argument("--no-check-certificate", action="store_true")
    flags.add_argument("-Y", "--proxy", dest="proxy")
    flags.add_argument("url")
    options = flags.parse_args(arguments)
    try:
        _fetch(options.url if "://" in options.url else f"http://{options.url}", options)
    except WgetError as error:
        sys.stderr.write(f"wget: {error}\n")
        return 1
    return 0


def _fetch(url: str, options: object) -> None:
    quiet, spider = getattr(options, "quiet", False), getattr(options, "spider", False)
    for _ in range(_REDIRECTS):
        connection, response = _ask(url, options, quiet=quiet)
        with contextlib.closing(connection), response:
            if getattr(options, "headers", False):
                sys.stderr.write(f"  HTTP/1.1 {response.status} {response.reason}\n")
                sys.stderr.writelines(f"  {name}: {value}\n" for name, value in response.getheaders())
            if response.status in {301, 302, 303, 307, 308} and response.headers.get("Location"):
                url = urljoin(url, response.headers["Location"])
                continue
            if response.status >= 400:
                raise WgetError(f"server returned error: HTTP/1.1 {response.status} {response.reason}")
            if not spider:
                _save(response, url, getattr(options, "output", None), quiet=quiet)
            elif not quiet:
                sys.stderr.write("remote file exists\n")
            return
    raise WgetError("too many redirections")


def _ask(
    url: str, options: object, *, quiet: bool
) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise WgetError(f"not an http or ftp url: {url}")
    try:
        port = parts.port or 80
    except ValueError:
        raise WgetError(f"bad port spec '{parts.netloc}'") from None
    try:
        place = socket.getaddrinfo(parts.hostname, port, socket.AF_INET, socket.SOCK_STREAM)[0][4][0]
    except socket.gaierror:
        raise WgetError(f"bad address '{parts.netloc}'") from None
    if not quiet:
        sys.stderr.write(f"Connecting to {parts.netloc} ({place}:{port})\n")
        sys.stderr.flush()
    headers = {"Host": parts.netloc, "User-Agent": getattr(options, "agent", "Wget"), "Connection": "close"}
    for line in getattr(options, "header", []):
        name, _, value = line.partition(":")
        headers[name.strip()] = value.strip()
    data = getattr(options, "post_data", None)
    if data is not None:
        headers.setdefault("Content-Type", "application/x-www-form-urlencoded")
    method = "POST" if data is not None else "HEAD" if getattr(options, "spider", False) else "GET"
    connection = http.client.HTTPConnection(str(place), port, timeout=getattr(options, "timeout", 0) or None)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request(method, target, data.encode() if data is not None else None, headers)
        return connection, connection.getresponse()
    except TimeoutError:
        raise WgetError("download timed out") from None
    except http.client.HTTPException:
        raise WgetError("error getting response") from None
    except OSError as error:
        raise WgetError(f"can't connect to remote host ({place}): {error.strerror}") from None


def _save(response: http.client.HTTPResponse, url: str, output: str | None, *, quiet: bool) -> None:
    name = output or PurePosixPath(urlsplit(url).path).name or "index.html"
    if name == "-":
        _copy(response, sys.stdout.buffer)
        return
    try:
        file = open(name, "wb" if output else "xb")  # noqa: PTH123, SIM115 - as the shell's user named it
    except OSError as error:
        raise WgetError(f"can't open '{name}': {error.strerror}") from None
    with file:
        _copy(response, file)
    if not quiet:
        sys.stderr.write(f"'{name}' saved\n")


def _copy(response: http.client.HTTPResponse, file: IO[bytes]) -> None:
    try:
        while data := response.read(_CHUNK):
            file.write(data)
        file.flush()
    except TimeoutError:
        raise WgetError("download timed out") from None
    except (http.client.HTTPException, ConnectionError):
        raise WgetError("connection closed prematurely") from None
    if response.length:  # a body shorter than it was announced is no error for the library
        raise WgetError("connection closed prematurely")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
