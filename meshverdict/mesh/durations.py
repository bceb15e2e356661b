"""Durations as Istio's files write them (Go's form: ``1h30m``, ``0.5s``, ``250ms``) and as Envoy wants them (``0.250s``)."""

from __future__ import annotations

from decimal import Decimal

from meshverdict.model import durations


def seconds(text: str) -> Decimal:
    """The duration in seconds.

    Raises:
        ValueError: It is not a duration.
    """
    try:
        return durations.seconds(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a duration: write it as 250ms, 1.5s, 2m or 1h") from None


def envoy(text: str) -> str:
    """The duration in protobuf's JSON form: whole seconds, or 3, 6 or 9 decimals.

    Raises:
        ValueError: It is not a duration.
    """
    value = seconds(text)
    for digits in (0, 3, 6):
        if value == round(value, digits):
            return f"{value:.{digits}f}s"
    return f"{value:.9f}s"
