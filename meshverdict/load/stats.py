"""Add whole seconds to Locust's statistics at once, with our buckets in place of its rounded milliseconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshverdict.model.record import GOOD

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable

    from meshverdict.load.tally import Part

_MOST_TOLD = 1000


def merge_parts(stats: Any, parts: Iterable[Part], t: int) -> None:
    """Add the requests that ended in second *t* to a Locust ``RequestStats``."""
    for part in parts:
        own = stats.get(part.name, part.method)
        for entry in (stats.total, own):
            _add(entry, part, t)
        if part.outcome != GOOD:
            _add_failures(stats, own, part, t)


def _add(entry: Any, part: Part, t: int) -> None:
    """What ``StatsEntry.log`` does for one request, for all of them."""
    n = part.latency.n
    if (
        entry.use_response_times_cache
        and entry.last_request_timestamp
        and t > int(entry.last_request_timestamp)
    ):
        entry._cache_response_times(t - 1)  # noqa: SLF001  # charts of the web page are made of this
    entry.num_requests += n
    entry.num_reqs_per_sec[t] = entry.num_reqs_per_sec.get(t, 0) + n
    entry.last_request_timestamp = float(t)
    entry.total_response_time += part.total_us / 1e3
    least, most = part.least_us / 1e3, part.most_us / 1e3
    entry.min_response_time = (
        least if entry.min_response_time is None else min(entry.min_response_time, least)
    )
    entry.max_response_time = max(entry.max_response_time, most)
    times = entry.response_times
    for index, count in part.latency.counts.items():
        milliseconds = round(part.latency.value(index) / 1e3, 4)
        times[milliseconds] = times.get(milliseconds, 0) + count
    entry.total_content_length += part.bytes


def _add_failures(stats: Any, own: Any, part: Part, t: int) -> None:
    from locust.stats import StatsError  # noqa: PLC0415

    for problem, count in part.problems.items():
        text = f"{part.outcome} ({part.status})" if part.status else part.outcome
        error = f"{text}: {problem}" if problem else text
        key = StatsError.create_key(part.method, part.name, error)
        found = stats.errors.get(key)
        if found is None:
            found = stats.errors[key] = StatsError(part.method, part.name, error)
        found.first_seen = getattr(found, "first_seen", None) or t
        found.last_seen = t
        found.occurrences += count
        for entry in (stats.total, own):
            entry.num_failures += count
            entry.num_fail_per_sec[t] = entry.num_fail_per_sec.get(t, 0) + count


def merge_errors(runner: Any, errors: Counter[tuple[str, str]]) -> None:
    """Tell a Locust runner of tasks that raised: message, traceback, and how often."""
    for (message, trace), count in errors.items():
        for _ in range(min(count, _MOST_TOLD)):
            if hasattr(runner, "master_host"):
                runner.send_message("exception", {"msg": message, "traceback": trace})
            else:
                runner.log_exception("local", message, trace)
