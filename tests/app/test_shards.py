"""Redis in shards, as the app finds them: each key in one, the same one every time."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3")


@pytest.fixture
def shards(start_redis, free_port):
    """Three of them, on three loopback addresses."""
    with ExitStack() as stack:
        yield [stack.enter_context(start_redis(free_port, host)) for host in HOSTS]


def test_a_key_is_in_one_shard_and_found_there_again(start_app, shards):
    """Sixty keys are spread over all three; another process of the app finds each of them; the seed's key is one more."""
    settings = {"REDIS_ENDPOINT": ", ".join(HOSTS), "REDIS_PORT": shards[0].port}
    app, other = start_app(**settings), start_app(**settings)
    stored = {key: app.get(f"/set?key=k{key}").body for key in range(60)}
    assert app.get("/set").status == 200
    sizes = [int(shard.command("DBSIZE")[1:]) for shard in shards]
    assert sum(sizes) == 61
    assert min(sizes) > 5
    assert all(other.get(f"/get?key=k{key}").body == body for key, body in stored.items())
    assert app.get("/reset?key=k7").json() == {"time": "None"}
    assert other.get("/get?key=k7").json() == {"time": "None"}
    assert other.get("/get?key=k8").body == stored[8]


def test_a_shard_that_is_away_takes_only_its_keys_along(start_app, start_redis, free_port):
    """The app stays ready with what is left, and is not when nothing is."""
    settings = {"REDIS_ENDPOINT": ",".join(HOSTS), "REDIS_PORT": free_port}
    with start_redis(free_port, HOSTS[2]):
        app = start_app(**settings)
        answers = [app.get(f"/get?key=k{key}").status for key in range(60)]
        assert set(answers) == {200, 503}
        assert app.get("/readyz").body == '{"ping": true}'
    assert app.get("/readyz").status == 503
    gone = app.get("/get")
    assert gone.status == 503
    assert all(host in str(gone.json()["error"]) for host in HOSTS)


def test_a_name_without_end_is_refused(start_app, redis_server):
    """With the parameter, its length and what is possible."""
    app = start_app(REDIS_ENDPOINT="127.0.0.1", REDIS_PORT=redis_server.port)
    refused = app.get("/set?key=" + "x" * 65)
    assert (refused.status, refused.json()) == (400, {"error": "key: 65 characters; at most 64 are possible"})
    assert app.get("/set?key=" + "x" * 64).status == 200
