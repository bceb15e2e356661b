"""The requests under way: how many, which of them have waited too long, and which are over."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshverdict.load.exchange import Exchange
    from meshverdict.model.record import Outcome


# A task may give every request another timeout; beyond so many, those that nothing waits for are forgotten.
_TIMEOUTS = 16


class Flight:
    """Requests from their submission to their end.

    Attributes:
        count: How many are under way.
        over: Those that have ended and whose tasks have not gone on yet.
        now: The moment, on the steady clock, at which what ends now ended.
    """

    def __init__(self) -> None:
        self.count = 0
        self.over: deque[Exchange] = deque()
        self.now = 0.0
        # Timeouts are few and requests are many: in each of these, the first to come is the first to expire.
        self._by_timeout: dict[float, OrderedDict[int, Exchange]] = {}

    def add(self, exchange: Exchange) -> None:
        """A request is under way from now on."""
        self.count += 1
        same = self._by_timeout.get(exchange.timeout)
        if same is None:
            same = self._by_timeout[exchange.timeout] = OrderedDict()
        same[id(exchange)] = exchange

    def finish(self, exchange: Exchange) -> None:
        """A request is over. Its task goes on later, from the loop: it may be what is running now."""
        exchange.ended = self.now
        exchange.connection = None
        self._by_timeout[exchange.timeout].pop(id(exchange), None)
        self.count -= 1
        self.over.append(exchange)

    def fail(self, exchange: Exchange, outcome: Outcome, problem: str) -> None:
        """A request is over without an answer."""
        exchange.failure = outcome
        exchange.problem = problem
        self.finish(exchange)

    def expired(self, *, all_of_them: bool) -> Iterator[Exchange]:
        """Requests whose time is over; each must be finished before the next is asked for."""
        if len(self._by_timeout) > _TIMEOUTS:
            self._by_timeout = {timeout: same for timeout, same in self._by_timeout.items() if same}
        for timeout, same in self._by_timeout.items():
            while same:
                exchange = next(iter(same.values()))
                if exchange.due + timeout > self.now and not all_of_them:
                    break
                yield exchange
