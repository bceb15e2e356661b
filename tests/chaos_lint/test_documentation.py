"""The documentation names every rule, and no other."""

import re
from pathlib import Path

from meshverdict.chaos.lint.rules import SEVERITY

ROOT = Path(__file__).parents[2]


def test_every_rule_is_documented_under_its_severity():
    """The rules in docs/lint.md are those of the program, errors and warnings each in their table."""
    text = (ROOT / "docs/lint.md").read_text()
    errors, _, warnings = text.partition("## Errors")[2].partition("## Warnings")
    for part, severity in ((errors, "error"), (warnings, "warning")):
        named = {
            name for row in part.splitlines() if row.startswith("|")
            for name in re.findall(r"`([a-z][a-z0-9]*(?:-[a-z]+)+|syntax)`", row)
        }  # fmt: skip
        assert named == {rule for rule, kind in SEVERITY.items() if kind == severity}


def test_every_rule_is_used():
    """No rule stands in the list that no module ever says."""
    folder = ROOT / "meshverdict/chaos/lint"
    source = "".join(p.read_text() for p in folder.glob("*.py") if p.name != "rules.py")
    assert {rule for rule in SEVERITY if f'"{rule}"' not in source} == set()
