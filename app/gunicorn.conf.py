"""Why: `gunicorn -c gunicorn.conf.py` is the whole command, from any folder, as any user, without a home.

One process with THREADS threads: what "all threads busy" means stays easy to say. Scale with replicas.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

_here = str(Path(__file__).resolve().parent)
if _here not in sys.path:
    sys.path.insert(0, _here)

from settings import Settings  # noqa: E402 - the path is set above
from worker import CountingWorker  # noqa: E402

_settings = Settings.from_env(os.environ)

chdir = _here
wsgi_app = "app:APP"
bind = f"0.0.0.0:{_settings.port}"
workers = 1
threads = _settings.threads
worker_class = CountingWorker
# Beyond this many connections the kernel's queue fills up, which is measured as well.
worker_connections = 1000
backlog = 1024
# Longer than the callers keep connections (Apache: 30 s), so that they close them, never the app.
keepalive = 75
graceful_timeout = 5
# A place that is in memory where there is one: the heartbeat file must not wait for a disk.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - gunicorn makes its file safely
# It would be made in the home folder, which a Pod does not have.
control_socket_disable = True
accesslog = None
errorlog = "-"
loglevel = "info"


def post_worker_init(worker: Any) -> None:
    """Publish the metrics from the process that handles the requests."""
    import metrics  # noqa: PLC0415 - only the worker needs it

    metrics.serve(_settings.threads, _settings.port, _settings.metrics_port)
    worker.log.info("metrics on port %d", _settings.metrics_port)
