"""How many faults were put down to the right tier, from made-up diagnoses."""

from meshverdict.chaos.diagnosis import Diagnosis, score

APACHE, APP, REDIS = "b/apache", "c/app", "d/redis"


def test_only_a_single_right_name_counts():
    """One suspect that is right; several are no name, and a wrong one is counted as wrong."""
    found = [
        Diagnosis(APP, APP, (APP,), (APP,)),
        Diagnosis(REDIS, REDIS, (APACHE, REDIS), (REDIS,)),
        Diagnosis(APACHE, REDIS, (APACHE, REDIS), (APACHE, REDIS)),
        Diagnosis(APACHE, None, (), ()),
    ]
    counts, said = score(found)
    assert counts == {"mesh": 2, "clients": 1, "apps": 2}
    assert (
        "of 4 faults the guilty tier was named rightly 2 times with the mesh's telemetry (wrongly 1)" in said
    )
    assert "1 times by the clients' view alone, which leaves 1.2 suspects on average" in said


def test_nothing_was_injected():
    """No fault, no share."""
    assert score([])[0] == {"mesh": 0, "clients": 0, "apps": 0}
