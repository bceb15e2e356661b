"""What load an experiment asks for, and the Locust command line that makes it."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from meshverdict.load.target import INGRESS_SERVICE
from meshverdict.model.errors import UsageError
from meshverdict.model.record import CLOSED

if TYPE_CHECKING:
    from collections.abc import Mapping

ARRIVALS = ("poisson", "constant", CLOSED)
IMAGE = "meshverdict/load"
IMAGE_VARIABLE = "MESHVERDICT_LOAD_IMAGE"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,50}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class LoadSpec:
    """One load on the lab's ingress, made by pods in the cluster.

    Attributes:
        duration_s: How long arrivals go on, seconds.
        rate: Arrivals a second over all workers: a number, or a shape such as ``ramp:100:800:60`` (see
            `meshverdict.load.arrivals.parse_rate`). None with ``arrivals="closed"``.
        rates: Arrivals a second of the tasks with a tag, beside *rate* for all others: ``{"case2": 2}``.
        arrivals: ``poisson``, ``constant``, or ``closed``: *users* that wait for answers.
        users: Users of a closed loop, over all workers.
        seed: The same seed makes the same arrivals.
        deadline_ms: A good answer later than this is no goodput; None for no deadline.
        workers: Pods that share the load.
        tags: Only tasks with one of these tags; empty for all.
        exclude_tags: No tasks with one of these.
        locustfile: Path of the locustfile on this machine; None is the lab's own.
        host: Base URL of the target, as seen from a pod.
        zone: Zone in which the pods must run; None for any.
        name: Name of the Job, and of what belongs to it.
    """

    duration_s: float
    rate: float | str | None = None
    rates: Mapping[str, float] = field(default_factory=dict)
    arrivals: str = "poisson"
    users: int = 1
    seed: int = 1
    deadline_ms: float | None = None
    workers: int = 1
    tags: tuple[str, ...] = ()
    exclude_tags: tuple[str, ...] = ()
    locustfile: str | None = None
    host: str = INGRESS_SERVICE
    zone: str | None = None
    name: str = "load"
    image: str = IMAGE
    namespace: str = "load"

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            raise UsageError("load: " + "; ".join(problems))

    def _problems(self) -> list[str]:
        checks = {
            f"duration_s {self.duration_s!r}: a number of seconds above 0": _positive(self.duration_s),
            f"arrivals {self.arrivals!r}: one of {', '.join(ARRIVALS)}": self.arrivals in ARRIVALS,
            f"workers {self.workers!r}: a whole number from 1": _whole(self.workers),
            f"users {self.users!r}: a whole number from 1": _whole(self.users),
            f"seed {self.seed!r}: a whole number": isinstance(self.seed, int),
            f"deadline_ms {self.deadline_ms!r}: above 0, or none": self.deadline_ms is None
            or _positive(self.deadline_ms),
            f"rate {self.rate!r}: above 0, or a shape": self.rate is None
            or isinstance(self.rate, str)
            or _positive(self.rate),
            f"rates {dict(self.rates)!r}: a tag and a number above 0 each": all(
                map(_positive, self.rates.values())
            ),
            f"name {self.name!r}: lower case letters, digits and '-'": bool(_NAME.fullmatch(self.name)),
            "arrivals 'closed' has users, not a rate": self.arrivals != CLOSED
            or not (self.rate or self.rates),
            f"users {self.users!r}: as many for each of {self.workers!r} workers": self.arrivals != CLOSED
            or not (_whole(self.users) and _whole(self.workers))
            or self.users % self.workers == 0,
            "a rate is missing; users that wait are asked for with arrivals 'closed'": self.arrivals == CLOSED
            or self.rate is not None
            or bool(self.rates),
        }
        return [problem for problem, right in checks.items() if not right]

    def total_rate(self) -> float | None:
        """Arrivals a second over all tasks; None for a closed loop or a shape that is no number."""
        if isinstance(self.rate, str) or (self.rate is None and not self.rates):
            return None
        return float(self.rate or 0.0) + sum(self.rates.values())

    def arguments(self, locustfile: str) -> list[str]:
        """Locust's command line for every worker; which one it is, a worker learns from the environment."""
        arguments = ["-f", locustfile, "--headless", "--host", self.host, "--record", "-", "--only-summary"]
        arguments += ["--run-time", f"{math.ceil(self.duration_s)}s", "--exit-code-on-error", "0"]
        if self.arrivals == CLOSED:
            users = self.users // self.workers
            arguments += ["--users", str(users), "--spawn-rate", str(users)]
        else:
            arguments += ["--arrivals", self.arrivals, "--seed", str(self.seed)]
            arguments += ["--rate", str(self.rate)] if self.rate is not None else []
            arguments += [f"--rate-for={tag}={rate}" for tag, rate in sorted(self.rates.items())]
        if self.deadline_ms is not None:
            arguments += ["--deadline", str(self.deadline_ms)]
        arguments += ["--tags", *self.tags] if self.tags else []
        return arguments + (["--exclude-tags", *self.exclude_tags] if self.exclude_tags else [])

    def as_json(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self) | {"rates": dict(self.rates)}


def _positive(value: Any) -> bool:
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0
    )


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
