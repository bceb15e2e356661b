"""The claims that the project set out to measure, and how one is decided: a declared function, no judgement call.

The wording is the founding document's. Claims without an experiment are listed as such, not left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from meshverdict.analysis.verdict import Effect

ClaimWord = Literal["holds", "does not hold", "undecided", "invalid"]
Expectation = Literal["same", "less", "more", "not less", "not more"]
EXPECTATIONS: Final[tuple[Expectation, ...]] = ("same", "less", "more", "not less", "not more")

_AS_EXPECTED: Final[dict[str, tuple[Expectation, ...]]] = {
    "equivalent": ("same", "not less", "not more"),
    "less": ("less", "not more"),
    "more": ("more", "not less"),
}


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim.

    Attributes:
        experiment: Name of the experiment that measures it; empty where there is none.
        words: The claim.
        price: What it costs besides, where that is known before measuring.
    """

    experiment: str
    words: str
    price: str = ""


CLAIMS: Final = (
    Claim(
        "isolate-redis",
        "For firewall rules the right answer is the network: only the app may reach redis.",
        "1 object",
    ),
    Claim(
        "isolate-redis-mesh",
        "Use the service mesh to segregate redis: only the app may reach it.",
        "2 objects, sidecars at both ends",
    ),
    Claim(
        "mesh-firewall",
        "A firewall in the mesh stands or falls with its sidecars; one in the network does not.",
    ),
    Claim("sidecar-tax", "A mesh is not something magic that boosts the applications."),
    Claim("ratelimit", "A rate limit can just stop the application from serving: no answer, threads safe."),
    Claim(
        "ratelimit-everywhere",
        "Rate limits should not be added to the whole infrastructure indiscriminately.",
    ),
    Claim("snowball", "An internal rate limit could save the infrastructure during snowball effects."),
    Claim(
        "circuit-breaker",
        "Sometimes a circuit breaker is better, and brings a huge complexity in configuration.",
    ),
    Claim(
        "az-affinity", "Calling the cache in the caller's own zone alone reduces the round trip dramatically."
    ),
    Claim(
        "az-affinity-shards",
        "A cache in shards keeps its callers in their zone as a whole one does.",
        "3 fields",
    ),
    Claim("az-affinity-failover", "The price of zone affinity: what happens when the zone's cache is gone."),
    Claim("az-zone-failure", "The price of zone affinity: what happens when the whole zone is gone."),
    Claim(
        "canary",
        "Routing gives a more detailed and customized blue-green deployment.",
        "2 objects, a sidecar at every caller",
    ),
    Claim(
        "canary-plain",
        "Without a mesh, the ratio of replicas shifts requests to a new version too.",
        "no object; a replica for each step",
    ),
    Claim(
        "observability",
        "A mesh is the missing link in the infrastructure's observability.",
        "a sidecar at every tier",
    ),
    Claim("", "A mesh is not an API gateway."),
    Claim("", "A mesh that is not used with a known scope could generate a mess."),
)


def decide(*, held: int, usable: int, effect: Effect | None, expect: Expectation | None) -> ClaimWord:
    """The verdict on a claim, from its hypothesis and from its comparison.

    The hypothesis speaks through the treatment runs: all held, none did, or it depends. The comparison speaks
    only where the experiment declares what it expects of its primary metric: ``same`` asks for equivalence,
    ``less`` and ``more`` for a difference in that direction, ``not less`` and ``not more`` for equivalence or for a
    difference in the other direction. A claim holds when both say so, and does not hold when one says no.

    Args:
        held: Treatment runs in which the hypothesis held.
        usable: Treatment runs that measured anything.
        effect: The primary metric's effect; None for a single run.
        expect: As the experiment declares it; None when only the hypothesis counts.
    """
    if usable == 0 or (effect is not None and effect.word == "invalid"):
        return "invalid"
    hypothesis = True if held == usable else False if held == 0 else None
    parts = [hypothesis] if expect is None else [hypothesis, _as_expected(effect, expect)]
    if False in parts:
        return "does not hold"
    return "undecided" if None in parts else "holds"


def _as_expected(effect: Effect | None, expect: Expectation) -> bool | None:
    """Whether the effect is as expected; None while that cannot be told."""
    if effect is None or effect.word == "undecided":
        return None
    found = "equivalent" if effect.word == "equivalent" else "less" if effect.ratio < 1 else "more"
    return expect in _AS_EXPECTED[found]
