"""Two nodes, a dozen pods and the machine beyond them, as real network namespaces in one Python process.

A namespace is held by a file descriptor only, so nothing is left behind however the process ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import shutil
import socket
import struct
import subprocess
import threading
import time
from dataclasses import dataclass, field

import pytest

from meshverdict.runtime import linux

POD_PORTS = (80, 81, 5000, 6379, 8000, 8080)
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
WORLD = "world"


def new_namespace() -> int:
    """A new network namespace, as a descriptor."""
    made = []

    def enter_and_open():
        linux.unshare(linux.CLONE_NEWNET)
        made.append(linux.open_namespace("net"))

    thread = threading.Thread(target=enter_and_open)
    thread.start()
    thread.join()
    return made[0]


def ip_batch(namespace: int, *commands: str) -> None:
    """Run ip(8) commands inside a namespace; skips where there is no ip(8)."""
    if shutil.which("ip") is None:
        pytest.skip("ip is not on PATH; it is in the Debian package iproute2")
    subprocess.run(
        ["nsenter", f"--net=/proc/{os.getpid()}/fd/{namespace}", "ip", "-batch", "-"],
        input="\n".join(commands) + "\n",
        text=True,
        check=True,
        capture_output=True,
    )


class Nft:
    """libnftables, with its netlink socket in one namespace."""

    def __init__(self, namespace: int) -> None:
        lib = self._lib = ctypes.CDLL("libnftables.so.1")
        lib.nft_ctx_new.restype = ctypes.c_void_p
        for name in ("nft_ctx_get_error_buffer", "nft_ctx_get_output_buffer"):
            getattr(lib, name).restype = ctypes.c_char_p
        with linux.in_network(namespace):
            self._context = ctypes.c_void_p(lib.nft_ctx_new(0))
        lib.nft_ctx_buffer_error(self._context)
        lib.nft_ctx_buffer_output(self._context)

    def run(self, text: str) -> str:
        """Load; an error is an AssertionError."""
        if self._lib.nft_run_cmd_from_buffer(self._context, text.encode()):
            raise AssertionError(self._lib.nft_ctx_get_error_buffer(self._context).decode()[:2000])
        return (self._lib.nft_ctx_get_output_buffer(self._context) or b"").decode()

    def close(self) -> None:
        """Give everything back."""
        self._lib.nft_ctx_free(self._context)


@dataclass
class Fabric:
    """Namespaces by name: pods by address, nodes by name, and the world."""

    slots: list[tuple[str, str]]
    fds: dict[str, int] = field(default_factory=dict)
    nft: dict[str, Nft] = field(default_factory=dict)

    def build(self) -> None:
        """Make everything."""
        nodes = sorted({node for _, node in self.slots})
        for name in [WORLD, *nodes, *(ip for ip, _ in self.slots)]:
            self.fds[name] = new_namespace()
        for name in (WORLD, *nodes):
            with linux.in_network(self.fds[name]):
                linux.write_text("/proc/sys/net/ipv4/ip_forward", "1")
        self._links(nodes)
        for number, (ip, node) in enumerate(self.slots):
            self._pod(number, ip, node)
        self.nft = {node: Nft(self.fds[node]) for node in nodes}

    def close(self) -> None:
        """Give everything back."""
        for nft in self.nft.values():
            nft.close()
        for fd in self.fds.values():
            os.close(fd)

    def path(self, name: str) -> str:
        """The namespace as a path."""
        return f"/proc/{os.getpid()}/fd/{self.fds[name]}"

    def _links(self, nodes: list[str]) -> None:
        first, second = nodes
        world = []
        for number, node in enumerate(nodes, 1):
            world += [
                f"link add w{number} type veth peer name world netns {self.path(node)}",
                f"addr add 172.31.{number}.1/30 dev w{number}",
                f"link set w{number} up",
                f"route add 10.244.{number}.0/24 via 172.31.{number}.2",
            ]
        ip_batch(self.fds[WORLD], "link set lo up", *world[:3], *world[4:7])
        for number, node in enumerate(nodes, 1):
            ip_batch(
                self.fds[node],
                "link set lo up",
                f"addr add 172.31.{number}.2/30 dev world",
                "link set world up",
                f"route add default via 172.31.{number}.1",
            )
        # Service traffic enters at the first node; each pod range at its own.
        ip_batch(self.fds[WORLD], world[3], world[7], "route add 10.96.0.0/16 via 172.31.1.2")
        ip_batch(
            self.fds[first],
            f"link add peer type veth peer name peer netns {self.path(second)}",
            "addr add 172.30.1.1/30 dev peer",
            "link set peer up",
        )
        ip_batch(
            self.fds[second],
            "addr add 172.30.1.2/30 dev peer",
            "link set peer up",
            "route add 10.244.1.0/24 via 172.30.1.1",
        )
        ip_batch(self.fds[first], "route add 10.244.2.0/24 via 172.30.1.2")

    def _pod(self, number: int, ip: str, node: str) -> None:
        ip_batch(
            self.fds[node],
            f"link add v{number} address 02:00:00:00:01:{number:02x} type veth "
            f"peer name eth0 address 02:00:00:00:02:{number:02x} netns {self.path(ip)}",
            f"link set v{number} up",
            f"route add {ip}/32 dev v{number}",
            f"neigh add {ip} lladdr 02:00:00:00:02:{number:02x} dev v{number} nud permanent",
        )
        ip_batch(
            self.fds[ip],
            "link set lo up",
            f"addr add {ip}/32 dev eth0",
            "link set eth0 up",
            "route add 169.254.1.1 dev eth0",
            "route add default via 169.254.1.1",
            f"neigh add 169.254.1.1 lladdr 02:00:00:00:01:{number:02x} dev eth0 nud permanent",
        )

    def socket(self, name: str, protocol: str) -> socket.socket:
        """A socket of a namespace."""
        kind = socket.SOCK_STREAM if protocol == "TCP" else socket.SOCK_DGRAM
        return linux.socket_in(self.fds[name], socket.AF_INET, kind)


class Servers:
    """In every pod: accepts and closes TCP, echoes UDP, on every port of ``POD_PORTS``."""

    def __init__(self, fabric: Fabric) -> None:
        self._poll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        for ip, _ in fabric.slots:
            with linux.in_network(fabric.fds[ip]):
                for port in POD_PORTS:
                    self._listen(ip, port, socket.SOCK_STREAM)
                    self._listen(ip, port, socket.SOCK_DGRAM)
        self._wake, self._stop = os.pipe()
        self._poll.register(self._wake, select.EPOLLIN)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _listen(self, ip: str, port: int, kind: socket.SocketKind) -> None:
        sock = socket.socket(socket.AF_INET, kind)
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((ip, port))
        if kind == socket.SOCK_STREAM:
            sock.listen(1024)
        self._sockets[sock.fileno()] = sock
        self._poll.register(sock, select.EPOLLIN)

    def _serve(self) -> None:
        while True:
            for fd, _ in self._poll.poll():
                if fd == self._wake:
                    return
                # A client may be gone, or answered with an ICMP error, before we get to it.
                with contextlib.suppress(OSError):
                    self._answer(self._sockets[fd])

    @staticmethod
    def _answer(sock: socket.socket) -> None:
        if sock.type == socket.SOCK_STREAM:
            sock.accept()[0].close()
        else:
            sock.sendto(*sock.recvfrom(2048))

    def close(self) -> None:
        """Give everything back."""
        os.close(self._stop)
        self._thread.join()
        os.close(self._wake)
        self._poll.close()
        for sock in self._sockets.values():
            sock.close()


@dataclass(frozen=True)
class Probe:
    """Call *address*:*port* from the namespace *source*."""

    source: str
    address: str
    port: int
    protocol: str


def probe_all(
    fabric: Fabric, probes: list[Probe], hopeful: set[Probe], *, patience: float = 4.0, grace: float = 0.06
) -> dict[Probe, bool]:
    """Make all calls at once; waits for the *hopeful* up to *patience*, and *grace* more for the others."""
    waiting: dict[int, tuple[Probe, socket.socket]] = {}
    poll = select.epoll()
    result = dict.fromkeys(probes, False)
    try:
        for source in {probe.source for probe in probes}:
            with linux.in_network(fabric.fds[source]):
                for probe in (p for p in probes if p.source == source):
                    kind = socket.SOCK_STREAM if probe.protocol == "TCP" else socket.SOCK_DGRAM
                    sock = socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK)
                    waiting[sock.fileno()] = (probe, sock)
        for probe, sock in waiting.values():
            _call(probe, sock)
            poll.register(sock, select.EPOLLIN if probe.protocol == "UDP" else select.EPOLLOUT)
        _collect(poll, waiting, result, hopeful, patience=patience, grace=grace)
    finally:
        poll.close()
        for _, sock in waiting.values():
            sock.close()
    return result


def _call(probe: Probe, sock: socket.socket) -> None:
    # A refusal may already be there; the poll sees it.
    with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
        if probe.protocol == "TCP":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            sock.connect((probe.address, probe.port))
        else:
            sock.connect((probe.address, probe.port))
            sock.send(b"?")


def _collect(poll, waiting, result, hopeful, *, patience, grace) -> None:
    hoping = {fd for fd, (probe, _) in waiting.items() if probe in hopeful}
    pending = set(waiting)
    end = time.monotonic() + patience
    while pending and (left := end - time.monotonic()) > 0:
        for fd, _ in poll.poll(left):
            probe, sock = waiting[fd]
            result[probe] = _succeeded(probe, sock)
            poll.unregister(fd)
            pending.discard(fd)
            hoping.discard(fd)
        if not hoping:
            end = min(end, time.monotonic() + grace)


def _succeeded(probe: Probe, sock: socket.socket) -> bool:
    if probe.protocol == "TCP":
        return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    try:
        return sock.recv(16) == b"?"
    except ConnectionRefusedError:
        return False
