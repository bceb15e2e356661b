r"""Read Prometheus' text format, as sidecars and workloads print it. Pure.

A page has thousands of lines that differ only in their last label, so labels that were read once are kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

_LINE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?[ \t]+([^ \t]+)")
_LABEL = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")
_PLAIN = {"n": "\n", '"': '"', "\\": "\\"}
_BOUND = 'le="'


class Sample(NamedTuple):
    """One value: its metric, its labels (``le`` apart, which is empty outside histograms), the value."""

    name: str
    labels: Mapping[str, str]
    bound: str
    value: float


def samples(text: str) -> Iterator[Sample]:
    r"""The samples of a page; lines that are none are left out.

    >>> list(samples('# TYPE a counter\na{b="x y",le="5"} 3\n'))
    [Sample(name='a', labels={'b': 'x y'}, bound='5', value=3.0)]
    """
    for line in text.splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        try:
            value = float(match[3])
        except ValueError:
            continue
        rest, bound = _without_bound(match[2] or "")
        yield Sample(match[1], _labels(rest), bound, value)


def _without_bound(text: str) -> tuple[str, str]:
    """Labels without ``le``, and its value; it stands last on Envoy's pages, and elsewhere as a rule."""
    rest, found, bound = text.rpartition(_BOUND)
    if not found or (rest and not rest.endswith((",", " "))):
        return text, ""
    value, _, behind = bound.partition('"')
    return rest.rstrip(", ") + behind, value


@lru_cache(maxsize=4096)
def _labels(text: str) -> Mapping[str, str]:
    return {name: _ESCAPED.sub(_unescape, value) for name, value in _LABEL.findall(text)}


def _unescape(match: re.Match[str]) -> str:
    return _PLAIN.get(match[1], match[0])
