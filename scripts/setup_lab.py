"""Why: one command, without a question, from a fresh checkout to a lab that can start.

``--tests`` brings what only the tests use too.
Standard library only, and not even all of it: Debian ships Python without venv's helpers.
"""

from __future__ import annotations

import os
import platform
import signal
import sys
from pathlib import Path

from debian_packages import Debian, DebianError, missing_packages, was_interrupted
from virtual_environment import VenvError, VirtualEnvironment

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = ("lab", "dev")


def main() -> int:
    """Set up; 0 when everything is in place, 2 when something else was asked for."""
    unknown = [word for word in sys.argv[1:] if word != "--tests"]
    if unknown:
        print(f"setup: {' '.join(unknown)}: the only option is --tests", file=sys.stderr)
        return 2
    if platform.system() != "Linux":
        print(
            f"setup: the embedded lab needs Linux, this is {platform.system()}.\n"
            "setup: for a real cluster: pip install . in a virtual environment, then\n"
            "setup: meshverdict up --context NAME (a context of your kubeconfig)",
            file=sys.stderr,
        )
        return 1
    try:
        _programs(tests="--tests" in sys.argv[1:])
        _packages()
    except (DebianError, VenvError) as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("setup: interrupted; run it again, it goes on where it stopped", file=sys.stderr)
        return 130
    return 0


def _programs(*, tests: bool) -> None:
    if was_interrupted():
        Debian(ROOT / ".private", say).undo_interrupted()
    missing = missing_packages(ROOT / ".private", tests=tests)
    if not missing:
        return
    debian = Debian(ROOT / ".private", say)
    if not debian.available():
        parts = ", ".join(part for parts in missing.values() for part in parts)
        raise DebianError(
            "this is no Debian or Ubuntu: install these yourself, so that they are on PATH and the library "
            f"is found: {parts}. Then run this again"
        )
    debian.provide(sorted(missing))
    still = missing_packages(ROOT / ".private", tests=tests)
    if still:
        raise DebianError(
            f"after installing them, these are still missing: {', '.join(sorted(still))}. "
            "Look at `apt-get install` of them by hand"
        )


def _packages() -> None:
    environment = VirtualEnvironment(ROOT, EXTRAS, say)
    if not environment.current():
        environment.build()


def say(line: str) -> None:
    """One line of progress."""
    print(f"setup: {line}", flush=True)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    os.umask(0o022)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)  # so that what was changed for a while is put back
    sys.exit(main())
