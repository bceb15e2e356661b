"""The value of a rate limit in a policy's file: read, judged, and written anew without touching anything else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from meshverdict.chaos.manifests import read_manifests
from meshverdict.chaos.rate_limit import bucket, limits_of
from meshverdict.model.errors import UsageError
from meshverdict.model.yaml_text import read_yaml

# A value within a fifth of the right one costs less than a fifth of the goodput.
TOLERANCE: Final = 0.2
_FIELD: Final = re.compile(
    r"^(?P<before>[ \t-]*[\"']?(?P<name>max_tokens|tokens_per_fill|fill_interval)[\"']?[ \t]*:[ \t]*)"
    r"[\"']?[0-9.]+s?[\"']?(?P<after>[ \t]*(?:#.*)?)$",
    re.MULTILINE,
)


def read_limits(path: Path) -> tuple[float, ...]:
    """Requests a second of every token bucket in a policy's file, for each proxy.

    Raises:
        UsageError: There is no such file, or no token bucket in it.
    """
    found = limits_of(read_manifests(path))
    if not found:
        raise UsageError(f"{path}: no token_bucket in it, so there is no rate limit to look at")
    return found


def rewritten(text: str, per_s: float) -> str:
    """A policy's YAML text with another value in its token buckets; remarks, order and everything else stay.

    Raises:
        UsageError: A bucket is written in a form in which its lines cannot be found, such as `{max_tokens: 7}`.
    """
    values = bucket(per_s)
    changed = _FIELD.sub(lambda m: f"{m['before']}{values[m['name']]}{m['after']}", text)
    try:
        found = limits_of([m for m in read_yaml(changed) if m])
    except ValueError as error:
        raise UsageError(f"the policy is not YAML: {error}") from error
    if not found or any(abs(one / per_s - 1) > 1e-3 for one in found):
        raise UsageError(
            "the token bucket's fields (max_tokens, tokens_per_fill, fill_interval) must stand on lines of their own,"
            " so that their values can be written without touching the rest"
        )
    return changed


def stale(limit: float, value: float, tolerance: float = TOLERANCE) -> bool:
    """Whether a limit is further from the value that was measured than *tolerance*, as a share of that value.

    >>> [stale(limit, 40) for limit in (20, 33, 40, 47, 80)]
    [True, False, False, False, True]
    """
    return abs(limit / value - 1) > tolerance
