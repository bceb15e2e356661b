"""Why: a virtual environment with everything installed, also where Python came without venv or ensurepip.

Debian splits both off. A virtual environment is a folder with a ``pyvenv.cfg`` and a link to the
interpreter, so it can be made by hand; pip comes from ensurepip, or from Debian's wheel of it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from debian_packages import Debian, DebianError

PIP_WHEEL_PACKAGE = "python3-pip-whl"
# Measured on an empty cache; only said beforehand, so that nobody is surprised.
DOWNLOAD_MB = 250
DISK_MB = 870
SHOWN_MB = 10.0
_DOWNLOADING = re.compile(r"^\s*Downloading (\S+).*\(([\d.]+) MB\)")

Say = Callable[[str], None]


class VenvError(Exception):
    """The virtual environment could not be made; the message says what to do."""


class VirtualEnvironment:
    """``.venv`` of a checkout.

    Args:
        root: The checkout.
        extras: Extras of the package to install.
        say: Receives lines of progress.
    """

    def __init__(self, root: Path, extras: Sequence[str], say: Say) -> None:
        self.folder = root / ".venv"
        self.python = self.folder / "bin" / "python"
        self._root = root
        self._extras = ",".join(extras)
        self._say = say
        self._stamp = self.folder / ".meshverdict-setup"
        self._place = self.folder / ".meshverdict-place"

    def current(self) -> bool:
        """Whether it is there and was made from these files, this Python and at this place."""
        return self._stamp.is_file() and self._stamp.read_text() == self._fingerprint() and self._works("")

    def build(self) -> None:
        """Make it, or bring it up to date.

        Raises:
            VenvError: Saying what failed and what to do.
        """
        begin = time.monotonic()
        if self._moved() or not self._works("import pip"):
            self._check_space()
            self._make()
            self._bootstrap_pip()
        self._install()
        self._stamp.write_text(self._fingerprint())
        self._place.write_text(str(self._root))
        self._say(f"installed in {time.monotonic() - begin:.0f} s")

    def _fingerprint(self) -> str:
        digest = hashlib.sha256(f"{self._root}\n{self._extras}\n".encode())
        for file in ("pyproject.toml", "setup.py"):
            digest.update((self._root / file).read_bytes())
        return digest.hexdigest()

    def _moved(self) -> bool:
        """Whether it was made at another place: its commands still name the Python of that place."""
        return self._place.is_file() and self._place.read_text() != str(self._root)

    def _works(self, statement: str) -> bool:
        if not self.python.exists():
            return False
        return (
            subprocess.run([self.python, "-c", statement], capture_output=True, check=False).returncode == 0
        )

    def _check_space(self) -> None:
        free_mb = shutil.disk_usage(self._root).free / 1e6
        if free_mb < DISK_MB * 1.2:
            raise VenvError(
                f"{self._root} has {free_mb:.0f} MB free and {DISK_MB * 1.2:.0f} MB are needed; "
                "make room, then run this again"
            )

    def _make(self) -> None:
        """The folder, by hand where there is no venv module."""
        self._say(f"making the virtual environment {self.folder} with Python {sys.version.split()[0]}")
        if self.folder.exists():
            shutil.rmtree(self.folder)
        if importlib.util.find_spec("venv"):
            self._run(
                [sys.executable, "-m", "venv", "--without-pip", str(self.folder)],
                "making a virtual environment",
            )
            return
        base = Path(os.path.realpath(sys.executable))
        for folder in ("bin", f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"):
            (self.folder / folder).mkdir(parents=True)
        (self.folder / "pyvenv.cfg").write_text(
            f"home = {base.parent}\ninclude-system-site-packages = false\n"
        )
        for name in ("python", "python3"):
            (self.folder / "bin" / name).symlink_to(base)

    def _bootstrap_pip(self) -> None:
        if self._works("import ensurepip") and self._ensurepip():
            return
        with tempfile.TemporaryDirectory(prefix="pip-", dir=self.folder) as temporary:
            wheel = self._pip_wheel(Path(temporary))
            argv = [
                str(self.python),
                f"{wheel}/pip",
                "install",
                "-q",
                "--no-index",
                "--disable-pip-version-check",
            ]
            self._run([*argv, str(wheel)], "installing pip from its wheel")

    def _ensurepip(self) -> bool:
        argv = [str(self.python), "-m", "ensurepip", "--default-pip"]
        return subprocess.run(argv, capture_output=True, check=False).returncode == 0

    def _pip_wheel(self, temporary: Path) -> Path:
        """Debian's wheel of pip: of this machine, or fetched to the folder *temporary*."""
        here = _wheels(Path("/"))
        if here:
            return here[0]
        debian = Debian(self._root / ".private", self._say)
        if not debian.available():
            raise VenvError(
                "this Python has no ensurepip: install the package that brings it (often called "
                "python3-venv), then run this again"
            )
        self._say(f"this Python has no ensurepip: taking pip from the Debian package {PIP_WHEEL_PACKAGE}")
        try:
            debian.unpack_one(PIP_WHEEL_PACKAGE, temporary)
        except DebianError as error:
            raise VenvError(str(error)) from error
        return _wheels(temporary)[0]

    def _install(self) -> None:
        self._say(
            f"installing meshverdict[{self._extras}] and what it needs from PyPI into .venv: "
            f"about {DOWNLOAD_MB} MB to download the first time, {DISK_MB} MB on disk"
        )
        argv = [
            str(self.python),
            "-m",
            "pip",
            "install",
            "--disable-pip-version-check",
            "--no-input",
            "--progress-bar=off",
        ]
        self._run([*argv, "-e", f"{self._root}[{self._extras}]"], "pip install", show=self._show_download)

    def _show_download(self, line: str) -> None:
        found = _DOWNLOADING.match(line)
        if found and float(found[2]) >= SHOWN_MB:
            self._say(f"  {found[1].rpartition('/')[2]} ({found[2]} MB)")

    def _run(self, argv: Sequence[str], what: str, show: Callable[[str], None] = lambda _: None) -> None:
        """Run a command; its output is shown only when it fails."""
        lines: list[str] = []
        with subprocess.Popen(
            argv,
            cwd=self._root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            for line in process.stdout or ():
                lines.append(line.rstrip())
                show(line)
        if process.returncode:
            shown = "\n  ".join(lines[-15:])
            raise VenvError(
                f"{what} failed: {' '.join(argv)}\n  {shown}\n"
                "setup: if the network or a proxy is at fault, mend that, then run this again"
            )


def _wheels(root: Path) -> list[Path]:
    return sorted(root.glob("usr/share/python-wheels/pip-*.whl"))
