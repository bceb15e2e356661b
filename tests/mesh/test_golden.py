"""What a real istiod makes of resources, and what we make of them."""

from __future__ import annotations

import pytest

from . import golden

pytestmark = pytest.mark.skipif(
    not golden.records(), reason="needs the yardsticks beside the repository: golden_istio_open.jsonl"
)

# Where we differ although nothing has changed since the recording.
DIFFERENT = {
    "ap-both@paperino-a": "an AUDIT policy, which is refused: it only marks requests for a log",
    "sc-registry@app-a": "the kind Sidecar, which is refused",
    "tl-filter@pippo-a": "the kind Telemetry, which is refused",
}
# Where today's Istio differs from the recording in a way that the recording's tag does not spell out.
CHANGED = {
    "vs-redirect@pippo-a": "webhook-1.14-refuses: 1.14 did not know directResponse",
    "nr-dist-slash@pippo-a": "region-less: a zone without a region counts today",
    "nr-failprio@pippo-a": "region-less: the same",
    "nr-failprio@pippo-b": "region-less: the same",
    "nr-failprio-rz@pippo-a": "region-less: the same",
    "nr-failprio-rz@pippo-b": "region-less: the same",
}


@pytest.mark.parametrize("record", golden.records(), ids=lambda r: r["id"])
def test_our_facts_are_those_of_istiod(record):
    """Names, counts, thresholds, priorities and order are istiod's, except where listed with the reason."""
    found = golden.differences(golden.facts(record), golden.expected(record))
    if record["id"] in DIFFERENT:
        assert found, "it does not differ any more: take it off the list"
    elif record["id"] in CHANGED:
        assert CHANGED[record["id"]].partition(":")[0] in record["changed_today"]
    else:
        assert found == []


def test_few_recordings_differ():
    """At most 5 % of the recordings."""
    assert len(DIFFERENT) <= 0.05 * len(golden.records())


def test_the_1_14_variant_retries_503():
    """With the named variant the default retries are the recorded ones, to the status code."""
    record = next(r for r in golden.records() if r["id"] == "def-http@pippo-a")
    theirs = record["facts"]["virtual_hosts"][0]["routes"][0]["retry_policy"]
    assert golden.default_retry("1.14") == theirs
    assert golden.default_retry("today")["retry_on"] == golden.TODAY_RETRY
