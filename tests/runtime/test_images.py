"""The image table: names, commands, what is missing on this machine, a user's own rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshverdict.model.errors import UsageError
from meshverdict.runtime.images import Image, ImageError, ImageTable, Machine, read_images, short_names


@pytest.mark.parametrize(
    ("reference", "names"),
    [
        ("redis", ["redis"]),
        ("redis:7", ["redis"]),
        ("docker.io/library/redis:7-alpine", ["library/redis", "redis"]),
        ("registry.k8s.io/pause:3.10", ["pause"]),
        ("localhost:5000/meshverdict/app:0.1", ["meshverdict/app", "app"]),
        ("nicolas/webdis:0.1.22", ["nicolas/webdis", "webdis"]),
        ("redis@sha256:abc", ["redis"]),
        ("ghcr.io/a/b/c:1@sha256:abc", ["a/b/c", "b/c", "c"]),
    ],
)
def test_registry_tag_and_digest_do_not_count(reference: str, names: list[str]) -> None:
    """An image is looked up by its path, then by its last parts."""
    assert short_names(reference) == names


@pytest.mark.parametrize(
    ("image", "command", "args", "expected"),
    [
        ("redis", None, None, ["redis-server", "--protected-mode", "no"]),
        ("redis", None, ["--save", ""], ["redis-server", "--save", "", "--protected-mode", "no"]),
        (
            "redis",
            ["redis-server"],
            ["--protected-mode", "yes"],
            ["redis-server", "--protected-mode", "yes"],
        ),
        ("redis", ["sh", "-c", "x"], None, ["sh", "-c", "x"]),
        ("traefik:v3.7", None, ["--ping=true"], ["traefik", "--ping=true"]),
        (
            "httpd:2.4",
            ["httpd-foreground"],
            ["-f", "/etc/a.conf"],
            ["apache2", "-d", "/usr/local/apache2", "-D", "FOREGROUND", "-f", "/etc/a.conf"],
        ),
        ("meshverdict/load", None, ["--headless"], ["python", "-m", "locust", "--headless"]),
        ("busybox", None, None, ["sh"]),
        ("busybox", None, ["echo", "x"], ["echo", "x"]),
    ],
)
def test_command_and_args_override_as_in_kubernetes(
    image: str, command: list[str] | None, args: list[str] | None, expected: list[str]
) -> None:
    """Command replaces the entry point and the image's arguments; args replace its arguments."""
    assert ImageTable().find(image).argv(command, args) == expected


def test_an_unknown_image_names_the_table_and_the_way_out() -> None:
    """What the pod's status will show."""
    with pytest.raises(ImageError, match=r'"example.org/none:1" is not in .* redis, .*--images FILE'):
        ImageTable().find("example.org/none:1")


def test_a_missing_program_names_its_debian_package() -> None:
    """So that a person can install it."""
    machine = Machine(prefix=None, folders={})
    image = Image("x", needs={"no-such-program": "some-package"})
    with pytest.raises(
        ImageError, match=r"needs the program no-such-program, .* Debian package some-package"
    ):
        machine.check("x:1", image)


def test_a_private_prefix_is_searched_first(tmp_path: Path) -> None:
    """Unpacked Debian packages: programs on PATH, libraries found, folders shown from there."""
    program = tmp_path / "usr/sbin/only-there"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    (tmp_path / "usr/lib/apache2/modules").mkdir(parents=True)
    machine = Machine(prefix=tmp_path, folders={})
    image = Image("x", needs={"only-there": "p"}, shows={"/usr/lib/apache2/modules": "/m"})
    machine.check("x", image)
    assert [m.source for m in machine.mounts("x", image)] == [str(tmp_path / "usr/lib/apache2/modules")]
    assert str(tmp_path / "usr/sbin") in machine.env()["PATH"].split(":")
    assert str(tmp_path / "usr/lib") in machine.env()["LD_LIBRARY_PATH"]
    assert str(tmp_path) in machine.visible()


def test_a_user_s_rows_are_added_and_win(tmp_path: Path) -> None:
    """YAML, as documented."""
    file = tmp_path / "images.yaml"
    file.write_text(
        "my/app:\n  cmd: [python, -m, http.server, 8000]\n  needs: {python3: python3}\n  defaults: {--x: '1'}\n"
        "redis:\n  cmd: [valkey-server]\n"
    )
    table = ImageTable().merged(file)
    assert table.find("ghcr.io/my/app:1").argv(None, None) == ["python", "-m", "http.server", "8000"]
    assert table.find("redis").cmd == ("valkey-server",)
    assert table.find("busybox").cmd == ("sh",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "not YAML"),
        ("\udcff", "not YAML"),
        ("- a", "expected a mapping of image names"),
        ("app: run", "image 'app': expected a mapping"),
        ("app: {comand: [x]}", "unknown key 'comand'; known are"),
        ("app: {cmd: run it}", "cmd must be a list"),
        ("app: {env: [A]}", "env must be a mapping"),
        ("app: {user: root}", "user must be a number"),
        ("app: {workdir: [x]}", "workdir must be text"),
        ("app: {defaults: [x]}", "defaults must be a mapping"),
    ],
)
def test_a_wrong_file_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    """File, image and key are named."""
    file = tmp_path / "images.yaml"
    file.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UsageError, match=message) as caught:
        read_images(file)
    assert str(file) in str(caught.value)


def test_a_missing_file_is_refused() -> None:
    """With its name."""
    with pytest.raises(UsageError, match=r"no-such-file\.yaml: No such file"):
        read_images(Path("no-such-file.yaml"))
