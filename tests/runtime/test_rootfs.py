"""The root of a container: what is shown, and that no path leads out of it while it is built."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from meshverdict.runtime.rootfs import HostView, Mount, hidden, host_view, python_folders, resolve


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/a/b", "/a/b"),
        ("/var/run/secrets/x", "/run/secrets/x"),
        ("/abs/run/x", "/run/x"),
        ("/up/etc/passwd", "/etc/passwd"),
        ("/a/../../../etc", "/etc"),
        ("/chain/x", "/run/x"),
        ("relative/path", "/relative/path"),
    ],
)
def test_links_are_followed_inside_the_root_only(tmp_path: Path, path: str, expected: str) -> None:
    """Absolute links and dots stay inside, whatever they say."""
    (tmp_path / "run").mkdir()
    (tmp_path / "var").mkdir()
    (tmp_path / "var/run").symlink_to("../run")
    (tmp_path / "abs").mkdir()
    (tmp_path / "abs/run").symlink_to("/run")
    (tmp_path / "up").symlink_to("../../../..")
    (tmp_path / "chain").symlink_to("/var/run")
    assert resolve(str(tmp_path), path) == expected


def test_a_circle_of_links_is_an_error(tmp_path: Path) -> None:
    """Not an endless loop."""
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="too many symbolic links"):
        resolve(str(tmp_path), "/a/x")


def test_the_view_of_this_machine_has_its_programs_and_no_home() -> None:
    """/usr and the Python in use, read-only; of a home folder at most what that Python lies in."""
    view = host_view()
    shown = {m.target for m in view.mounts}
    assert "/usr" in shown
    assert all(m.readonly for m in view.mounts)
    assert not shown & {"/", "/etc", "/root", "/home", "/tmp", "/proc", "/var", str(Path.home())}
    for folder in python_folders():
        assert any(Path(folder).is_relative_to(s) for s in shown), folder
    assert any(Path(sys.executable).is_relative_to(s) for s in shown)


def test_a_folder_that_is_not_there_is_not_shown() -> None:
    """Extra folders are shown at their own path, once."""
    view = host_view(["/nonexistent/folder", "/opt"])
    assert Mount("/nonexistent/folder", "/nonexistent/folder") not in view.mounts


def test_what_a_volume_would_cover_is_shown_again() -> None:
    """A checkout below /tmp stays visible although the pod has an emptyDir at /tmp; what lies elsewhere is left alone."""
    below, beside, same = (Mount(p, p) for p in ("/tmp/checkout/.venv", "/tmpfiles/x", "/opt"))
    view = HostView((Mount("/usr", "/usr"), below, beside, same), ())
    assert hidden(view, ["/tmp", "/opt"]) == [below]
