"""Phases, and what a phase-aware probe must find now."""

from itertools import count

from meshverdict.chaos.timeline import Timeline


def timeline(**fields):
    """A timeline whose clock ticks one second a call."""
    ticks = count(100)
    return Timeline(clock=lambda: float(next(ticks)), **fields)


def test_phases_follow_the_treatment_without_overlap():
    """Baseline ends before the treatment is asked for; the time in between belongs to no phase."""
    line = timeline()
    line.enter("baseline")
    line.treatment_begins()
    line.treatment_given()
    line.removal_begins()
    line.removal_done()
    line.leave()
    assert [(p["name"], p["start"] < p["end"]) for p in line.as_json()] == [
        ("baseline", True),
        ("treated", True),
        ("restored", True),
    ]
    assert line.phases[0].end < line.phases[1].start
    assert line.phase is None


def test_treated_answer_is_expected_from_the_treatment_to_its_removal():
    """Before: untreated. After the method: treated. After the removal: untreated."""
    line = timeline()
    found = [line.treated]
    line.treatment_begins()
    line.treatment_given()
    found.append(line.treated)
    line.method_over = True
    found.append(line.treated)
    line.removal_begins()
    found.append(line.treated)
    assert found == [False, True, True, False]


def test_method_without_treatment_must_still_show_it():
    """A run that forgot its treatment deviates: after the method the treated answer is expected all the same."""
    line = timeline()
    line.method_over = True
    assert line.treated


def test_control_arm_never_expects_the_treated_answer():
    """In a campaign's control arm the treatment is left out on purpose."""
    line = timeline(control_arm=True)
    line.method_over = True
    assert not line.treated
