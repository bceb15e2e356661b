"""What the programs share: Go's durations and addresses, flags as cobra reads them, a log as Go's."""

from __future__ import annotations

import argparse
import sys
import time
from typing import NoReturn

from meshverdict.model import durations


def duration(text: str) -> float:
    """Seconds of ``1s``, ``500ms`` or ``1m30s``; ``0`` needs no unit.

    Raises:
        ArgumentTypeError: It is none, or less than none.
    """
    try:
        found = float(durations.seconds(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if found < 0:
        raise argparse.ArgumentTypeError(f'negative duration "{text}"')
    return found


def truth(text: str) -> bool:
    """A flag's value: ``--http=false``.

    Raises:
        ArgumentTypeError: It is no truth value.
    """
    if text.lower() in {"true", "t", "1"}:
        return True
    if text.lower() in {"false", "f", "0"}:
        return False
    raise argparse.ArgumentTypeError(f'strconv.ParseBool: parsing "{text}": invalid syntax')


class Flags(argparse.ArgumentParser):
    """Flags whose mistakes end the program as cobra's do: the error on stderr, exit status 1."""

    def error(self, message: str) -> NoReturn:
        """Say it and end."""
        sys.stderr.write(f"Error: {message}\n")
        raise SystemExit(1)

    def flag(self, name: str, *, default: bool, text: str) -> None:
        """A flag that is true when it is named alone."""
        self.add_argument(name, nargs="?", const=True, default=default, type=truth, help=text)


def address(text: str) -> tuple[str, int]:
    """Host and port of ``host:port`` or ``[::1]:port``.

    Raises:
        ValueError: As Go's resolver says it.
    """
    host, colon, port = text.rpartition(":")
    if not colon:
        raise ValueError(f"address {text}: missing port in address")
    if not port.isdigit() or not 0 <= int(port) <= 65535:
        raise ValueError(f"address {port}: invalid port" if port.isdigit() else f"unknown port tcp/{port}")
    return host.strip("[]"), int(port)


def log(text: str) -> None:
    """A line on stderr with the time before it."""
    sys.stderr.write(f"{time.strftime('%Y/%m/%d %H:%M:%S')} {text}\n")
    sys.stderr.flush()
