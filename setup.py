"""Why: experiments, manifests, locustfiles and the app travel in the wheel, below meshverdict/_data.

In a checkout the top-level folders are the source of truth; setuptools can only be told about
packages in pyproject.toml, so the copy is made here. Everything else is in pyproject.toml.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

FOLDERS = ("app", "experiments", "locustfiles", "manifests")
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")


class BuildWithData(build_py):
    """build_py, then the folders; not for an editable install, which uses them where they are."""

    def run(self) -> None:
        """Called by setuptools."""
        super().run()
        if self.editable_mode:
            return
        data = Path(self.build_lib, "meshverdict", "_data")
        for folder in FOLDERS:
            shutil.rmtree(data / folder, ignore_errors=True)
            shutil.copytree(folder, data / folder, ignore=LEFT_OUT)


setup(cmdclass={"build_py": BuildWithData})
