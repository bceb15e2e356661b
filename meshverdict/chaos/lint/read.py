"""From a file's bytes to a document: what must be right before there is anything to check."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import Final

from meshverdict.chaos.lint.document import Document, Flaw, UnreadableError
from meshverdict.chaos.lint.json_text import parse_json
from meshverdict.chaos.lint.yaml_text import parse_yaml

SUFFIXES: Final = (".json", ".yaml", ".yml")
MAX_BYTES: Final = 1_000_000


def parse(name: str, raw: bytes) -> Document:
    """The document in *raw*, read by the suffix of *name* as Chaos Toolkit does.

    Raises:
        UnreadableError: Why it is none.
    """
    suffix = Path(name).suffix
    if suffix not in SUFFIXES:
        raise _unreadable(
            "unknown-file-type",
            f"the name ends in {suffix or 'no suffix'}; Chaos Toolkit reads only {', '.join(SUFFIXES)}",
            "rename the file",
        )
    if len(raw) > MAX_BYTES:
        raise _unreadable(
            "file-too-big",
            f"{len(raw)} bytes; an experiment is read up to {MAX_BYTES}",
            "keep data in files of their own and name them by a configuration value",
        )
    text = _text(raw)
    if not text.strip():
        raise _unreadable("empty-file", "the file is empty", "write an experiment, or delete the file")
    return parse_json(text) if suffix == ".json" else parse_yaml(text)


def _text(raw: bytes) -> str:
    if raw.startswith(codecs.BOM_UTF8):
        raise _unreadable(
            "byte-order-mark",
            "the file begins with a byte order mark, which Chaos Toolkit cannot read",
            "save it as UTF-8 without BOM",
        )
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise _unreadable(
            "not-text",
            f"not UTF-8 text: byte {raw[error.start]:#04x} at offset {error.start}",
            "save the experiment as UTF-8",
            line,
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise _unreadable("not-text", "the file holds zero bytes: it is no text", "name a text file", line)
    return text.replace("\r\n", "\n")


def _unreadable(rule: str, what: str, fix: str, line: int = 1) -> UnreadableError:
    return UnreadableError(Flaw(rule, what, fix, line))
