"""Stop the labs of tests whose process has gone: one that was killed tears nothing down.

    python tests/lab_guard.py FOLDER

waits for the end of its standard input, which comes with the end of whoever holds the other side, and then stops the
labs that still run in state folders below FOLDER. (`up --tie` would end them, too, but tests start labs as people do.)
"""

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

# A lab that was just starting can be stopped once it is up.
PATIENCE_S = 15.0


def runs(lab: Path) -> bool:
    """Whether a keeper holds the lab's lock; asked as the lab itself asks, with a shared one."""
    try:
        with (lab / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # its folder is gone
    return False


def main(folder: Path) -> None:
    """Wait, then stop every lab."""
    sys.stdin.read()
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        left = [lock.parent for lock in folder.glob("**/meshverdict/*/lock") if runs(lock.parent)]
        if not left:
            return
        for lab in left:
            words = [sys.executable, "-m", "meshverdict", "down", "--name", lab.name]
            environ = {**os.environ, "XDG_STATE_HOME": str(lab.parents[1])}
            subprocess.run(words, env=environ, capture_output=True, check=False)
        time.sleep(0.2)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
