"""A claim's verdict is a declared function, and the page has a row for every claim."""

import json
import random

import pytest
import synthetic

from meshverdict.analysis.verdict import Effect
from meshverdict.report.claims import CLAIMS, decide
from meshverdict.report.files import read_rows, read_run, write_verdict
from meshverdict.report.verdict_page import as_value, render_verdict, verdict_rows


def effect(word, ratio=1.0):
    return Effect("p50", True, word, ratio, 0.9, 1.1, 0.01, 0.02, 0.05, (ratio,) * 8)


@pytest.mark.parametrize(
    ("held", "usable", "found", "expect", "word"),
    [
        (8, 8, effect("undecided"), None, "holds"),
        (0, 8, effect("undecided"), None, "does not hold"),
        (5, 8, effect("undecided"), None, "undecided"),
        (8, 8, effect("equivalent"), "same", "holds"),
        (8, 8, effect("differs"), "same", "does not hold"),
        (8, 8, effect("undecided"), "same", "undecided"),
        (8, 8, effect("differs", 0.8), "less", "holds"),
        (8, 8, effect("differs", 1.2), "less", "does not hold"),
        (8, 8, effect("differs", 1.2), "more", "holds"),
        (8, 8, effect("equivalent"), "more", "does not hold"),
        (8, 8, effect("differs", 1.2), "not less", "holds"),
        (8, 8, effect("equivalent"), "not less", "holds"),
        (8, 8, effect("differs", 0.8), "not less", "does not hold"),
        (8, 8, effect("differs", 0.8), "not more", "holds"),
        (8, 8, effect("differs", 1.2), "not more", "does not hold"),
        (8, 8, effect("undecided"), "not less", "undecided"),
        (0, 8, effect("equivalent"), "same", "does not hold"),
        (8, 8, effect("invalid"), None, "invalid"),
        (0, 0, None, None, "invalid"),
        (1, 1, None, None, "holds"),
        (1, 1, None, "same", "undecided"),
    ],
)
def test_a_claim_is_decided_by_its_hypothesis_and_its_comparison(held, usable, found, expect, word):
    """Nothing else goes in."""
    assert decide(held=held, usable=usable, effect=found, expect=expect) == word


def test_every_claim_has_a_row_and_what_was_not_measured_says_so(make_run):
    """Claims without an experiment too; measured ones come first."""
    rows = verdict_rows({"isolate-redis": (read_run(make_run()), "x/report.html")})
    assert len(rows) == len(CLAIMS)
    assert (rows[0].word, rows[0].measured) == ("holds", "one run: HOLDS")
    assert {row.word for row in rows[1:]} == {"not measured"}
    assert as_value(rows)["claims"][0]["report"] == "x/report.html"


def test_the_page_is_made_from_the_newest_of_each_experiment(tmp_path):
    """A campaign, a run that deviates and is newer than one that holds, and a broken run that is passed over."""
    rng = random.Random(2)
    for pair in range(1, 7):
        for place, arm in enumerate(("treatment", "control")):
            start = synthetic.START + pair * 1000 + 200 * place
            speed = rng.lognormvariate(0, 0.01)
            shape = synthetic.Shape(arm=arm, pair=pair, start=start, treated=arm == "treatment", speed=speed)
            synthetic.write_run(tmp_path / "isolate-redis" / f"x-pair{pair:02d}-{arm}", shape)
    synthetic.write_run(tmp_path / "canary" / "20260101T000000Z")
    synthetic.write_run(tmp_path / "canary" / "20260102T000000Z", synthetic.Shape(enforced=False))
    (tmp_path / "canary" / "20260103T000000Z").mkdir()
    (tmp_path / "canary" / "20260103T000000Z" / "journal.json").write_text("{")
    text = write_verdict(tmp_path, read_rows(tmp_path)).read_text()
    for words in (
        "Do you need a service mesh?",
        "6 pairs",
        "6 of 6",
        "case-1 p50",
        "one run: DEVIATES",
        "Not measured",
        "did not hold (canary)",
    ):
        assert words in text
    assert 'href="canary/20260102T000000Z/report.html"' in text
    assert "nftables, not by Cilium" in text


def test_nothing_measured_is_a_page_too(tmp_path):
    """It lists the claims."""
    assert "Nothing can be concluded yet" in write_verdict(tmp_path, read_rows(tmp_path)).read_text()


def test_what_was_not_measured_says_why():
    """With the reason of this time, in the page and in the rows."""
    rows = verdict_rows({}, {"snowball": "not begun: 3 s were left", "own": "no Envoy"})
    said = {row.claim.experiment: row.measured for row in rows if row.measured}
    assert said == {"snowball": "not begun: 3 s were left", "own": "no Envoy"}
    assert "experiment own, no Envoy" in render_verdict(rows, None)


def test_an_experiment_of_no_claim_has_a_row_by_its_title(make_run):
    """Somebody's own, or a plain alternative."""
    rows = verdict_rows({"my-own": (read_run(make_run()), "x/report.html")})
    assert (rows[0].claim.words, rows[0].word) == ("Only the application may reach redis", "holds")
    assert len(rows) == len(CLAIMS) + 1


def test_finding_of_a_run_is_in_its_row(make_run):
    """The answer of the activity that the experiment names for it, without the words for the tolerance."""
    folder = make_run()
    path = folder / "journal.json"
    journal = json.loads(path.read_text())
    activity = journal["run"][-1]
    activity["output"] = "as expected: 9 of 10"
    journal["experiment"]["extensions"][0]["finding"] = activity["activity"]["name"]
    path.write_text(json.dumps(journal))
    (row, *_) = verdict_rows({"canary": (read_run(folder), "x")})
    assert row.measured == "one run: HOLDS. 9 of 10"
