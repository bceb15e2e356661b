"""What could not be translated, by the resource that asks for it: admission should have refused it, and did not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from meshverdict.model.errors import MeshverdictError


class TranslationError(MeshverdictError):
    """A resource asks for something that has no form in Envoy; the text names the resource."""


@contextmanager
def naming(what: str) -> Iterator[None]:
    """Errors of values that do not fit, inside, become a `TranslationError` that names *what*; the innermost counts."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise TranslationError(f"{what} cannot be translated: {error!r}") from error
