"""Which tests may run beside others: waiting for pods costs no processor, proving that load was on time does.

`make test` runs the folders of tests side by side first, each folder on one worker because its tests share
one lab and one port, and then, alone, those that measure.
"""

import signal
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
# These judge a generator, a record or a run by its lateness: another test's work would be measured too.
MEASURING = {"acceptance", "chaos", "load"}
# A shell's background job starts with Ctrl-C ignored, and so would every program that a test interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test the group of its folder, and the mark `alone` where it measures."""
    for item in items:
        folder = item.path.relative_to(HERE).parts[0]
        item.add_marker(pytest.mark.xdist_group(folder))
        if folder in MEASURING:
            item.add_marker(pytest.mark.alone)
