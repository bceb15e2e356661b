"""An answer as a task of an open loop sees it, with Locust's ways to judge it."""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from meshverdict.load.http1 import decode_body, parse_headers
from meshverdict.load.outcomes import of_status

if TYPE_CHECKING:
    import types

    from meshverdict.load.exchange import Exchange
    from meshverdict.load.session import Session
    from meshverdict.model.record import Outcome


class Answer:
    """An answer, as FastHttpUser's tasks know it; with ``catch_response=True`` also the context to judge it in.

    Attributes:
        status_code: HTTP status; 0 without an answer.
        error: What went wrong, in words; empty when an answer came.
    """

    def __init__(
        self, session: Session, exchange: Exchange, *, method: str, name: str, url: str, due: float
    ) -> None:
        self._session = session
        self._exchange = exchange
        self._verdict: str | bool | None = None
        self._reported = False
        self._due = due
        self.method = method
        self.name = name
        self.url = url
        self.status_code = exchange.status
        self.error = exchange.problem

    @property
    def ok(self) -> bool:
        """Whether an answer with a status below 400 came."""
        return 0 < self.status_code < 400

    @cached_property
    def headers(self) -> dict[str, str]:
        """Header fields, names in lower case."""
        return parse_headers(self._exchange.head)

    @cached_property
    def content(self) -> bytes:
        """The body, decompressed.

        Raises:
            ValueError: It is not compressed as its header says, or unpacks to more than is read of any answer.
        """
        body = bytes(self._exchange.body)
        encoding = self.headers.get("content-encoding", "") if body else ""
        return decode_body(body, encoding) if encoding else body

    @property
    def text(self) -> str:
        """The body as text."""
        return self.content.decode("utf-8", errors="replace")

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            ValueError: It is none.
        """
        return json.loads(self.content)

    def success(self) -> None:
        """Count the request as good, whatever its status."""
        self._verdict = True

    def failure(self, problem: object) -> None:
        """Count the request as failed."""
        self._verdict = str(problem)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: types.TracebackType | None
    ) -> bool:
        if error is not None and self._verdict is None:
            self._verdict = f"{type(error).__name__}: {error}"
        self.report()
        # Locust's own ways to say "this request failed" end here; anything else is the task's own error.
        return kind is not None and kind.__name__ in {"ResponseError", "CatchResponseError"}

    def report(self) -> None:
        """Count the request, once."""
        if self._reported:
            return
        self._reported = True
        exchange, verdict = self._exchange, self._verdict
        latency = exchange.ended - self._due
        outcome: Outcome
        if exchange.failure is not None:
            outcome, problem = exchange.failure, exchange.problem
        else:
            outcome, problem = of_status(exchange.status), ""
            if verdict is True:
                outcome = "ok"
            elif isinstance(verdict, str):
                outcome, problem = ("check" if outcome == "ok" else outcome), verdict
            if outcome == "ok" and latency > self._session.deadline:
                outcome, problem = "late", "past the deadline"
        self._session.count(
            self.method,
            self.name,
            outcome,
            exchange.status,
            exchange.ended,
            latency,
            len(exchange.body),
            problem,
        )
