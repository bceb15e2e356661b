"""What can be known to be wrong with an experiment before it runs, with the line and the way out.

``chaos validate`` accepts most experiments that cannot measure what they mean to. Here a file is read with
its positions (`read`), checked by pure functions (one subject a module), and nothing of it is executed: no
tag of YAML, no module that it names in this process, no request. Needs no cluster.
"""

from __future__ import annotations

from meshverdict.chaos.lint.lint import exit_code, lint_files, lint_text, render
from meshverdict.chaos.lint.problem import Problem

__all__ = ["Problem", "exit_code", "lint_files", "lint_text", "render"]
