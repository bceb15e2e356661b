"""Pods as network namespaces on one bridge, each with a real Envoy and a small application, for real traffic.

A namespace is held by a file descriptor only and every Envoy dies with this process, so nothing is left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from meshverdict.mesh.bootstrap import ADMIN_PORT, bootstrap, command
from meshverdict.mesh.capture import Capture, render
from meshverdict.mesh.convergence import STATS_PATH, pending, rejections, warming
from meshverdict.mesh.files import ResourceFile, Step, replacement
from meshverdict.mesh.identity import certificates
from meshverdict.mesh.sidecar import Translation, translate
from meshverdict.mesh.values import Mesh, Workload
from meshverdict.runtime import dns_wire, linux
from meshverdict.runtime.nftables import Nftables

from .authority import Authority
from .real_envoy import binary

HTTP_PORTS = (80, 8000, 8080, 8085, 18080, 18085)
TCP_PORTS = (7070, 9000, 9001, 9002)
ENVOY_UID = 1337
# A mount namespace in which the file named next is /etc/resolv.conf; then the command after it.
_OWN_RESOLVER = (
    "unshare",
    "--mount",
    "--propagation=private",
    "sh",
    "-c",
    'mount --bind "$1" /etc/resolv.conf && shift && exec "$@"',
    "sh",
)


def new_namespace() -> int:
    """A new network namespace, as a descriptor."""
    made = []

    def enter():
        linux.unshare(linux.CLONE_NEWNET)
        made.append(linux.open_namespace("net"))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    return made[0]


def ip_batch(namespace: int, *commands: str) -> None:
    """Run ip(8) commands inside a namespace."""
    subprocess.run(
        ["nsenter", f"--net=/proc/{os.getpid()}/fd/{namespace}", "ip", "-batch", "-"],
        input="\n".join(commands) + "\n",
        text=True,
        check=True,
        capture_output=True,
    )


@dataclass
class Answer:
    """What a client got."""

    status: int
    headers: dict[str, str]
    body: str
    ms: float

    @property
    def seen(self) -> dict:
        """What the application saw."""
        return json.loads(self.body)


@dataclass
class Slot:
    """A pod's place: namespace, address, application, and the sidecar that runs in it just now."""

    ip: str
    fd: int
    folder: Path
    status: int = 200
    # Address and host that the application calls, and whose status it takes for its own.
    calls: tuple[str, str] | None = None
    # Answers are held back until so many requests wait for them.
    together: int = 0
    waiting: list[asyncio.Event] = field(default_factory=list)
    requests: Counter = field(default_factory=Counter)
    workload: Workload | None = None
    envoy: subprocess.Popen | None = None
    files: list[ResourceFile] = field(default_factory=list)

    def connect(self, address: str, port: int, timeout: float = 10.0) -> socket.socket:
        """A connection of the pod's application."""
        sock = linux.socket_in(self.fd, socket.AF_INET, socket.SOCK_STREAM)
        sock.settimeout(timeout)
        try:
            sock.connect((address, port))
        except OSError:
            sock.close()
            raise
        return sock

    def request(self, address, port, path="/", *, method="GET", headers=(), host="", timeout=10.0) -> Answer:
        """One request on a connection of its own."""
        start = time.monotonic()
        client = http.client.HTTPConnection(address, port)
        client.sock = self.connect(address, port, timeout)
        try:
            client.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            client.putheader("Host", host or address)
            for name, value in dict(headers).items():
                client.putheader(name, value)
            client.endheaders()
            reply = client.getresponse()
            body = reply.read().decode()
        finally:
            client.close()
        found = {name.lower(): value for name, value in reply.getheaders()}
        return Answer(reply.status, found, body, (time.monotonic() - start) * 1000)

    def relay(self) -> int:
        """Call the next tier; its status."""
        address, host = self.calls
        return self.request(address, 80, host=host).status

    async def gather(self) -> None:
        """Wait until `together` requests are here, once."""
        if not self.together:
            return
        event = asyncio.Event()
        self.waiting.append(event)
        if len(self.waiting) >= self.together:
            self.together = 0
            for one in self.waiting:
                one.set()
            self.waiting.clear()
        await event.wait()

    def admin(self, path: str) -> str:
        """The sidecar's admin interface."""
        answer = self.request("127.0.0.1", ADMIN_PORT, path)
        return answer.body if answer.status == 200 else ""


class Names(asyncio.DatagramProtocol):
    """A pod's DNS: the names of the pods' Services, for hosts that Envoy itself has to look up."""

    def __init__(self, slots: list[Slot]) -> None:
        self._slots = slots

    def connection_made(self, transport) -> None:
        """Keep the way back."""
        self._transport = transport

    def datagram_received(self, data, address) -> None:
        """Answer with the address of the pod of this name, or that there is none."""
        query = dns_wire.parse_query(data)
        label = query.name.partition(".")[0]
        found = [s.ip for s in self._slots if s.workload and s.workload.name == label]
        code = dns_wire.NOERROR if found else dns_wire.NXDOMAIN
        wanted = found if query.kind == dns_wire.A else []
        records = [dns_wire.record(dns_wire.A, 5, dns_wire.address(ip)) for ip in wanted]
        self._transport.sendto(dns_wire.response(query, code, records, [], query.udp_limit), address)


