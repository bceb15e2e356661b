"""The manifests, parsed, and the programs of this machine to try their configurations with."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from meshverdict.runtime.images import Machine

MANIFESTS = Path(__file__).resolve().parents[2] / "manifests"
START_S = 15.0

Objects = dict[tuple[str, str], dict[str, Any]]


def documents() -> list[tuple[Path, dict[str, Any]]]:
    """Every object below manifests/, with its file."""
    return [
        (file, document)
        for file in sorted(MANIFESTS.rglob("*.yaml"))
        for document in yaml.safe_load_all(file.read_text())
        if document is not None
    ]


@pytest.fixture(scope="session")
def manifests() -> Path:
    """The folder."""
    return MANIFESTS


@pytest.fixture(scope="session")
def objects() -> Objects:
    """Every object by kind and name; names are unique in this lab, whatever their namespace, except Roles.

    What a policy changes of an object is left out: the object is as its own folder has it.
    """
    found = sorted(documents(), key=lambda pair: pair[0].parent.name != "policies")
    return {(document["kind"], document["metadata"]["name"]): document for _, document in found}


@pytest.fixture
def ports() -> list[int]:
    """Ten ports on which nobody listens."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(10)]
        return [probe.getsockname()[1] for probe in probes]


Run = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Start a program of this machine, wait until it listens on *port*, end it after the test."""
    machine = Machine.here()
    with ExitStack() as stack:

        def start(*argv: str, port: int) -> subprocess.Popen[bytes]:
            program = shutil.which(argv[0], path=machine.path())
            assert program, f"{argv[0]} is missing: run `make setup`"
            log = tmp_path / f"{argv[0]}.log"
            with log.open("wb") as out:
                process = subprocess.Popen([program, *argv[1:]], env=machine.env(), stdout=out, stderr=out)
            stack.callback(_end, process)
            limit = time.monotonic() + START_S
            while time.monotonic() < limit and process.poll() is None:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        return process
                time.sleep(0.02)
            raise AssertionError(f"{argv[0]} does not listen on {port}: {log.read_text()}")

        yield start


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
