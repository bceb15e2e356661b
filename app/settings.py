"""Why: everything that an experiment turns on the app is an environment variable, read once and checked here.

| variable | default | meaning |
|---|---|---|
| REDIS_ENDPOINT | redis-svc.d-redis.svc.cluster.local | Redis: host name or address; several, with commas: shards |
| REDIS_WRITE_ENDPOINT |  | where /set and /reset go, where that is another one (a primary; one for each shard); empty: REDIS_ENDPOINT |
| REDIS_PORT | 6379 | Redis: port |
| REDIS_TIMEOUT_S | 1.0 | seconds that all work on Redis for one request may take together |
| REDIS_CONNECTION | pooled | `pooled`: connections are kept; `fresh`: one is made for each request |
| REDIS_POOL | 0 | pooled: 0 keeps as many connections as are needed at once, and uses the last one first; N uses N in turn, of each shard |
| HEALTH | strict | `strict`: 503 when Redis does not answer; `seed`: 200 with `{"ping": "FAIL"}` |
| WORK_MS | 0 | milliseconds of artificial work in each of /set, /get and /reset |
| WORK_KIND | sleep | `sleep`: a thread waits; `cpu`: a thread computes |
| VERSION | 1.1.1 | what /version answers, so that two versions can be told apart |
| THREADS | 16 | threads that handle requests |
| PORT | 5000 | port of the app |
| METRICS_PORT | 9102 | port of the Prometheus metrics |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

Connection = Literal["pooled", "fresh"]
Health = Literal["strict", "seed"]
Work = Literal["sleep", "cpu"]
T = TypeVar("T", bound=str)


class SettingError(ValueError):
    """An environment variable has a value that the app cannot use."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The app's settings; the module's table says what each one means."""

    redis_endpoint: str = "redis-svc.d-redis.svc.cluster.local"
    redis_write_endpoint: str = ""
    redis_port: int = 6379
    redis_timeout_s: float = 1.0
    redis_connection: Connection = "pooled"
    redis_pool: int = 0
    health: Health = "strict"
    work_ms: float = 0.0
    work_kind: Work = "sleep"
    version: str = "1.1.1"
    threads: int = 16
    port: int = 5000
    metrics_port: int = 9102

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Settings:
        """Read the settings.

        Raises:
            SettingError: A variable has a wrong value; the message names it and what is possible.
        """
        endpoint, write = (
            env.get("REDIS_ENDPOINT") or cls().redis_endpoint,
            env.get("REDIS_WRITE_ENDPOINT") or "",
        )
        hosts = {
            "REDIS_ENDPOINT": endpoint.split(","),
            "REDIS_WRITE_ENDPOINT": (write or endpoint).split(","),
        }
        for name, given in hosts.items():
            if not all(host.strip() for host in given):
                raise SettingError(f"{name}={env[name]}: a host between each two commas is needed")
        if len({len(given) for given in hosts.values()}) > 1:
            count = len(hosts["REDIS_ENDPOINT"])
            raise SettingError(
                f"REDIS_WRITE_ENDPOINT={write}: as many hosts as in REDIS_ENDPOINT ({count}) are needed"
            )
        return cls(
            redis_endpoint=endpoint,
            redis_write_endpoint=write,
            redis_port=int(_number(env, "REDIS_PORT", 6379, 1, 65535)),
            redis_timeout_s=_number(env, "REDIS_TIMEOUT_S", 1.0, 0.001, 3600),
            redis_connection=_choice(env, "REDIS_CONNECTION", ("pooled", "fresh")),
            redis_pool=int(_number(env, "REDIS_POOL", 0, 0, 1024)),
            health=_choice(env, "HEALTH", ("strict", "seed")),
            work_ms=_number(env, "WORK_MS", 0.0, 0.0, 3_600_000),
            work_kind=_choice(env, "WORK_KIND", ("sleep", "cpu")),
            version=env.get("VERSION") or cls().version,
            threads=int(_number(env, "THREADS", 16, 1, 512)),
            port=int(_number(env, "PORT", 5000, 0, 65535)),
            metrics_port=int(_number(env, "METRICS_PORT", 9102, 0, 65535)),
        )


def _number(env: Mapping[str, str], name: str, default: float, least: float, most: float) -> float:
    text = env.get(name) or str(default)
    try:
        value = float(text) if isinstance(default, float) else int(text)
    except ValueError:
        value = None
    # A comparison with NaN is never true, so it is refused as well.
    if value is None or not least <= value <= most:
        raise SettingError(f"{name}={text}: a number from {least:g} to {most:g} is needed")
    return value


def _choice(env: Mapping[str, str], name: str, choices: tuple[T, ...]) -> T:
    text = env.get(name) or choices[0]
    for choice in choices:
        if choice == text:
            return choice
    raise SettingError(f"{name}={text}: one of {', '.join(choices)} is needed")
