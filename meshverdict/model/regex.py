"""Regular expressions of manifests: RE2's, as Go and Envoy have them.

Whoever may create an object may write one, and the API server searches with it: RE2 needs time in proportion to the text,
whatever the expression, where Python's own engine can be kept busy for ever. Source: https://github.com/google/re2/wiki/Syntax
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import re2

# RE2's words for what is wrong, and Go's.
_WORDS: Final = {
    "missing )": "missing closing )",
    "missing ]": "missing closing ]",
    "bad repetition operator": "invalid nested repetition operator",
    "no argument for repetition operator": "missing argument to repetition operator",
    "invalid repetition size": "invalid repeat count",
    "invalid perl operator": "invalid or unsupported Perl syntax",
    "invalid named capture group": "invalid named capture",
    "trailing \\": "trailing backslash at end of expression",
}


class RegexError(ValueError):
    """An expression that RE2 does not know; the text is Go's."""


@lru_cache(maxsize=512)
def compiled(expression: str) -> Any:
    """A compiled expression, with ``search``, ``fullmatch`` and ``finditer`` as in Python's ``re``.

    Raises:
        RegexError: With the words that Go's ``regexp`` has for it.

    >>> compiled("a+").search("caat").group()
    'aa'
    >>> compiled("(a")
    Traceback (most recent call last):
    ...
    meshverdict.model.regex.RegexError: error parsing regexp: missing closing ): `(a`
    """
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(encodable(expression), options)
    except re2.error as error:
        said = error.args[0] if error.args else ""
        text = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
        what, _, where = text.partition(": ")
        raise RegexError(f"error parsing regexp: {_WORDS.get(what, what)}: `{where}`") from None


def encodable(text: str) -> str:
    """A text without halves of surrogate pairs, which JSON may have and UTF-8 has not."""
    return text.encode(errors="replace").decode()
