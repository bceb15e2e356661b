"""What an experiment changes of a workload, and how it comes back; rates and limits as shares of a capacity."""

import copy
import doctest
from types import SimpleNamespace

import pytest
import yaml

from meshverdict.chaos import expected, find_capacity, limit_file, rate_limit
from meshverdict.chaos.capacity import resized
from meshverdict.chaos.find_capacity import scaled
from meshverdict.chaos.rate_limit import bucket, buckets, limits_of, rate_of, with_limit
from meshverdict.chaos.served import problem
from meshverdict.model.errors import UsageError
from meshverdict.model.paths import data_folder

APP = next(yaml.safe_load_all((data_folder("manifests") / "03-app" / "C-02-app-dpl.yaml").read_text()))
LIMIT = data_folder("manifests") / "policies" / "snowball" / "ratelimit.yaml"


def _container(deployment):
    (container,) = deployment["template"]["spec"]["containers"]
    return container


def test_only_what_is_named_changes():
    """Threads and work are set; everything else of the container stays, in its order."""
    own = _container(APP["spec"])
    other = _container(resized(APP, {"THREADS": "4", "WORK_MS": "50"}, apart=False))
    values = {item["name"]: item["value"] for item in other["env"]}
    assert (values["THREADS"], values["WORK_MS"], values["HEALTH"]) == ("4", "50", "strict")
    assert {k: v for k, v in other.items() if k != "env"} == {k: v for k, v in own.items() if k != "env"}


def test_readiness_apart_asks_what_liveness_asks():
    """With the readiness probe's own times."""
    probe = _container(resized(APP, {}, apart=True))["readinessProbe"]
    assert probe["httpGet"] == _container(APP["spec"])["livenessProbe"]["httpGet"]
    assert (probe["periodSeconds"], probe["failureThreshold"]) == (1, 5)


def test_readiness_apart_needs_a_place_where_liveness_is_asked():
    """Otherwise the pod would fall out of its Service under overload, as if nothing had been asked for."""
    bare = copy.deepcopy(APP)
    del _container(bare["spec"])["livenessProbe"]
    with pytest.raises(UsageError, match="c-app-count/pythonapp has a livenessProbe"):
        resized(bare, {}, apart=True)
    resized(bare, {}, apart=False)


@pytest.mark.parametrize("replicas", [0, -1, "0"])
def test_a_limit_is_for_one_proxy_at_least(replicas, monkeypatch):
    """Not divided by nothing."""
    monkeypatch.setattr(rate_limit, "current", SimpleNamespace)
    with pytest.raises(UsageError, match="replicas of the Deployment"):
        rate_limit.apply_policy([], limit_per_s=5, replicas=replicas)


@pytest.mark.parametrize("kind", ["Reconciled", "PatchesApplied"])
@pytest.mark.parametrize("status", ["Unknown", "False"])
def test_a_policy_is_served_only_where_that_is_known(kind, status):
    """`Unknown` is not `True`."""
    conditions = {"Reconciled": "True"} | {kind: status}
    found = {
        "metadata": {"generation": 1},
        "status": {"conditions": [{"type": t, "status": s} for t, s in conditions.items()]},
    }
    assert f"condition {kind}: {status}" in problem("one", found, wanted=True)
    for condition in found["status"]["conditions"]:
        condition["status"] = "True"
    assert problem("one", found, wanted=True) == ""


@pytest.mark.parametrize("rate", [0.5, 1, 4, 7.3, 28, 64, 333, 5000])
def test_a_bucket_has_exactly_the_rate_it_was_asked_for(rate):
    """In whole tokens, and never with an interval below Envoy's 50 ms."""
    made = bucket(rate)
    assert rate_of(made) == pytest.approx(rate, rel=1e-6)
    assert float(made["fill_interval"][:-1]) >= 0.05
    assert made["max_tokens"] == made["tokens_per_fill"] >= 1


def test_a_policy_gets_another_value_and_nothing_else():
    """Only the token bucket differs; a policy without one is left alone."""
    policy = yaml.safe_load(LIMIT.read_text())
    other = with_limit(policy, 40)
    assert limits_of([other]) == pytest.approx((40,))
    for found in [*buckets(other), *buckets(policy)]:
        found.clear()
    assert other == policy
    assert with_limit({"kind": "VirtualService", "spec": {}}, 5) == {"kind": "VirtualService", "spec": {}}


def test_values_that_are_no_limit_are_refused():
    """With the reason."""
    with pytest.raises(UsageError, match="above 0"):
        bucket(0)
    with pytest.raises(UsageError, match="fill_interval"):
        rate_of({"max_tokens": 3})
    for text in ("trace:file", "ramp:a:b:3", "much"):
        with pytest.raises(UsageError, match="of_capacity"):
            scaled(text, 10)


def _policy(*conditions, generation=2):
    return {
        "metadata": {"generation": generation},
        "status": {"observedGeneration": 2, "conditions": list(conditions)},
    }


SERVED = {"type": "Reconciled", "status": "True", "observedGeneration": 2}


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (_policy(SERVED), ""),
        (None, "is not there"),
        (_policy(SERVED, generation=3), "newest form"),
        (_policy(), "does not tell"),
        (_policy(SERVED | {"status": "False", "message": "sidecar a refuses"}), "sidecar a refuses"),
        (
            _policy(SERVED, {"type": "PatchesApplied", "status": "False", "message": "matches nothing"}),
            "matches nothing",
        ),
    ],
)
def test_a_policy_is_served_when_every_sidecar_says_so(found, words):
    """Accepted is not served: its newest form, by every sidecar, every patch of it."""
    said = problem("EnvoyFilter x", found, wanted=True)
    assert words in said
    assert bool(words) == bool(said)


def test_a_policy_that_must_be_gone_is_gone():
    """Without the treatment."""
    assert problem("x", None, wanted=False) == ""
    assert problem("x", _policy(SERVED), wanted=False) == "x is still there"


@pytest.mark.parametrize(
    "module", [expected, find_capacity, limit_file, rate_limit], ids=lambda m: m.__name__
)
def test_examples(module):
    """Each module's."""
    assert doctest.testmod(module).failed == 0
