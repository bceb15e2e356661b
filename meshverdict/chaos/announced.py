"""An experiment is code: what it would run on this machine, told before it runs.

Chaos Toolkit imports any module and starts any program that a file names. Those that come with this package
are known; of any other file a person sees first what it calls.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from meshverdict.model.errors import UsageError
from meshverdict.model.paths import data_folder
from meshverdict.model.yaml_text import read_yaml


def known(experiment: Path) -> bool:
    """Whether the file is one that comes with this package, unchanged."""
    own = data_folder("experiments") / experiment.name
    return own.is_file() and own.read_bytes() == experiment.read_bytes()


def code_of(experiment: Mapping[str, Any]) -> list[str]:
    """What an experiment calls, each once: ``python MODULE.FUNCTION``, ``process PATH ARGUMENTS``, ``http URL``."""
    return list(dict.fromkeys(_calls(experiment)))


def announced(experiment: Path) -> list[str]:
    """The lines to show before a file that is not known is run.

    Raises:
        UsageError: The file cannot be read.
    """
    value = read_document(experiment)
    return [f"{experiment} runs this on your machine:", *(f"  {line}" for line in code_of(value))]


def read_document(experiment: Path) -> dict[str, Any]:
    """An experiment's file, JSON or YAML by its name.

    Raises:
        UsageError: The file cannot be read, or holds no mapping.
    """
    try:
        text = experiment.read_text()
        documents = [json.loads(text)] if experiment.suffix == ".json" else read_yaml(text)
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{experiment}: cannot be read: {' '.join(str(error).split())}") from error
    if len(documents) != 1 or not isinstance(documents[0], dict):
        raise UsageError(f"{experiment}: no experiment: expected one mapping")
    return documents[0]


def _calls(experiment: Mapping[str, Any]) -> Iterator[str]:
    """Every provider anywhere in the document; an alias of YAML is followed once, however often it is used."""
    waiting: list[Any] = [experiment]
    seen: set[int] = set()
    while waiting:
        value = waiting.pop(0)
        if id(value) in seen:
            continue
        if isinstance(value, Mapping):
            seen.add(id(value))
            provider = value.get("provider")
            if isinstance(provider, Mapping):
                yield _call(provider)
            waiting += value.values()
        elif isinstance(value, list):
            seen.add(id(value))
            waiting += value


def _call(provider: Mapping[str, Any]) -> str:
    match provider.get("type"):
        case "python":
            name = (
                f"{provider.get('module')}.{provider['func']}"
                if provider.get("func")
                else provider.get("module")
            )
            return f"python {name}"
        case "process":
            arguments = provider.get("arguments") or ""
            text = arguments if isinstance(arguments, str) else json.dumps(arguments)
            return f"process {provider.get('path')} {text}".rstrip()
        case "http":
            return f"http {provider.get('method') or 'GET'} {provider.get('url')}"
        case other:
            return f"provider {other!r}"
