"""``meshverdict report RUN --check``: read a run and judge it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshverdict.report.files import read_run
from meshverdict.report.judge import Judgement, judge

if TYPE_CHECKING:
    from pathlib import Path


def check(folder: Path) -> Judgement:
    """Judge the run in *folder*.

    Raises:
        RecordError: There is no run to judge: its journal or run.json is missing or broken.
    """
    return judge(read_run(folder))
