"""The helpers beside these tests are imported by name; and what Locust is pointed at."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from load_servers import answering, serve
from locust_command import ANSWER, OWN


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A locustfile of somebody's own."""
    file = tmp_path / "own.py"
    file.write_text(textwrap.dedent(OWN))
    return file


@pytest.fixture
def lab() -> Iterator[str]:
    """A server that answers as the lab does."""
    with serve(answering(ANSWER)) as port:
        yield f"http://127.0.0.1:{port}"
