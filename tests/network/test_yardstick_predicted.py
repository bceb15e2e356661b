"""Third-party NetworkPolicy tables, by prediction; tests/network/test_yardstick_kernel.py sends packets."""

import pytest

from meshverdict.network.policy import check, compile_policies
from meshverdict.network.reachability import predict

from . import cases


def _ids():
    return [case["id"] for case in cases.load_once()] if cases.FILE.exists() else []


@pytest.mark.skipif(not cases.FILE.exists(), reason="the yardsticks are not here")
@pytest.mark.parametrize("case_id", _ids())
def test_predicted_table_is_the_stated_one(case_id):
    """Every cell of every step's table comes out as the cited source says."""
    case = next(case for case in cases.load_once() if case["id"] == case_id)
    judged = 0
    for state in cases.steps(case):
        for policy in state.policies:
            check(policy)
        rules = compile_policies(state.policies, list(state.pods.values()), state.namespaces)
        for table in state.tables:
            predicted = {
                (a, b): predict(rules, state.pods[a], state.pods[b], table.protocol, table.port).allowed
                for a, b in table.expected
            }
            assert table.expected == predicted, state.label
            judged += len(predicted)
    assert judged > 0
