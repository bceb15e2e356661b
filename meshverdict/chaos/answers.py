"""How a phase-aware probe answers: a sentence whose beginning tolerances match and readers understand."""

from __future__ import annotations

from typing import Final

AS_EXPECTED: Final = "as expected: "
NOT_EXPECTED: Final = "NOT as expected: "
