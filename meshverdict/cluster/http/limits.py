"""How much of the server may be held open at once: a client that opens without end must not take its memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from meshverdict.cluster.errors import too_many_requests

WATCHES: Final = 2000
STREAMS: Final = 200


class Limit:
    """How many of one thing may be open; the next one is refused until another ends.

    Args:
        what: Its name in the refusal.
        most: The number.
    """

    def __init__(self, what: str, most: int) -> None:
        self._what = what
        self._most = most
        self._open = 0

    @contextmanager
    def held(self) -> Iterator[None]:
        """One more is open inside the block.

        Raises:
            ApiError: 429.
        """
        if self._open >= self._most:
            raise too_many_requests(f"{self._most} {self._what} are open: close some, then try again")
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1
