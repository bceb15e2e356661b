"""docs/security.md says no more than the tests show."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROWS = re.findall(r"^\| (\d+) \| (.+?) \| (.+?) \|$", (ROOT / "docs/security.md").read_text(), re.MULTILINE)


def test_there_are_fourteen_points():
    """Numbered, each with at least one attack."""
    assert [int(number) for number, _, _ in ROWS] == list(range(1, 15))
    assert all("::" in tests for _, _, tests in ROWS)


def test_every_attack_is_there():
    """Each test that a point names is a function of that file."""
    named = [name for _, _, tests in ROWS for name in re.findall(r"`([^`]+)`", tests)]
    missing = []
    for name in named:
        file, _, function = name.partition("::")
        tree = ast.parse((ROOT / file).read_text())
        functions = {n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}
        if function not in functions:
            missing.append(name)
    assert missing == []