class Applications:
    """Every pod's application: HTTP ports echo what they saw as JSON, TCP ports name the pod."""

    def __init__(self, slots: list[Slot]) -> None:
        self._loop = asyncio.new_event_loop()
        # Tiers wait for each other: as many threads as there may be requests under way.
        self._threads = ThreadPoolExecutor(256)
        self._loop.set_default_executor(self._threads)
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._servers = []
        for slot in slots:
            for port in (*HTTP_PORTS, *TCP_PORTS):
                sock = linux.socket_in(slot.fd, socket.AF_INET, socket.SOCK_STREAM)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind(("0.0.0.0", port))
                handler = self._tcp(slot) if port in TCP_PORTS else self._http(slot)
                start = asyncio.start_server(handler, sock=sock)
                self._servers.append(asyncio.run_coroutine_threadsafe(start, self._loop).result())

            names = linux.socket_in(slot.fd, socket.AF_INET, socket.SOCK_DGRAM)
            names.bind(("127.0.0.1", 53))
            endpoint = self._loop.create_datagram_endpoint(lambda: Names(slots), sock=names)
            transport, _ = asyncio.run_coroutine_threadsafe(endpoint, self._loop).result()
            self._servers.append(transport)

    def close(self) -> None:
        """Give everything back."""

        async def cancel():
            for server in self._servers:
                server.close()
            tasks = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(cancel(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._threads.shutdown()
        self._loop.close()

    @staticmethod
    def _tcp(slot):
        async def handle(reader, writer):
            try:
                with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                    await reader.readline()
                    writer.write(f"{slot.workload.name if slot.workload else slot.ip}\n".encode())
                    await writer.drain()
            finally:
                writer.close()

        return handle

    @staticmethod
    def _http(slot):
        async def handle(reader, writer):
            with contextlib.suppress(ConnectionError, asyncio.CancelledError, asyncio.IncompleteReadError):
                while True:
                    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                    method, path, _ = head[0].split(" ", 2)
                    headers = dict(line.split(": ", 1) for line in head[1:] if ": " in line)
                    await reader.readexactly(int(headers.get("content-length", 0)))
                    slot.requests[path] += 1
                    if path.startswith("/delay/"):
                        await asyncio.sleep(float(path.rpartition("/")[2]))
                    await slot.gather()
                    status = slot.status
                    if slot.calls and status == 200:
                        status = await asyncio.to_thread(slot.relay)
                    body = json.dumps(
                        {
                            "pod": slot.workload.name if slot.workload else slot.ip,
                            "method": method,
                            "path": path,
                            "host": headers.get("host"),
                            "headers": headers,
                        }
                    ).encode()
                    top = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n"
                    writer.write(f"{top}content-length: {len(body)}\r\n\r\n".encode() + body)
                    await writer.drain()
            writer.close()

        return handle


class Lab:
    """Slots for pods, the network between them, and the sidecars of one snapshot of the mesh."""

    def __init__(self, size: int) -> None:
        # Not pytest's own folder: Envoy runs as another user and has to reach it.
        self._folder = tempfile.TemporaryDirectory(prefix="mesh-")
        folder = Path(self._folder.name)
        folder.chmod(0o755)
        self._authority = Authority()
        self._bridge = new_namespace()
        self.slots: list[Slot] = []
        for number in range(1, size + 1):
            own = folder / f"pod-{number}"
            own.mkdir(mode=0o755)
            self.slots.append(Slot(f"10.77.0.{number + 10}", new_namespace(), own))
        self._wire()
        self._applications = Applications(self.slots)

    def _wire(self) -> None:
        ip_batch(
            self._bridge,
            "link set lo up",
            "link add br0 type bridge",
            "addr add 10.77.0.1/16 dev br0",
            "link set br0 up",
        )
        for number, slot in enumerate(self.slots):
            ip_batch(
                self._bridge,
                f"link add v{number} type veth peer name eth0 netns /proc/{os.getpid()}/fd/{slot.fd}",
                f"link set v{number} master br0 up",
            )
            ip_batch(
                slot.fd,
                "link set lo up",
                f"addr add {slot.ip}/16 dev eth0",
                "link set eth0 up",
                "route add default via 10.77.0.1",
            )
            nft = Nftables(slot.fd)
            nft.run(render(Capture(uid=ENVOY_UID)))
            nft.close()

    def close(self) -> None:
        """Give everything back."""
        self.stop()
        self._applications.close()
        self._folder.cleanup()
        for fd in (self._bridge, *(slot.fd for slot in self.slots)):
            os.close(fd)

    # ---- sidecars

    def start(self, mesh: Mesh) -> None:
        """A sidecar for each of the mesh's workloads that has one; waits until all are ready."""
        self.stop()
        for slot, workload in zip(self.slots, mesh.workloads, strict=False):
            slot.workload, slot.status, slot.calls, slot.together = workload, 200, None, 0
            slot.requests.clear()
            if workload.sidecar:
                self._launch(slot, mesh, workload)
        for slot in self.running:
            self._wait(slot, lambda s=slot: self._is_ready(s), "not ready")

    @property
    def running(self) -> list[Slot]:
        """Slots with a sidecar."""
        return [slot for slot in self.slots if slot.envoy]

    def _launch(self, slot: Slot, mesh: Mesh, workload: Workload) -> None:
        folder = str(slot.folder)
        (request,) = certificates([workload], mesh.settings.trust_domain)
        slot.files = translate(mesh, workload, folder).files()
        for file in (*self._authority.files(request, folder), *slot.files):
            _put(file)
        config = slot.folder / "bootstrap.json"
        config.write_text(json.dumps(bootstrap(workload, folder)))
        resolver = slot.folder / "resolv.conf"
        resolver.write_text("nameserver 127.0.0.1\n")
        log = (slot.folder / "envoy.log").open("wb")
        with log:
            slot.envoy = subprocess.Popen(
                [
                    "nsenter",
                    f"--net=/proc/{os.getpid()}/fd/{slot.fd}",
                    *_OWN_RESOLVER,
                    str(resolver),
                    "setpriv",
                    f"--reuid={ENVOY_UID}",
                    f"--regid={ENVOY_UID}",
                    "--clear-groups",
                    "--pdeathsig=KILL",
                    *command(binary(), str(config)),
                ],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @staticmethod
    def _is_ready(slot: Slot) -> bool:
        try:
            return slot.admin("/ready").strip() == "LIVE"
        except OSError:
            return False

    def _wait(self, slot: Slot, condition, what: str) -> None:
        end = time.monotonic() + 15
        while not condition():
            log = (slot.folder / "envoy.log").read_text()[-2000:]
            if slot.envoy.poll() is not None:
                raise AssertionError(f"Envoy of {slot.workload.key} ended: {log}")
            if time.monotonic() > end:
                raise AssertionError(f"Envoy of {slot.workload.key} {what}: {log}")
            time.sleep(0.005)

    def update(self, mesh: Mesh) -> list[Translation]:
        """Publish another snapshot to the running sidecars; waits until all serve it."""
        found = []
        for slot, workload in zip(self.slots, mesh.workloads, strict=False):
            slot.workload = workload
            if slot.envoy:
                ours = translate(mesh, workload, str(slot.folder))
                new = ours.files()
                for stage in replacement(slot.files, new):
                    self._carry_out(slot, stage)
                slot.files = new
                found.append(ours)
        return found

    def _carry_out(self, slot: Slot, stage: list[Step]) -> None:
        """One stage of a replacement, until it is live."""
        for step in stage:
            if step.file is None:
                Path(step.path).unlink()
            else:
                _put(step.file)
        files = [step.file for step in stage if step.file is not None]

        def live() -> bool:
            stats = slot.admin(STATS_PATH)
            return not pending(files, stats) and not warming(stats)

        self._wait(slot, live, "did not take the files")

    def outside(self, address: str, port: int) -> bytes:
        """What a process beside the pods, without a sidecar, gets for a line of text."""
        with linux.socket_in(self._bridge, socket.AF_INET, socket.SOCK_STREAM) as sock:
            sock.settimeout(3)
            sock.connect((address, port))
            sock.sendall(b"GET / HTTP/1.1\r\nhost: b\r\n\r\n")
            return sock.recv(1000)

    def rejected(self) -> dict[str, dict[str, int]]:
        """What the sidecars refused."""
        found = {s.workload.key: rejections(s.admin(STATS_PATH)) for s in self.running}
        return {key: value for key, value in found.items() if value}

    def stop(self) -> None:
        """End the sidecars, each by its own process id."""
        for slot in self.running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(slot.envoy.pid, signal.SIGKILL)
        for slot in self.running:
            slot.envoy.wait()
            slot.envoy, slot.workload = None, None
            slot.files = []
            for path in slot.folder.iterdir():
                path.unlink()


def _put(file: ResourceFile) -> None:
    temporary = Path(f"{file.path}.new")
    temporary.write_text(file.text)
    temporary.chmod(0o644)
    temporary.rename(file.path)


def have_everything() -> bool:
    """Whether this machine may make namespaces and has the tools."""
    tools = all(shutil.which(tool) for tool in ("nsenter", "setpriv", "ip"))
    return os.geteuid() == 0 and tools
