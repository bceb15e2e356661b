"""Odd values from one seed, and what was found with them: what all targets of fuzz.py share."""

from __future__ import annotations

import copy
import importlib.util
import random
import sys
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
WORDS = [
    "",
    "a",
    "A b",
    "../x",
    "None",
    "TCP",
    "UDP",
    "SCTP",
    "10.0.0.0/8",
    "10.0.0.0/33",
    "::/0",
    "80",
    "http",
    "5%",
]
WORDS += [
    "x" * 300,
    "\x00",
    "é",
    "\ud800",
    "a/b",
    "*",
    "RollingUpdate",
    "2026-01-01T00:00:00Z",
    "1e3",
    "100m",
    "{{x}}",
]
NUMBERS = [0, 1, -1, 80, 65535, 65536, 2**31, -(2**31) - 1, 2**63, 10**30, 0.5, 1e300]
KEYS = [
    "spec",
    "metadata",
    "name",
    "namespace",
    "labels",
    "status",
    "ports",
    "containers",
    "x",
    "",
    "data",
    "$patch",
]


class Chance:
    """Odd values, from one seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def value(self, depth: int = 0) -> Any:
        """Anything that JSON can say."""
        kind = self.random.randrange(8 if depth < 3 else 5)
        match kind:
            case 0:
                return self.random.choice(NUMBERS)
            case 1 | 2:
                return self.random.choice(WORDS)
            case 3:
                return self.random.choice([True, False])
            case 4:
                return None
            case 5 | 6:
                return {
                    self.random.choice(KEYS): self.value(depth + 1) for _ in range(self.random.randrange(3))
                }
            case _:
                return [self.value(depth + 1) for _ in range(self.random.randrange(3))]

    def mutated(self, value: Any, times: int) -> Any:
        """A copy with some of it changed, removed, doubled or added."""
        made = {"": copy.deepcopy(value)}
        for _ in range(times):
            holder, key = self.random.choice(list(places(made)))
            match self.random.randrange(6):
                case 0 | 1 | 2:
                    holder[key] = self.value()
                case 3 if key != "":
                    del holder[key]
                case 4 if isinstance(holder, list):
                    holder.append(copy.deepcopy(holder[key]))
                case 5 if isinstance(holder[key], dict):
                    holder[key][self.random.choice(KEYS)] = self.value()
        return made[""]


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a document, as its container and its key."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in list(pairs):
        yield value, key
        if isinstance(item, dict | list):
            yield from places(item)


def helper(path: str) -> ModuleType:
    """A module of the tests, which are no package."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path} is not there: run this from a checkout")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


class Findings:
    """What went wrong, by its last line, with one example each."""

    def __init__(self) -> None:
        self.examples: dict[str, str] = {}
        self.counts: Counter[str] = Counter()

    def add(self, what: str, example: str) -> None:
        """Keep it."""
        self.counts[what] += 1
        if what not in self.examples:
            self.examples[what] = example
            print(f"FOUND {what}\n{example}", flush=True)

    def caught(self, example: Any) -> None:
        """The exception that is being handled."""
        lines = traceback.format_exc().strip().splitlines()
        self.add(
            f"{lines[-1][:200]} at {lines[-3].strip()[:150]}",
            f"{traceback.format_exc()[-1500:]}\n{example!r:.3000}",
        )
