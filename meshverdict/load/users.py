"""The Locust user of this project (lives in the Locust process)."""

from __future__ import annotations

import logging
from typing import Any

from locust import FastHttpUser, events
from locust.runners import LocalRunner, MasterRunner

from meshverdict.load import recorder  # noqa: F401  # adds the options and the record
from meshverdict.load.target import NO_TARGET
from meshverdict.model.errors import EXIT_USAGE

log = logging.getLogger("meshverdict.load")


class OpenUser(FastHttpUser):
    """A FastHttpUser."""

    abstract = True
    network_timeout = 10.0
    connection_timeout = 10.0


def _need_a_host(environment: Any, **_: Any) -> None:
    # Stock Locust exits 0 after having done nothing.
    if not isinstance(environment.runner, LocalRunner | MasterRunner):
        return
    if environment.host or all(user_class.host for user_class in environment.user_classes):
        return
    if environment.web_ui is None:
        log.error(NO_TARGET)
        raise SystemExit(EXIT_USAGE)
    log.warning("%s (or type it into the web page)", NO_TARGET)


events.init.add_listener(_need_a_host)
