"""Why: gunicorn does not say how many of its threads are busy, nor how many connections wait for one."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from gunicorn.workers.gthread import ThreadWorker
from metrics import OCCUPANCY

if TYPE_CHECKING:
    from collections.abc import Callable


class CountingPool(ThreadPoolExecutor):
    """A thread pool that keeps :data:`metrics.OCCUPANCY`: gunicorn submits a connection at a time."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """As the base class does."""
        OCCUPANCY.queued()
        try:
            future = super().submit(_counted, fn, *args, **kwargs)
        except RuntimeError:  # the pool is shutting down
            OCCUPANCY.abandoned()
            raise
        future.add_done_callback(_forget_cancelled)
        return future


def _counted(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    OCCUPANCY.started()
    try:
        return fn(*args, **kwargs)
    finally:
        OCCUPANCY.finished()


def _forget_cancelled(future: Future[Any]) -> None:
    if future.cancelled():
        OCCUPANCY.abandoned()


class CountingWorker(ThreadWorker):
    """gunicorn's gthread worker on a :class:`CountingPool`."""

    def get_thread_pool(self) -> CountingPool:
        """The hook that gunicorn offers for this."""
        return CountingPool(max_workers=self.cfg.threads)
