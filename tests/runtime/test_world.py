"""The private world: how it begins, and that nothing of it outlives its keeper."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from worlds import become_plain_user

from meshverdict.runtime.keeper import KeeperOptions, WorldHandle, run_world
from meshverdict.runtime.world import explain_refusal, probe_user_namespaces

pytestmark = pytest.mark.root


def descendants(pid: int) -> set[int]:
    """All processes below *pid* on this machine."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found: set[int] = set()
    todo = [pid]
    while todo:
        for child in children.get(todo.pop(), []):
            found.add(child)
            todo.append(child)
    return found


def alive(pids: set[int]) -> set[int]:
    """Those that still run; one that only waits for its parent to read its status does not."""
    found = set()
    for pid in pids:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                found.add(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def wait_dead(pids: set[int], seconds: float = 3.0) -> set[int]:
    deadline = time.monotonic() + seconds
    while alive(pids) and time.monotonic() < deadline:
        time.sleep(0.01)
    return alive(pids)


def busy_world(world: WorldHandle) -> int:
    """A supervisor with children that would like to stay."""
    for _ in range(3):
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.setsid()
            time.sleep(60)
            os._exit(0)
    world.keeper.send(b"")  # keeps the handle in use
    Path(world.scratch / "up").touch()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    os.write(3, b"up")  # last: a first process without a handler hears no SIGTERM
    time.sleep(60)
    return 9


def start_keeper(folder: Path, user: str = "root", tie: int | None = None) -> tuple[int, set[int]]:
    """A keeper with a busy world in a process of its own; returns its id and its descendants."""
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    scratch.chmod(0o777)
    reader, writer = os.pipe()
    keeper = os.fork()
    if keeper == 0:
        try:
            if user == "plain":
                become_plain_user()
            os.dup2(writer, 3)
            status = run_world(busy_world, KeeperOptions(scratch=scratch, tie=tie, stop_timeout_s=1.0))
        except BaseException:  # noqa: BLE001 - told by the status
            status = 99
        os._exit(status)
    os.close(writer)
    assert os.read(reader, 2) == b"up"
    os.close(reader)
    below = descendants(keeper)
    assert len(below) >= 5, "supervisor, spawner and three children"
    return keeper, below


def test_the_exit_status_of_the_supervisor_is_that_of_run_world(tmp_path: Path) -> None:
    """The caller learns how the supervisor ended."""
    assert [run_world(lambda _world, n=n: n, KeeperOptions(scratch=tmp_path)) for n in (0, 7)] == [0, 7]


def test_what_is_written_into_the_scratch_space_is_never_seen_outside(tmp_path: Path) -> None:
    """The scratch folder is a tmpfs of the world only."""

    def main(world: WorldHandle) -> int:
        (world.scratch / "secret").write_text("x")
        return 0

    assert run_world(main, KeeperOptions(scratch=tmp_path)) == 0
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users may enter; pytest closes the way to its own whenever it starts, also beside us."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.parametrize("user", ["root", "plain"])
def test_kill_9_of_the_keeper_leaves_no_process(open_folder: Path, user: str) -> None:
    """The kernel ends the whole tree, also processes that ignore signals."""
    mounts, links = Path("/proc/self/mountinfo").read_text(), Path("/proc/net/dev").read_text().count(":")
    keeper, below = start_keeper(open_folder, user)
    os.kill(keeper, signal.SIGKILL)
    os.waitpid(keeper, 0)
    assert wait_dead(below) == set()
    assert Path("/proc/self/mountinfo").read_text() == mounts
    assert Path("/proc/net/dev").read_text().count(":") == links


def test_kill_9_of_any_process_of_the_control_tree_ends_the_lab(tmp_path: Path) -> None:
    """Supervisor or spawner: without one of them nothing is left, and the keeper ends too."""
    keeper, below = start_keeper(tmp_path)
    supervisor = min(below)
    os.kill(supervisor, signal.SIGKILL)
    _, status = os.waitpid(keeper, 0)
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGKILL
    assert wait_dead(below) == set()


def test_sigterm_to_the_keeper_ends_the_supervisor_in_good_order(tmp_path: Path) -> None:
    """The supervisor's own handler decides the exit status."""
    keeper, below = start_keeper(tmp_path)
    os.kill(keeper, signal.SIGTERM)
    _, status = os.waitpid(keeper, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert wait_dead(below) == set()


def test_the_world_ends_when_the_tie_is_cut(tmp_path: Path) -> None:
    """A lab that a run has started ends with the run, however the run ends."""
    reader, writer = os.pipe()
    os.set_inheritable(writer, False)
    told, tells = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        keeper, _ = start_keeper(tmp_path, tie=reader)
        os.write(tells, b"up")
        _, status = os.waitpid(keeper, 0)
        os._exit(os.waitstatus_to_exitcode(status))
    os.close(reader)
    os.close(tells)
    assert os.read(told, 2) == b"up"
    os.close(told)
    below = descendants(child)
    os.close(writer)
    _, status = os.waitpid(child, 0)
    assert (os.waitstatus_to_exitcode(status), wait_dead(below)) == (0, set())


def test_a_socket_bound_before_stays_on_the_machine_s_loopback(tmp_path: Path) -> None:
    """The supervisor answers on 127.0.0.1 of the machine though it is in another network."""
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]

    def main(world: WorldHandle) -> int:
        accepted, _ = world.sockets["api"].accept()
        accepted.sendall(b"hello from inside")
        with socket.socket() as other:
            return 0 if other.connect_ex(("127.0.0.1", port)) else 5  # nobody there in the world's network

    child = os.fork()
    if child == 0:
        os._exit(run_world(main, KeeperOptions(scratch=tmp_path, sockets={"api": listening})))
    listening.close()
    with socket.create_connection(("127.0.0.1", port), 5) as caller:
        assert caller.recv(100) == b"hello from inside"
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_this_machine_allows_worlds() -> None:
    """The probe makes the same namespaces that a lab needs."""
    assert probe_user_namespaces().ok


@pytest.mark.parametrize(
    ("switches", "setting", "remedy"),
    [
        ({"/proc/sys/user/max_user_namespaces": "0"}, "user.max_user_namespaces", "=15000"),
        ({"/proc/sys/kernel/unprivileged_userns_clone": "0"}, "unprivileged_userns_clone", "=1"),
        (
            {"/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1"},
            "apparmor_restrict_unprivileged_userns",
            "=0",
        ),
    ],
)
def test_a_refusal_names_the_setting_and_the_command(
    switches: dict[str, str], setting: str, remedy: str
) -> None:
    """Doctor tells what to type."""
    why = explain_refusal("Operation not permitted", switches)
    assert setting in why["reason"]
    assert why["remedy"].endswith(setting.rpartition(".")[2] + remedy)
