"""Which tests may run beside many others: waiting for pods costs no processor, proving that load was on time does.

`make test` runs what mostly waits first, three files at a time; a file stays on one worker, because its tests share
a lab. Then come those that measure, two files at a time, of which one mostly waits too.
"""

import signal
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
# These judge a generator, a record or a run by its lateness: much other work would be measured too.
MEASURING = {"acceptance", "chaos", "load"}
# A shell's background job starts with Ctrl-C ignored, and so would every program that a test interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test of a folder that measures its mark."""
    for item in items:
        if item.path.relative_to(HERE).parts[0] in MEASURING:
            item.add_marker(pytest.mark.measures)
