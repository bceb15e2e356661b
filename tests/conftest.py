"""Which tests may run beside many others: waiting for pods costs no processor, proving that load was on time does.

`make test` runs what mostly waits first, four files at a time; a file stays on one worker, because its tests share
a lab. Then come those that measure, two files at a time, of which one mostly waits too.
"""

import http.server
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

HERE = Path(__file__).resolve().parent
# These judge a generator, a record or a run by its lateness: much other work would be measured too.
MEASURING = {"acceptance", "chaos", "load"}
# In those folders, files that wait for what breaks, and ask no clock.
WAITING = {"test_broken_generators.py"}
# These take longest, though their tests are few: begun last, they would be waited for alone.
LONG = (
    "chaos/test_real_runs.py",
    "acceptance/test_production_is_left_alone.py",
    "load/test_locust_runs.py",
    "lab/test_foreign.py",
    "cli/test_campaigns.py",
    "chaos/test_mesh_experiments.py",
    "load/test_engine.py",
    "cluster/test_golden_api.py",
    "lab/test_crashes.py",
    "network/test_yardstick_kernel.py",
    "lab/test_cut_short.py",
    "docs/test_own_app.py",
    "chaos/test_overload_runs.py",
)
# A shell's background job starts with Ctrl-C ignored, and so would every program that a test interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test of a folder that measures its mark; the files that take longest come first."""
    rank = {HERE / name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))
    for item in items:
        if item.path.relative_to(HERE).parts[0] in MEASURING and item.path.name not in WAITING:
            item.add_marker(pytest.mark.measures)


@pytest.fixture(scope="session", autouse=True)
def labs_end_with_their_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Also when pytest is killed, and no fixture is torn down."""
    words = [sys.executable, HERE / "lab_guard.py", str(tmp_path_factory.getbasetemp())]
    with subprocess.Popen(words, stdin=subprocess.PIPE, start_new_session=True):
        yield


class Home(NamedTuple):
    """A home folder whose ~/.kube/config has the context production, and the requests that reached its server."""

    path: Path
    reached: list[str]


def _kubeconfig(server: str) -> str:
    """A kubeconfig whose current context, production, leads to a server."""
    context = {"name": "production", "context": {"cluster": "c", "user": "u"}}
    config = {"apiVersion": "v1", "kind": "Config", "current-context": "production", "contexts": [context]}
    clusters = [{"name": "c", "cluster": {"server": server}}]
    return json.dumps({**config, "clusters": clusters, "users": [{"name": "u", "user": {"token": "t"}}]})


@pytest.fixture
def kubeconfig_of() -> Callable[[str], str]:
    """The text of a kubeconfig whose current context, production, leads to a server."""
    return _kubeconfig


@pytest.fixture
def decoy_home(tmp_path: Path) -> Iterator[Home]:
    """Somebody's home, with a cluster that nobody may touch; it answers everything, and notes who came."""
    reached: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            reached.append(f"{self.command} {self.path}")
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        do_GET = do_POST = do_DELETE = do_PATCH = do_PUT = handle_any  # noqa: N815 - the library's names

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    home = tmp_path / "home"
    (home / ".kube").mkdir(parents=True)
    (home / ".kube" / "config").write_text(_kubeconfig(f"http://127.0.0.1:{server.server_address[1]}"))
    yield Home(home, reached)
    server.shutdown()
    server.server_close()
    thread.join()
