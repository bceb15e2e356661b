"""Rate limits in Istio's documented form, with the value that an experiment asks for.

The form is an EnvoyFilter with Envoy's local rate limit, in which the value is a token bucket: so many tokens each so
many seconds, by proxy. A policy's file keeps a value that was once right; here it is written anew.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from meshverdict.chaos.manifests import Objects, named, read_manifests
from meshverdict.chaos.session import current
from meshverdict.model.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshverdict.chaos.manifests import Manifest

BUCKETS: Final = ("token_bucket", "tokenBucket")
# Tokens come in portions of a tenth of a second: longer ones let bursts through, and Envoy takes none below 50 ms.
PORTION_S: Final = 0.1


def bucket(per_s: float) -> dict[str, Any]:
    """Envoy's token bucket for a rate: about ten fills a second, of whole tokens, at exactly that rate.

    >>> bucket(64), bucket(4)
    ({'max_tokens': 6, 'tokens_per_fill': 6, 'fill_interval': '0.09375s'}, \
{'max_tokens': 1, 'tokens_per_fill': 1, 'fill_interval': '0.25s'})

    Raises:
        UsageError: The rate is not above 0.
    """
    if not per_s > 0:
        raise UsageError(f"a rate limit of {per_s:g} requests a second: a number above 0 is needed")
    tokens = max(1, round(per_s * PORTION_S))
    # Durations of protocol buffers have nine digits.
    interval = f"{tokens / per_s:.9f}".rstrip("0").rstrip(".")
    return {"max_tokens": tokens, "tokens_per_fill": tokens, "fill_interval": f"{interval}s"}


def rate_of(found: Mapping[str, Any]) -> float:
    """Requests a second that a token bucket lets through.

    Raises:
        UsageError: A field is missing or no number.
    """
    interval = found.get("fill_interval", found.get("fillInterval"))
    tokens = found.get("tokens_per_fill", found.get("tokensPerFill", 1))
    try:
        seconds = float(str(interval).removesuffix("s"))
        return float(tokens) / seconds
    except (TypeError, ValueError, ZeroDivisionError):
        raise UsageError(f"token bucket {dict(found)!r}: fill_interval such as 0.1s is needed") from None


def buckets(value: Any) -> Iterator[dict[str, Any]]:
    """Every token bucket inside a manifest."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key in BUCKETS and isinstance(item, dict):
                yield item
            else:
                yield from buckets(item)
    elif isinstance(value, list):
        for item in value:
            yield from buckets(item)


def limits_of(manifests: Sequence[Mapping[str, Any]]) -> tuple[float, ...]:
    """The rates of all token buckets of some manifests, in their order."""
    return tuple(rate_of(found) for manifest in manifests for found in buckets(manifest))


def with_limit(manifest: Mapping[str, Any], per_s: float) -> Manifest:
    """The manifest with every token bucket at this rate. Pure; one without any is answered as it is."""
    changed = copy.deepcopy(dict(manifest))
    for found in buckets(changed):
        for key in [*found]:
            del found[key]
        found.update(bucket(per_s))
    return changed


def apply_policy(
    paths: list[str] | str,
    limit_of_capacity: float | None = None,
    limit_per_s: float | None = None,
    replicas: int = 1,
    times: float = 1.0,
) -> list[str]:
    """Create policies from manifests, as `apply_manifests`, with the rate limits in them set to a value.

    Files without a rate limit are applied as they are.

    Args:
        paths: Files or folders.
        limit_of_capacity: Rate limit, as a share of the capacity that `find_capacity` found.
        limit_per_s: Rate limit in requests a second, instead.
        replicas: The limit is for each proxy: it is divided by so many.
        times: The limit times this: 2 is the value of a time when the capacity was twice as large.
    """
    session = current()
    if int(replicas) < 1:
        raise UsageError(
            f"apply_policy: replicas {replicas!r}: the limit is divided by the number of proxies, at least 1; give the"
            " replicas of the Deployment that the policy is for"
        )
    limit = limit_per_s
    if limit_of_capacity is not None:
        limit = float(limit_of_capacity) * session.found_capacity()
    limit = None if limit is None else float(limit) * float(times)
    objects = Objects(session.access, session.scratch)
    manifests = [
        m for path in ([paths] if isinstance(paths, str) else paths) for m in read_manifests(Path(path))
    ]
    for manifest in manifests:
        namespace = (manifest.get("metadata") or {}).get("namespace")
        if namespace not in session.namespaces:
            raise UsageError(
                f"{named(manifest)}: namespace {namespace!r} is not labelled meshverdict.io/lab=true, so it is"
                " not touched"
            )
    if session.ledger is not None:
        session.ledger.remember((manifest, None) for manifest in manifests)
    done = []
    for manifest in manifests:
        limited = bool(next(buckets(manifest), None))
        objects.apply(manifest if limit is None else with_limit(manifest, limit / int(replicas)))
        done.append(named(manifest) + (f", {limit:.1f} requests a second" if limited and limit else ""))
        if limited and limit:
            session.measures["limit_per_s"] = round(limit, 3)
    return done
