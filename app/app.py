"""The seed's example app: keeps the time in Redis and tells it.

/set stores the time of now, /get tells it, /reset forgets it, / leads to /get, /version tells the app's own version.
With ?key=NAME they mean the time of that name, of which a sharded Redis has each in one place. /healthz and /readyz
both ask Redis for a PING, as in the seed; a liveness probe should therefore use neither (the manifests' asks the
metrics port): restarting the app brings no Redis back.
"""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

import redis
from flask import Flask, Response, abort, g, redirect, request
from metrics import DURATION
from settings import Settings
from timestore import TimeStore

if TYPE_CHECKING:
    from werkzeug.wrappers import Response as AnyResponse

SETTINGS = Settings.from_env(os.environ)
STORE = TimeStore(SETTINGS)
APP = Flask(__name__)
LONGEST_NAME = 64


def answer(body: dict[str, object], status: int = 200) -> Response:
    """A JSON answer, formatted as the seed's ``json.dumps`` does."""
    return Response(json.dumps(body), status=status, mimetype="application/json")


def name_asked() -> str:
    """The name in the request's query; none is the seed's one time."""
    name = request.args.get("key", "")
    if len(name) > LONGEST_NAME:
        abort(answer({"error": f"key: {len(name)} characters; at most {LONGEST_NAME} are possible"}, 400))
    return name


def work(settings: Settings) -> None:
    """The artificial work of one request: waiting, or CPU time of this thread."""
    if settings.work_ms <= 0:
        return
    seconds = settings.work_ms / 1000
    if settings.work_kind == "sleep":
        time.sleep(seconds)
        return
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


@APP.before_request
def _begin() -> None:
    g.begin = time.perf_counter()


@APP.after_request
def _measure(response: AnyResponse) -> AnyResponse:
    # The rule, not the path: a scan of odd paths must not make a metric each.
    endpoint = request.url_rule.rule if request.url_rule else "other"
    DURATION.labels(endpoint, response.status_code).observe(time.perf_counter() - g.begin)
    return response


@APP.errorhandler(redis.RedisError)
def _redis_away(error: redis.RedisError) -> Response:
    return answer(
        {"error": f"redis {STORE.name}: {error} (REDIS_TIMEOUT_S={SETTINGS.redis_timeout_s:g})"}, 503
    )


@APP.get("/")
def redisapp() -> AnyResponse:
    """Main redirect."""
    return redirect("/get", code=302)


@APP.get("/set")
def set_var() -> Response:
    """Set the time."""
    work(SETTINGS)
    return answer({"time": STORE.set_now(name_asked())})


@APP.get("/get")
def get_var() -> Response:
    """Get the time."""
    work(SETTINGS)
    return answer({"time": STORE.get(name_asked())})


@APP.get("/reset")
def reset() -> Response:
    """Reset the time."""
    work(SETTINGS)
    return answer({"time": STORE.reset(name_asked())})


@APP.get("/version")
def version() -> Response:
    """Get the app version."""
    return answer({"version": SETTINGS.version})


@APP.get("/healthz")
def health() -> Response:
    """Check the app health: whether Redis answers."""
    try:
        return answer({"ping": STORE.ping()})
    except redis.RedisError:
        return answer({"ping": "FAIL"}, 503 if SETTINGS.health == "strict" else 200)


@APP.get("/readyz")
def ready() -> Response:
    """Check the app readiness: the same."""
    return health()
