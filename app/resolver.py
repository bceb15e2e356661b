"""Why: a name server that does not answer must not hang a request.

``getaddrinfo`` has no timeout of its own (with a Pod's search list it can take a minute), so it runs
in a thread of its own, and a request waits for its answer no longer than it has time left.
"""

from __future__ import annotations

import random
import socket
import threading
import time

TTL_S = 5.0


class Resolver:
    """IPv4 addresses of one name, asked for again once they are older than :data:`TTL_S`.

    While the name server is silent, the last known addresses stay good.
    """

    def __init__(self, host: str) -> None:
        self.host = host
        self._changed = threading.Condition()
        self._addresses: list[str] = []
        self._error: OSError | None = None
        self._fresh_until = 0.0
        self._asking = False

    def address(self, timeout_s: float) -> str:
        """One of the addresses, by chance.

        Raises:
            OSError: There is none, or no answer came within *timeout_s*.
        """
        deadline = time.monotonic() + timeout_s
        with self._changed:
            if time.monotonic() >= self._fresh_until and not self._asking:
                self._asking = True
                self._error = None
                threading.Thread(target=self._ask, name="resolver", daemon=True).start()
            while not self._addresses:
                if self._error is not None:
                    raise self._error
                if not self._changed.wait(deadline - time.monotonic()) and time.monotonic() >= deadline:
                    raise TimeoutError(f"no answer from the name server about {self.host}")
            return random.choice(self._addresses)  # noqa: S311 - spreads load, guards nothing

    def _ask(self) -> None:
        found: list[str] = []
        error: OSError | None = None
        try:
            answers = socket.getaddrinfo(self.host, None, socket.AF_INET, socket.SOCK_STREAM)
            found = [str(answer[4][0]) for answer in answers]
        except OSError as failed:
            error = failed
        with self._changed:
            self._asking = False
            self._error = error
            if found:
                self._addresses = found
                self._fresh_until = time.monotonic() + TTL_S
            self._changed.notify_all()
