"""Say things to the person: progress to stderr, answers to stdout, errors in one shape."""

from __future__ import annotations

import json
import os
import sys
from typing import Any, TextIO


def answer(value: Any, *, as_json: bool, text: str) -> None:
    """Print *value* as JSON, or *text*."""
    _say(json.dumps(value, indent=2, allow_nan=False) if as_json else text, sys.stdout)


def progress(text: str) -> None:
    """One line of progress; never mixed into an answer."""
    _say(text, sys.stderr)


def _say(text: str, stream: TextIO) -> None:
    """Print; a reader who has gone, as with `| head -1`, does not undo what is being done."""
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:
        with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123 - os.devnull is a name, not a file
            os.dup2(nowhere.fileno(), stream.fileno())


def complain(error: Exception, *, as_json: bool, exit_code: int) -> None:
    """The error, for a person or as JSON."""
    if as_json:
        print(json.dumps({"error": str(error), "kind": type(error).__name__, "exit": exit_code}))
    else:
        print(f"meshverdict: {error}", file=sys.stderr)
