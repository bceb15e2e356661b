"""``/agnhost``: the program of Kubernetes' own network tests, with the subcommands that those use."""

from __future__ import annotations

import os
import signal
import sys
import threading

_NAMES = ("connect", "netexec", "pause", "porter", "serve-hostname")


def main(arguments: list[str]) -> int:
    """Do one subcommand."""
    name = arguments[0] if arguments else ""
    # Each brings modules of its own, and a probe once a second should not pay for a server's.
    match name:
        case "connect":
            from meshverdict.runtime.programs import connect  # noqa: PLC0415

            return connect.main(arguments[1:])
        case "netexec":
            from meshverdict.runtime.programs import netexec  # noqa: PLC0415

            return netexec.main(arguments[1:])
        case "serve-hostname" | "porter":
            from meshverdict.runtime.programs import listeners  # noqa: PLC0415

            run = listeners.porter if name == "porter" else listeners.serve_hostname
            return run(arguments[1:])
        case "pause":
            return _pause()
    sys.stderr.write(f'Error: unknown command "{name}" for "agnhost": this lab has {", ".join(_NAMES)}\n')
    return 1


def _pause() -> int:
    sys.stdout.write("Paused\n")
    sys.stdout.flush()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(0))
    threading.Event().wait()
    return 0


if __name__ == "__main__":
    # The first process of a container has no default for signals: without these it could not be stopped.
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))
    sys.exit(main(sys.argv[1:]))
