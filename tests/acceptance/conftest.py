"""Our commands as their user types them: in processes of their own, in a home folder of the test's."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
OURS = ("KUBECONFIG", "MESHVERDICT_CONTEXT", "MESHVERDICT_REPORTS", "MESHVERDICT_ARM", "MESHVERDICT_PAIR")


class Person:
    """Somebody with a home folder, a production cluster in it, and a shell.

    Attributes:
        reached: One entry per connection that came to the production cluster.
    """

    def __init__(self, home: Path, production: int) -> None:
        self.home = home
        self.reached: list[str] = []
        self.config = home / ".kube" / "config"
        self.config.parent.mkdir(parents=True)
        self.config.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "production",
                    "contexts": [{"name": "production", "context": {"cluster": "c", "user": "u"}}],
                    "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{production}"}}],
                    "users": [{"name": "u", "user": {"token": "t"}}],
                }
            )
        )

    def types(self, *command: str, cwd: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the virtual environment; the caller looks at its status."""
        clean = {k: v for k, v in os.environ.items() if k not in OURS}
        paths = {"HOME": str(self.home), "XDG_STATE_HOME": str(self.home / "state")}
        return subprocess.run(
            [BIN / command[0], *command[1:]],
            cwd=cwd,
            env=clean | paths | variables,
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    """A person whose default kubeconfig leads to a listener that counts connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        made = Person(tmp_path_factory.mktemp("home"), server.getsockname()[1])

        def listen() -> None:
            while True:
                try:
                    connection, address = server.accept()
                except OSError:
                    return
                made.reached.append(str(address))
                connection.close()

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        yield made
        made.types("meshverdict", "down")
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)
