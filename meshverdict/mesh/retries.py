"""Retries: Istio's defaults, which differ by version, and what a VirtualService sets.

They are the fuel of a snowball: today's Istio no longer retries an answered 503, 1.14 did.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from meshverdict.mesh import durations
from meshverdict.mesh.envoy import Json, extension
from meshverdict.mesh.values import RetryVariant

_CONDITIONS: Final = "connect-failure,refused-stream,unavailable,cancelled"
_ATTEMPTS: Final = 2
# Of an inbound route: what the server has not begun to handle.
INBOUND: Final[Json] = {"retry_on": "reset-before-request", "num_retries": 2}


def default(variant: RetryVariant) -> Json:
    """The retries of a route that says nothing about them."""
    return _policy(_ATTEMPTS, _CONDITIONS if variant == "today" else f"{_CONDITIONS},503")


def of_route(rule: Mapping[str, Any] | None, variant: RetryVariant) -> Json | None:
    """The retries of a route: the defaults without a rule; None when switched off (``attempts: 0``, or a rule without it)."""
    if rule is None:
        return default(variant)
    if not rule.get("attempts"):
        return None
    written = rule.get("retryOn") or (_CONDITIONS if variant == "today" else f"{_CONDITIONS},503")
    policy = _policy(rule["attempts"], written)
    if "perTryTimeout" in rule:
        policy["per_try_timeout"] = durations.envoy(rule["perTryTimeout"])
    if "backoff" in rule:
        policy["retry_back_off"] = {"base_interval": durations.envoy(rule["backoff"])}
    if rule.get("retryIgnorePreviousHosts") is False:
        del policy["retry_host_predicate"], policy["host_selection_retry_max_attempts"]
    if rule.get("retryRemoteLocalities"):
        name = "envoy.retry_priorities.previous_priorities"
        message = "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig"
        policy["retry_priority"] = extension(name, message, update_frequency=2)
    return policy


def _policy(attempts: int, conditions: str) -> Json:
    words = [word.strip() for word in conditions.split(",") if word.strip()]
    codes = [int(word) for word in words if word.isdigit()]
    named = [word for word in words if not word.isdigit()]
    if codes and "retriable-status-codes" not in named:
        named.append("retriable-status-codes")
    policy: Json = {
        "retry_on": ",".join(named),
        "num_retries": attempts,
        "retry_host_predicate": [
            extension(
                "envoy.retry_host_predicates.previous_hosts",
                "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
            )
        ],
        "host_selection_retry_max_attempts": "5",
    }
    if codes:
        policy["retriable_status_codes"] = codes
    return policy
