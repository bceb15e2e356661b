"""Programs run in pods of a real lab, and what goes wrong with them."""

import time

import pytest

from meshverdict.chaos.execute import Place, execute, execute_in_all, one_pod, refused_by_redis
from meshverdict.model.errors import LabError


@pytest.fixture(scope="module")
def redis(access):
    """The container of the lab's Redis."""
    return Place("d-redis", one_pod(access, "d-redis", "app=redis"), "redis")


def run(access, redis, *command, timeout=10.0):
    return execute(access, redis.namespace, redis.pod, redis.container, command, timeout=timeout)


def test_a_program_runs_in_several_containers_at_once(access, redis):
    """Two naps take the time of one."""
    begun = time.monotonic()
    said = execute_in_all(access, [redis] * 2, ["sh", "-c", "sleep 1; echo done"], timeout=10)
    assert said == ["done\n"] * 2
    assert time.monotonic() - begun < 1.9


def test_a_program_that_fails_is_told_with_its_place_and_its_words(access, redis):
    """Of a script its text is not shown."""
    with pytest.raises(
        LabError, match=rf"'sh -c' in d-redis/{redis.pod}, container redis: ended with 7: no way"
    ):
        run(access, redis, "sh", "-c", "\necho no way >&2\nexit 7")


def test_one_that_does_not_end_is_given_up(access, redis):
    """After its time."""
    with pytest.raises(LabError, match=r"no end after 0\.3 s"):
        run(access, redis, "sleep", "5", timeout=0.3)


@pytest.mark.parametrize("place", [Place("d-redis", "nobody", "redis"), Place("nowhere", "nobody", "redis")])
def test_a_place_that_is_not_there_is_a_lab_error(access, redis, place):
    """Also beside one that is, whose program is not kept."""
    with pytest.raises(LabError, match=f"in {place.namespace}/nobody, container redis: cannot be run"):
        execute_in_all(access, [redis, place], ["sleep", "1"], timeout=10)


def test_a_redis_that_refuses_is_told_from_one_that_answers(access, redis):
    """redis-cli ends with 0 in both cases."""
    assert refused_by_redis(run(access, redis, "redis-cli", "NONSENSE"))
    assert not refused_by_redis(run(access, redis, "redis-cli", "PING"))


@pytest.mark.parametrize(
    ("said", "refused"),
    [
        ("NOAUTH Authentication required.\n\n", True),
        ("NOPERM this user has no permissions to run the 'client' command", True),
        ("(error) ERR unknown command", True),
        ("OK\n", False),
        ("3", False),
        ("ERRATIC behaviour", False),
        ("", False),
    ],
)
def test_error_replies_of_redis(said, refused):
    """As redis-cli prints them, to a terminal or not."""
    assert refused_by_redis(said) is refused
