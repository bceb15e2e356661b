"""What becomes of a command whose reader goes away."""

import os
import subprocess
import sys

import pytest

SAYS = """
import sys
from meshverdict.cli.output import answer, progress
progress("one"); progress("two"); answer({}, as_json=True, text=""); answer({}, as_json=False, text="three")
open(sys.argv[1], "w").close()
"""


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_work_goes_on_when_nobody_reads(tmp_path, stream):
    """With `| head -1` the pipe closes under the command: what it was doing is done, and it ends with 0."""
    reader, writer = os.pipe()
    os.close(reader)
    done = tmp_path / "done"
    other = "stderr" if stream == "stdout" else "stdout"
    ran = subprocess.run(
        [sys.executable, "-c", SAYS, str(done)],
        check=False,
        timeout=30,
        **{stream: writer, other: subprocess.PIPE},
    )
    os.close(writer)
    assert ran.returncode == 0
    assert done.exists()
    assert b"Error" not in getattr(ran, other)
