"""Say things to the person: progress to stderr, answers to stdout, errors in one shape."""

from __future__ import annotations

import json
import sys
from typing import Any


def answer(value: Any, *, as_json: bool, text: str) -> None:
    """Print *value* as JSON, or *text*."""
    print(json.dumps(value, indent=2) if as_json else text)


def progress(text: str) -> None:
    """One line of progress; never mixed into an answer."""
    print(text, file=sys.stderr, flush=True)


def complain(error: Exception, *, as_json: bool, exit_code: int) -> None:
    """The error, for a person or as JSON."""
    if as_json:
        print(json.dumps({"error": str(error), "kind": type(error).__name__, "exit": exit_code}))
    else:
        print(f"meshverdict: {error}", file=sys.stderr)
