"""libnftables by ctypes: loads a ruleset into one network namespace, all of it or nothing."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import re
import socket
from functools import cache
from pathlib import Path
from typing import Final

from meshverdict.model.errors import LabError
from meshverdict.runtime import linux

_SEND_BUFFER: Final = 4 << 20
_SO_SNDBUFFORCE: Final = 32
_OUTPUT_JSON: Final = 1 << 4


class NftError(Exception):
    """nftables refused a ruleset; the text is its own message."""


class TransactionTooLongError(NftError):
    """The ruleset does not fit into the netlink send buffer: load it in parts."""


_MISSING: Final = re.compile(r"(\S+): cannot open shared object file")


def _load(name: str, prefix: str) -> ctypes.CDLL:
    """Load a library, and before it those that it needs, from *prefix* if they are there.

    The loader takes a library that is loaded already wherever it came from, so no search path has to be set.
    """
    own = [p for base in ("usr/lib", "lib") for p in Path(prefix).glob(f"{base}/*/{name}")] if prefix else []
    while True:
        try:
            return ctypes.CDLL(str(own[0]) if own else name)
        except OSError as error:
            needed = _MISSING.match(str(error))
            if not own or needed is None or needed[1] == name:
                raise
            _load(needed[1], prefix)


@cache
def _library(prefix: str) -> ctypes.CDLL:
    try:
        library = _load("libnftables.so.1", prefix)
    except OSError as error:
        raise LabError(
            f"the library libnftables cannot be loaded ({error}): install the Debian package libnftables1"
        ) from error
    library.nft_ctx_new.restype = ctypes.c_void_p
    library.nft_ctx_new.argtypes = [ctypes.c_uint32]
    for name in ("nft_ctx_buffer_error", "nft_ctx_buffer_output", "nft_ctx_free"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
    for name in ("nft_ctx_get_error_buffer", "nft_ctx_get_output_buffer"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
        getattr(library, name).restype = ctypes.c_char_p
    library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    library.nft_ctx_output_set_flags.argtypes = [ctypes.c_void_p, ctypes.c_uint]
    return library


class Nftables:
    """A context in the network namespace *network*, where it stays.

    Args:
        network: File descriptor of the namespace.
        prefix: Folder with unpacked Debian packages, or empty.
        as_json: What nft prints is JSON.

    Raises:
        LabError: The library is not here.
    """

    def __init__(self, network: int, prefix: str = "", *, as_json: bool = False) -> None:
        self._library = _library(prefix)
        before = _descriptors()
        with linux.in_network(network):
            self._context = self._library.nft_ctx_new(0)
            for descriptor in _descriptors() - before:
                _enlarge(descriptor)
        self._library.nft_ctx_buffer_error(self._context)
        self._library.nft_ctx_buffer_output(self._context)
        if as_json:
            self._library.nft_ctx_output_set_flags(self._context, _OUTPUT_JSON)

    def run(self, text: str) -> str:
        """Run commands as one transaction; returns what nft prints.

        Raises:
            TransactionTooLongError: Load it in parts.
            NftError: Refused; nothing has changed.
        """
        if self._library.nft_run_cmd_from_buffer(self._context, text.encode()):
            message = (self._library.nft_ctx_get_error_buffer(self._context) or b"").decode(errors="replace")
            if "Message too long" in message or "No buffer space" in message:
                raise TransactionTooLongError(message.strip())
            raise NftError(message.strip())
        return (self._library.nft_ctx_get_output_buffer(self._context) or b"").decode(errors="replace")

    def close(self) -> None:
        """Free the context; the ruleset stays."""
        self._library.nft_ctx_free(self._context)


def _descriptors() -> set[int]:
    return {int(name) for name in os.listdir("/proc/self/fd")}  # noqa: PTH208 - names only


def _enlarge(descriptor: int) -> None:
    """Give the library's netlink socket room for a big transaction, as far as this user may."""
    try:
        sock = socket.socket(fileno=os.dup(descriptor))
    except OSError:
        return  # the descriptor of the listing itself, gone by now, or no socket
    with sock:
        try:
            sock.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _SEND_BUFFER)
        except PermissionError:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
