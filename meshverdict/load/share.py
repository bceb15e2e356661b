"""Which part of the load a process makes: worker K of N, each knowing nothing of the others."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from meshverdict.model.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

INDEX_VARIABLE = "JOB_COMPLETION_INDEX"
WORKERS_VARIABLE = "MESHVERDICT_WORKERS"


@dataclass(frozen=True, slots=True)
class Share:
    """Worker *index* (from 0) of *of*."""

    index: int = 0
    of: int = 1

    @classmethod
    def parse(cls, text: str | None, environ: Mapping[str, str]) -> Share:
        """Read ``K/N``; without it, what an indexed Job tells its pods; without that, everything.

        Raises:
            UsageError: Not of that form, or K is not below N.
        """
        if text is None:
            if WORKERS_VARIABLE not in environ:
                return cls()
            text = f"{environ.get(INDEX_VARIABLE, '0')}/{environ[WORKERS_VARIABLE]}"
        match = re.fullmatch(r"(\d+)/(\d+)", text)
        if not match or int(match[1]) >= int(match[2]):
            raise UsageError(f"--share {text}: write K/N with K from 0 to N - 1, such as 0/4")
        return cls(int(match[1]), int(match[2]))
