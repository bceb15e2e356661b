"""The open loop when it has more to do than it can: in a time of its own, so that the machine's does not matter."""

import contextlib
import select
import socket

import pytest
from load_servers import OK

from meshverdict.load.arrivals import constant
from meshverdict.load.openloop import Job, OpenLoop, Stream
from meshverdict.load.share import Share


class Clock:
    """Every look at the clock costs *turn* seconds: the engine's own work."""

    def __init__(self, turn):
        self.turn = turn
        self.now = 1000.0

    def __call__(self):
        """The time, which goes on."""
        self.now += self.turn
        return self.now


class Service:
    """Answers whatever is there whenever the engine looks for events: it is never what is waited for.

    Attributes:
        stalled: Looks at which it does nothing.
    """

    def __init__(self, stalled=0):
        self.stalled = stalled
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.listener.setblocking(False)
        self.mine = select.epoll()
        self.engines = select.epoll()
        self.connections = {}

    def __getattr__(self, name):
        return getattr(self.engines, name)

    def poll(self, _timeout, most):
        """What the engine's own epoll has, at once."""
        if self.stalled:
            self.stalled -= 1
        else:
            self.serve()
        return self.engines.poll(0, most)

    def serve(self):
        """Accept and answer."""
        with contextlib.suppress(BlockingIOError):
            while True:
                connection, _ = self.listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.connections[connection.fileno()] = connection
                self.mine.register(connection, select.EPOLLIN)
        for fd, _ in self.mine.poll(0):
            connection = self.connections[fd]
            if connection.recv(65536):
                connection.sendall(OK)
            else:
                self.connections.pop(fd).close()

    def close(self):
        """Close everything."""
        self.engines.close()
        self.mine.close()
        self.listener.close()
        for connection in self.connections.values():
            connection.close()


class User:
    """What a Locust user looks like to the open loop."""

    default_headers = None
    keep_alive = True
    insecure = True
    network_timeout = 60.0
    max_redirects = 5

    def __init__(self, port):
        self.host = f"http://127.0.0.1:{port}"


def run(service, clock, rate, seconds):
    user = User(service.listener.getsockname()[1])
    loop = OpenLoop(
        [Stream("", constant(rate), (Job(user, lambda user: user.client.get("/"), 1.0),))],
        kind="constant",
        seed=1,
        share=Share(),
        duration=seconds,
        deadline=float("inf"),
        fifo=False,
        epoll=lambda: service,
        clock=clock,
    )
    told = []
    loop.open()
    loop.run(told.append)
    assert loop.error is None, loop.error
    return told


@pytest.mark.parametrize("turn", [10e-6, 40e-6, 60e-6])
def test_a_loop_with_too_much_to_do_still_reads_the_answers(turn):
    """It does not begin requests and leave their answers lying, and opens no crowd of connections."""
    with contextlib.closing(Service()) as service:
        told = run(service, Clock(turn), rate=20_000, seconds=1.2)
    ended = sum(part.latency.n for second in told for part in second.parts)
    assert ended == sum(second.generator.sent for second in told) == 24_000
    assert max(second.generator.in_flight for second in told) <= 64
    assert sum(second.generator.opened for second in told) <= 128


def test_a_service_that_stalls_is_met_with_more_connections_and_what_waited_is_worked_off():
    """Requests that wait for the service are a reason for connections; afterwards, nothing is left waiting."""
    with contextlib.closing(Service(stalled=3000)) as service:
        told = run(service, Clock(10e-6), rate=20_000, seconds=1.2)
    assert sum(second.generator.sent for second in told) == 24_000
    assert sum(second.generator.opened for second in told) > 128
    assert told[-1].generator.in_flight == 0
