"""Turn off what a link's driver would do for its sender, so that whoever reads its frames sees them finished."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from typing import Final

_SIOCETHTOOL: Final = 0x8946
_FEATURES: Final = {"checksums": 0x17, "TCP segmentation": 0x1F, "generic segmentation": 0x24}


def offload_off(interface: str) -> None:
    """No checksum or segmentation is left to *interface*, which is in the caller's network namespace.

    Without this an AF_PACKET reader gets frames of up to 64 KB with checksums that nobody has filled in.

    Raises:
        OSError: The kernel refuses; the text names the interface and the feature.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        for feature, command in _FEATURES.items():
            value = ctypes.create_string_buffer(struct.pack("II", command, 0))
            request = struct.pack("16sP", interface.encode(), ctypes.addressof(value))
            try:
                fcntl.ioctl(sock, _SIOCETHTOOL, request.ljust(40, b"\0"))
            except OSError as error:
                text = f"turn off {feature} on {interface}: {os.strerror(error.errno or 0)}"
                raise OSError(error.errno, text) from error
