"""What `make setup` promises: the right packages, nothing to do twice, and a way out of each failure."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts"
FOLDERS = ("app", "experiments", "locustfiles", "manifests")


@pytest.fixture
def scripts(monkeypatch):
    """The set-up's modules."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import debian_packages  # noqa: PLC0415
    import virtual_environment  # noqa: PLC0415

    return debian_packages, virtual_environment


def test_packages_are_the_ones_that_doctor_asks_for(scripts):
    """Whatever Debian package `meshverdict doctor` can miss, the set-up brings (nftables: its library)."""
    from meshverdict.lab.doctor import examine  # noqa: PLC0415

    debian, _ = scripts
    asked = {finding.package for finding in examine() if finding.package}
    brought = {*debian.PROGRAMS.values(), *debian.LIBRARIES.values()}
    assert {"nftables" if package == "libnftables1" else package for package in asked} <= brought


def test_missing_programs_are_found_out(scripts, monkeypatch, tmp_path):
    """With nothing on PATH every package is missing; a program below the private prefix counts as there."""
    debian, _ = scripts
    monkeypatch.setattr(debian, "SYSTEM_PATH", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(debian, "LIBRARIES", {"libnobody-has-this.so.1": "nftables"})
    everything = {
        "apache2-bin": ["apache2"],
        "redis-server": ["redis-server"],
        "webdis": ["webdis"],
        "nftables": ["libnobody-has-this.so.1"],
    }
    prefix = tmp_path / "private"
    assert debian.missing_packages(prefix) == everything
    (prefix / "usr/bin").mkdir(parents=True)
    program = prefix / "usr/bin/webdis"
    program.touch(mode=0o755)
    (prefix / "usr/lib/some-linux").mkdir(parents=True)
    (prefix / "usr/lib/some-linux/libnobody-has-this.so.1").touch()
    assert set(debian.missing_packages(prefix)) == {"apache2-bin", "redis-server"}
    assert set(debian.missing_packages(prefix, tests=True)) == {"apache2-bin", "redis-server", "iproute2"}


@pytest.mark.skipif(os.geteuid() != 0, reason="installs nothing, but writes where only root may")
def test_services_stay_off_and_the_switch_is_put_back(scripts, monkeypatch, tmp_path):
    """While packages are installed, starting services is forbidden; afterwards all is as before."""
    debian, _ = scripts
    policy = tmp_path / "policy-rc.d"
    monkeypatch.setattr(debian, "POLICY", policy)
    machine = debian.Debian(tmp_path / "prefix", lambda _: None)
    for before in (None, "#!/bin/sh\nexit 0\n"):
        if before:
            policy.write_text(before)
        with pytest.raises(debian.DebianError), machine._services_forbidden():
            _expect_denied_and_fail(policy, debian.DebianError)
        assert (policy.read_text() if policy.exists() else None) == before
        assert [file.name for file in tmp_path.iterdir()] == (["policy-rc.d"] if before else [])


@pytest.mark.skipif(os.geteuid() != 0, reason="installs nothing, but writes where only root may")
@pytest.mark.parametrize("before", [None, "#!/bin/sh\nexit 0\n"])
def test_what_a_killed_setup_left_is_put_back_by_the_next_one(scripts, monkeypatch, tmp_path, before):
    """`kill -9` while packages are installed: nothing is missing afterwards, and yet services must start again."""
    debian, _ = scripts
    policy = tmp_path / "policy-rc.d"
    monkeypatch.setattr(debian, "POLICY", policy)
    if before:
        policy.write_text(before)
    assert not debian.was_interrupted()
    machine = debian.Debian(tmp_path / "prefix", lambda _: None)
    monkeypatch.setattr(machine, "_allow_services", lambda: None)
    with machine._services_forbidden():
        pass  # the process is killed here
    assert debian.was_interrupted()
    debian.Debian(tmp_path / "prefix", lambda _: None).undo_interrupted()
    assert (policy.read_text() if policy.exists() else None) == before
    assert not debian.was_interrupted()


def _expect_denied_and_fail(policy, error):
    assert subprocess.run([str(policy)], check=False).returncode == 101
    raise error


def test_failure_says_what_to_do(scripts, tmp_path):
    """A command that fails ends in an error with the command, its last words and the next step."""
    debian, _ = scripts
    machine = debian.Debian(tmp_path, lambda _: None)
    with pytest.raises(debian.DebianError, match=r"(?s)this failed: sh -c .*no space.*then run this again"):
        machine._run(["sh", "-c", "echo no space left; exit 100"])


def _checkout(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\nversion = '1'\n")
    (tmp_path / "setup.py").write_text("")
    return tmp_path


def test_environment_without_the_venv_module(scripts, monkeypatch, tmp_path):
    """Where Python has no venv module, an environment made by hand works and is isolated."""
    _, virtual = scripts
    monkeypatch.setattr(virtual.importlib.util, "find_spec", lambda _: None)
    environment = virtual.VirtualEnvironment(_checkout(tmp_path), ("lab",), lambda _: None)
    environment._make()
    answer = subprocess.run(
        [environment.python, "-c", "import sys; print(sys.prefix != sys.base_prefix, sys.prefix)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.split() == ["True", str(environment.folder)]


def test_second_time_is_known_by_the_stamp(scripts, tmp_path):
    """Only an environment that was finished, from this pyproject.toml and at this place, is current."""
    _, virtual = scripts
    environment = virtual.VirtualEnvironment(_checkout(tmp_path), ("lab",), lambda _: None)
    assert not environment.current()
    environment._make()
    assert not environment.current()
    environment._stamp.write_text(environment._fingerprint())
    assert environment.current()
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'y'\n")
    assert not environment.current()


def test_old_python_is_refused():
    """With no Python of 3.11 or newer the set-up stops with what to do; PYTHON names another one."""
    env = {"PATH": "/nonexistent", "PYTHON": "/bin/false"}
    # With nothing on PATH there is no dirname either.
    script = f"dirname() {{ echo {SCRIPTS}; }}; . {SCRIPTS / 'setup'}"
    done = subprocess.run(["/bin/sh", "-c", script], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Python 3.11 or newer is needed" in done.stderr
    assert "PYTHON=" in done.stderr


@pytest.mark.slow
def test_wheel_carries_what_experiments_need(tmp_path):
    """The wheel has every file of the four folders and of the package, data files too."""
    source = tmp_path / "source"
    source.mkdir()
    unwanted = shutil.ignore_patterns("__pycache__", "*.pyc")
    for folder in (*FOLDERS, "meshverdict"):
        shutil.copytree(ROOT / folder, source / folder, ignore=unwanted)
    for file in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md"):
        shutil.copy(ROOT / file, source)
    argv = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
        ".",
    ]
    subprocess.run(argv, cwd=source, check=True, capture_output=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
    files = [
        file.relative_to(source)
        for folder in FOLDERS
        for file in (source / folder).rglob("*")
        if file.is_file()
    ]
    assert len(files) >= 25
    assert {f"meshverdict/_data/{file}" for file in files} <= names
    assert "meshverdict/py.typed" in names
    others = [f.relative_to(source) for f in (source / "meshverdict").rglob("*") if f.is_file()]
    assert {str(file) for file in others} <= names


@pytest.mark.parametrize("word", ["--help", "--test"])
def test_a_word_that_is_not_known_sets_nothing_up(word):
    """Who asks for help does not want 250 MB."""
    done = subprocess.run(
        [sys.executable, "-B", SCRIPTS / "setup_lab.py", word], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "the only option is --tests" in done.stderr
