"""Where a run on the embedded lab and one on a real cluster agree, and where they do not. Pure.

The embedded lab is worth what it foretells. So two runs of one experiment, one on each, are laid side by side: the
verdict, every probe, what the treatment did to each case, how fast it bit, who was denied, who was dropped. Each line
that differs names what the lab does differently by design and may explain it. Effects are compared within each run,
never latencies across machines.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from meshverdict.analysis.cases import cases
from meshverdict.analysis.flows import DROPPED, between, enforcement
from meshverdict.analysis.loose import mapping, mappings, number
from meshverdict.analysis.summary import Cell, summarise
from meshverdict.analysis.windows import moments_of
from meshverdict.report.fidelity import touching
from meshverdict.report.judge import judge, windows_of
from meshverdict.report.network_facts import of_the_application
from meshverdict.report.render.axis import number as figure

if TYPE_CHECKING:
    from collections.abc import Callable

    from meshverdict.report.contents import RunContents

# Times of enforcement within this factor are called alike: a policy's way to the kernel takes milliseconds or seconds.
FACTOR: Final = 3.0
# An effect below this share is called none, where the experiment declares no margin of its own. Single runs are noisy.
MARGIN: Final = 0.1
_UNKNOWN: Final = "not seen"


@dataclass(frozen=True, slots=True)
class Line:
    """One thing looked at on both sides.

    Attributes:
        kind: One of `fidelity.KINDS`.
        agree: None where one side did not see it.
        because: What of the lab's own ways may explain a difference; empty where the two agree.
    """

    kind: str
    what: str
    embedded: str
    real: str
    agree: bool | None

    @property
    def because(self) -> tuple[str, ...]:
        """Names of entries of the list of differences."""
        return () if self.agree else touching(self.kind)

    @property
    def word(self) -> str:
        """For a person."""
        return {True: "agree", False: "differ", None: "cannot be told"}[self.agree]


@dataclass(frozen=True, slots=True)
class Agreement:
    """All lines, and which of the two runs was on the embedded lab (``a`` or ``b``)."""

    embedded: str
    lines: tuple[Line, ...]

    @property
    def sentence(self) -> str:
        """How far the two agree."""
        told = [line for line in self.lines if line.agree is not None]
        same = sum(bool(line.agree) for line in told)
        left = len(self.lines) - len(told)
        more = f"; {left} could not be told" if left else ""
        return f"The embedded lab and the real cluster agree in {same} of {len(told)} things that both saw{more}."

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        keys = ("kind", "what", "embedded", "real", "agree")
        lines = [{k: getattr(x, k) for k in keys} | {"because": list(x.because)} for x in self.lines]
        return {"embedded": self.embedded, "sentence": self.sentence, "lines": lines}


def agreement(a: RunContents, b: RunContents) -> Agreement | None:
    """The agreement of two runs; None unless one was on an embedded lab and the other on a real cluster."""
    kinds = [contents.section("cluster").get("kind") for contents in (a, b)]
    if sorted(map(str, kinds)) != ["embedded", "real"]:
        return None
    here, there = (a, b) if kinds[0] == "embedded" else (b, a)
    words = judge(here).word, judge(there).word
    told = "INVALID" not in words
    lines = [
        Line("verdict", "verdict of the run", words[0], words[1], words[0] == words[1] if told else None)
    ]
    lines += [*_probes(here, there), *_effects(here, there), *_times(here, there)]
    lines += [*_connections(here, there), *_dropped(here, there)]
    return Agreement("a" if here is a else "b", tuple(lines))


def _probes(here: RunContents, there: RunContents) -> Iterable[Line]:
    """What the hypothesis found after the method."""
    met = [{p.name: after.met for p, after in c.journal.pairs() if after is not None} for c in (here, there)]
    words = {True: "met", False: "not met", None: _UNKNOWN}
    for name in dict.fromkeys([*met[0], *met[1]]):
        one, two = met[0].get(name), met[1].get(name)
        agree = None if one is None or two is None else one == two
        yield Line("verdict", f"probe {name}", words[one], words[two], agree)


def _effects(here: RunContents, there: RunContents) -> Iterable[Line]:
    """What the treatment did to each case, as a ratio to the phase before it in the same run."""
    left, right = _ratios(here), _ratios(there)
    margin = here.journal.margin or MARGIN
    for key in left:
        if key in right:
            one, two = left[key], right[key]
            words = [_effect_words(value, margin) for value in (one, two)]
            agree = None if one is None or two is None else _sign(one, margin) == _sign(two, margin)
            yield Line("load", key, words[0], words[1], agree)


def _ratios(contents: RunContents) -> dict[str, float | None]:
    table = contents.table
    if table is None:
        return {}
    windows = windows_of(contents)
    before, during = windows.of("before"), windows.of("during")
    if not before or not during:
        return {}
    found: dict[str, float | None] = {}
    for case in cases(table.names):
        pair = [summarise(table, case.title, case.names, w) for w in (before[0], during[0])]
        short = case.title.split(":")[0].split(",")[0]
        found[f"{short}: goodput under the treatment"] = _ratio(pair, lambda cell: cell.goodput)
        found[f"{short}: median latency under the treatment"] = _ratio(pair, lambda cell: cell.p50_ms)
    return found


def _ratio(pair: list[Cell], value: Callable[[Cell], float | None]) -> float | None:
    one, two = (value(cell) for cell in pair)
    return None if one is None or two is None or one <= 0 else two / one


def _sign(ratio: float, margin: float) -> int:
    return 0 if abs(ratio - 1) <= margin else int(math.copysign(1, ratio - 1))


def _effect_words(ratio: float | None, margin: float) -> str:
    if ratio is None:
        return _UNKNOWN
    return f"\u00d7{figure(ratio)}, " + {0: "the same", -1: "less", 1: "more"}[_sign(ratio, margin)]


def _times(here: RunContents, there: RunContents) -> Iterable[Line]:
    """How fast the treatment bit and let go."""
    seen = [enforcement(c.flows, moments_of(c.run or {})) for c in (here, there)]
    for what, values in (
        ("from apply to the first denial", [e.to_denied_ms for e in seen]),
        ("from removal to the first that is allowed", [e.to_allowed_ms for e in seen]),
    ):
        one, two = values
        words = [_UNKNOWN if v is None else f"{figure(v)} ms" for v in values]
        agree = None
        if one is not None and two is not None:
            low, high = sorted((max(one, 1.0), max(two, 1.0)))
            agree = high <= FACTOR * low
        yield Line("enforcement", what, words[0], words[1], agree)


def _connections(here: RunContents, there: RunContents) -> Iterable[Line]:
    """Who was denied, and what became of connections that were open."""
    left, right = _tried(here), _tried(there)
    for key in left:
        if key in right:
            one, two = left[key], right[key]
            yield Line(
                "connections",
                f"{key[0]} \u2192 {key[1]}",
                _denial(one),
                _denial(two),
                _denial(one) == _denial(two),
            )
            fates = [_fate(one), _fate(two)]
            if any(fates):
                agree = None if None in fates else fates[0] == fates[1]
                words = [fate or _UNKNOWN for fate in fates]
                yield Line("connections", f"{key[0]} \u2192 {key[1]}, open before", words[0], words[1], agree)


def _tried(contents: RunContents) -> dict[tuple[str, str], Mapping[str, Any]]:
    listed = mappings(contents.section("measures").get("connections"))
    return {(str(item["from"]), str(item.get("to"))): item for item in listed if "from" in item}


def _denial(item: Mapping[str, Any]) -> str:
    if number(item.get("apply_to_denied_ms")) is None:
        return "never denied"
    return "denied" if not item.get("opened_after_denial") else "denied, with leaks"


def _fate(item: Mapping[str, Any]) -> str | None:
    kept = mapping(item.get("open_connection"))
    return None if not kept else str(kept.get("ended_as") or "stayed open")


def _dropped(here: RunContents, there: RunContents) -> Iterable[Line]:
    """Which kinds of flows were dropped under the treatment."""
    sets = [_dropped_kinds(c) for c in (here, there)]
    for kind in sorted((sets[0] or set()) | (sets[1] or set())):
        words = [_UNKNOWN if s is None else "dropped" if kind in s else "not dropped" for s in sets]
        agree = None if None in sets else words[0] == words[1]
        yield Line("flows", f"{kind[0]} \u2192 {kind[1]}:{kind[2]}", words[0], words[1], agree)


def _dropped_kinds(contents: RunContents) -> set[tuple[str, str, int]] | None:
    """Who was dropped on the way to whom; None without a flow log."""
    if not contents.has_flows:
        return None
    moments = moments_of(contents.run or {})
    flows = between(contents.flows, moments.applied, None)
    return {
        (f.source, f.destination, f.port) for f in flows if f.verdict == DROPPED and of_the_application(f)
    }
