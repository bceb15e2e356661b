"""Does this Python function exist, and what does it take? Read from its source; nothing is imported here.

Chaos Toolkit imports every module that an experiment names when it validates, with all that this does. The
source answers nearly always; where it cannot (a compiled module, a name that is computed), a process of its
own imports the module.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Final

TIMEOUT_S: Final = 20
_MAX_HOPS: Final = 8
_PROGRAM: Final = """
import importlib, inspect, json, sys
module, name = sys.argv[1:]
try:
    found = importlib.import_module(module)
except ImportError as error:
    print("\\nlint:" + json.dumps({"module": str(error)})); raise SystemExit
functions = dict(inspect.getmembers(found, lambda f: inspect.isfunction(f) or inspect.isbuiltin(f)))
answer = {"functions": sorted(functions)}
if name in functions:
    try:
        parameters = inspect.signature(functions[name]).parameters.values()
        plain = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        answer["accepts"] = [p.name for p in plain]
        answer["required"] = [p.name for p in plain if p.default is p.empty]
        answer["any"] = any(p.kind is p.VAR_KEYWORD for p in parameters)
    except ValueError:
        answer["accepts"], answer["required"], answer["any"] = [], [], True
print("\\nlint:" + json.dumps(answer))
"""


@dataclass(frozen=True, slots=True)
class Signature:
    """What a function takes by name.

    Attributes:
        any_keyword: It has ``**kwargs``.
        returns: Its annotation as written; None without one.
    """

    accepts: tuple[str, ...]
    required: tuple[str, ...]
    any_keyword: bool = False
    returns: str | None = None


@dataclass(frozen=True, slots=True)
class NoModule:
    """There is no such module, or it cannot be imported."""

    why: str


@dataclass(frozen=True, slots=True)
class NoFunction:
    """The module has no such function, but these."""

    others: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unknown:
    """It could not be found out."""

    why: str


Lookup = Signature | NoModule | NoFunction | Unknown


@cache
def look_up(module: str, name: str) -> Lookup:
    """What is known of the function *name* of *module*; *name* may be empty to ask for the module alone."""
    if not module or not all(part.isidentifier() for part in module.split(".")):
        return NoModule("that is no module's name")
    if _locate(module.split(".", maxsplit=1)[0]) is None:
        return NoModule("nothing of that name is installed")
    parent = module.rpartition(".")[0]
    package = _locate(parent) if parent else None
    if package is not None and package.submodule_search_locations is not None and _locate(module) is None:
        return NoModule(f"the package {parent} is installed, but has no such module")
    return _from_source(module, name, 0) or _from_process(module, name)


def _locate(module: str) -> ModuleSpec | None:
    """The module's spec; unlike `importlib.util.find_spec` this imports no package on the way."""
    spec: ModuleSpec | None = None
    path: Sequence[str] | None = None
    parts = module.split(".")
    for index in range(len(parts)):
        name = ".".join(parts[: index + 1])
        specs = (finder.find_spec(name, path, None) for finder in sys.meta_path)
        spec = next((s for s in specs if s is not None), None)
        if spec is None:
            return None
        path = list(spec.submodule_search_locations or ())
    return spec


@cache
def _source(module: str) -> ast.Module | None:
    spec = _locate(module)
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        return None
    try:
        return ast.parse(Path(spec.origin).read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return None


def _statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in body:
        yield statement
        for inner in ("body", "orelse", "finalbody"):
            if isinstance(statement, ast.If | ast.Try | ast.With):
                yield from _statements(getattr(statement, inner, ()))
        if isinstance(statement, ast.Try):
            for handler in statement.handlers:
                yield from _statements(handler.body)


def _from_source(module: str, name: str, hops: int) -> Lookup | None:
    """The answer of the source, or None where it has none."""
    tree = _source(module)
    if tree is None or hops > _MAX_HOPS:
        return None
    if not name:
        return Signature((), (), any_keyword=True)
    functions: list[str] = []
    decided = True
    for statement in _statements(tree.body):
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            if statement.name == name:
                return _signature(statement)
            functions.append(statement.name)
            decided = decided and statement.name != "__getattr__"
        elif isinstance(statement, ast.ImportFrom):
            for alias in statement.names:
                if (alias.asname or alias.name) == name:
                    return _from_source(_absolute(module, statement), alias.name, hops + 1)
                decided = decided and alias.name != "*"
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            decided = decided and not any(isinstance(t, ast.Name) and t.id == name for t in targets)
    return NoFunction(tuple(f for f in functions if not f.startswith("_"))) if decided else None


def _absolute(module: str, statement: ast.ImportFrom) -> str:
    if not statement.level:
        return statement.module or ""
    spec = _locate(module)
    is_package = spec is not None and spec.submodule_search_locations is not None
    parts = module.split(".")
    base = parts[: len(parts) - statement.level + (1 if is_package else 0)]
    return ".".join([*base, *([statement.module] if statement.module else [])])


def _signature(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Signature:
    taken = function.args
    plain = [a.arg for a in taken.args]
    required = plain[: max(0, len(plain) - len(taken.defaults))]
    required += [a.arg for a, d in zip(taken.kwonlyargs, taken.kw_defaults, strict=True) if d is None]
    return Signature(
        (*plain, *(a.arg for a in taken.kwonlyargs)),
        tuple(required),
        taken.kwarg is not None,
        ast.unparse(function.returns) if function.returns is not None else None,
    )


def _from_process(module: str, name: str) -> Lookup:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, module, name],
            env=environ, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Unknown(f"importing it lasted more than {TIMEOUT_S} s")
    lines = [line for line in done.stdout.decode("utf-8", "replace").splitlines() if line.startswith("lint:")]
    if not lines:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        return Unknown(f"importing it failed: {said[-1] if said else f'exit {done.returncode}'}")
    answer = json.loads(lines[-1].removeprefix("lint:"))
    if "module" in answer:
        return NoModule(answer["module"])
    if not name:
        return Signature((), (), any_keyword=True)
    if "accepts" not in answer:
        return NoFunction(tuple(f for f in answer["functions"] if not f.startswith("_")))
    return Signature(tuple(answer["accepts"]), tuple(answer["required"]), answer["any"])
