"""Why: the lab's programs are Debian packages, and a laptop's owner wants none of their services.

As root, or with a sudo that asks for nothing, the packages are installed, with services kept from
starting. Otherwise they are unpacked below ``.private`` and the machine stays as it was.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

# What must be there -> the package that has it.
PROGRAMS = {"apache2": "apache2-bin", "redis-server": "redis-server", "webdis": "webdis"}
# What only the tests use, to build networks that are not the lab's.
TEST_PROGRAMS = {"ip": "iproute2"}
LIBRARIES = {"libnftables.so.1": "nftables"}
SERVICES = ("redis-server", "webdis")
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
POLICY = Path("/usr/sbin/policy-rc.d")
FORBID_START = "#!/bin/sh\n# Made by meshverdict's setup; gone when it is done.\nexit 101\n"
_INST = re.compile(r"^Inst (\S+) (?:\[\S+\] )?\((\S+)", re.MULTILINE)

Say = Callable[[str], None]


class DebianError(Exception):
    """A package could not be had; the message says what to do."""


def missing_packages(prefix: Path, *, tests: bool = False) -> dict[str, list[str]]:
    """Packages that are needed and not here, each with what is missing of it.

    Args:
        prefix: Folder of privately unpacked packages; it need not exist.
        tests: Whether those that only the tests use count too.
    """
    folders = ":".join(str(prefix / folder) for folder in ("usr/sbin", "usr/bin", "sbin", "bin"))
    path = f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}:{folders}"
    missing: dict[str, list[str]] = {}
    for program, package in {**PROGRAMS, **(TEST_PROGRAMS if tests else {})}.items():
        if shutil.which(program, path=path) is None:
            missing.setdefault(package, []).append(program)
    for library, package in LIBRARIES.items():
        if not _loadable(library) and not any(prefix.glob(f"usr/lib/**/{library}")):
            missing.setdefault(package, []).append(library)
    return missing


def was_interrupted() -> bool:
    """Whether a setup was killed while it kept services from starting."""
    ours = POLICY.exists() and POLICY.read_bytes() == FORBID_START.encode()
    return ours or _saved().exists()


def _saved() -> Path:
    """Where the machine's own switch waits meanwhile."""
    return POLICY.with_suffix(".d.meshverdict")


def _loadable(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


class Debian:
    """This machine's package manager.

    Args:
        prefix: Where packages are unpacked when they may not be installed.
        say: Receives lines of progress.
    """

    def __init__(self, prefix: Path, say: Say) -> None:
        self.prefix = prefix
        self._say = say
        self._rights = self._find_rights()
        self._updated = False
        # Lists that an earlier call fetched because the machine had none.
        private = self._rights is None and (prefix / "apt").is_dir()
        self._private = self._private_options() if private else []

    def available(self) -> bool:
        """Whether there is an apt and a dpkg."""
        return all(shutil.which(tool, path=SYSTEM_PATH) for tool in ("apt-get", "apt-cache", "dpkg"))

    def provide(self, packages: Sequence[str]) -> None:
        """Install the packages, or unpack them; nothing of them is running afterwards.

        Raises:
            DebianError: Saying what failed and what to do.
        """
        self._know(packages)
        attempt = self._unpack if self._rights is None else self._install
        try:
            attempt(packages)
        except DebianError:
            if self._updated:
                raise
            self._update()  # lists of last month name files that are gone
            attempt(packages)

    def unpack_one(self, package: str, into: Path) -> None:
        """Unpack one package, without what it depends on, in the folder *into*.

        Raises:
            DebianError: Saying what failed and what to do.
        """
        self._know([package])
        self._fetch([package], into)

    def _install(self, packages: Sequence[str]) -> None:
        chosen = self._closure(packages)
        self._say(f"installing {_list(chosen)}: {self._megabytes(chosen)} to download; services stay off")
        new_services = [name for name in SERVICES if name in packages]
        with self._services_forbidden():
            self._run([*self._rights_argv(), "apt-get", *_OPTIONS, "install", *packages])
        for name in new_services:
            self._disable(name)

    def _unpack(self, packages: Sequence[str]) -> None:
        chosen = self._closure(packages)
        self._say(
            f"unpacking {_list(chosen)} below {self.prefix} ({self._megabytes(chosen)} to download); "
            "no root and no sudo, so nothing is installed"
        )
        self._fetch(list(chosen), self.prefix)

    def _fetch(self, packages: Sequence[str], into: Path) -> None:
        folder = into / "download"
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._run(["apt-get", *_QUIET, *self._private, *_AS_ME, "download", *packages], cwd=folder)
            for archive in sorted(folder.glob("*.deb")):
                self._run(["dpkg", "-x", str(archive), str(into)])
        finally:
            shutil.rmtree(folder)

    def _know(self, packages: Sequence[str]) -> None:
        """Make sure that apt has heard of the packages; a fresh machine has no lists at all."""
        if self._known(packages):
            return
        self._update()
        if not self._known(packages):
            raise DebianError(
                f"apt knows no package called {' or '.join(packages)}. On Ubuntu, the component universe is "
                "needed: add-apt-repository universe"
            )

    def _update(self) -> None:
        self._updated = True
        if self._rights is not None:
            self._say("updating apt's package lists")
            self._run([*self._rights_argv(), "apt-get", *_OPTIONS, "update"])
        else:
            self._say(f"fetching package lists to {self.prefix / 'apt'}")
            self._private = self._private_options()
            self._run(["apt-get", *_QUIET, *self._private, *_AS_ME, "update"])

    def _private_options(self) -> list[str]:
        """State of apt below the prefix instead of the machine's."""
        apt = self.prefix / "apt"
        for folder in ("lists/partial", "cache/archives/partial"):
            (apt / folder).mkdir(parents=True, exist_ok=True)
        return ["-o", f"Dir::State::Lists={apt / 'lists'}", "-o", f"Dir::Cache={apt / 'cache'}"]

    def _known(self, packages: Sequence[str]) -> bool:
        shown = self._ask(["apt-cache", *self._private, "show", "--no-all-versions", *packages])
        names = set(re.findall(r"^Package: (\S+)$", shown, re.MULTILINE))
        return names >= set(packages)

    def _closure(self, packages: Sequence[str]) -> dict[str, str]:
        """The packages and all that they need and this machine has not: name -> version."""
        argv = ["apt-get", *_OPTIONS, *self._private, "-o", "Debug::NoLocking=1", "install", "--simulate"]
        found = dict(_INST.findall(self._run([*argv, *packages])))
        if not found:
            raise DebianError(
                f"apt takes {', '.join(packages)} for installed, but the programs are missing: "
                f"try `apt-get install --reinstall {' '.join(packages)}`"
            )
        return found

    def _megabytes(self, chosen: Mapping[str, str]) -> str:
        wanted = [f"{name}={version}" for name, version in chosen.items()]
        sizes = re.findall(
            r"^Size: (\d+)$", self._ask(["apt-cache", *self._private, "show", *wanted]), re.MULTILINE
        )
        return f"{sum(map(int, sizes)) / 1e6:.1f} MB"

    def _disable(self, name: str) -> None:
        """The service starts neither now nor at the next boot."""
        for argv in (["systemctl", "disable", name], ["update-rc.d", name, "disable"]):
            if shutil.which(argv[0], path=SYSTEM_PATH):
                self._ask([*self._rights_argv(), *argv])
        if (
            shutil.which("systemctl", path=SYSTEM_PATH)
            and self._ask(["systemctl", "is-active", name]).strip() == "active"
        ):
            self._run([*self._rights_argv(), "systemctl", "stop", name])

    @contextmanager
    def _services_forbidden(self) -> Iterator[None]:
        """Debian's own switch against starting services while packages are installed."""
        saved = _saved()
        # What an interrupted setup left behind is ours, not the machine's.
        if POLICY.exists() and not saved.exists() and POLICY.read_bytes() != FORBID_START.encode():
            self._run([*self._rights_argv(), "mv", str(POLICY), str(saved)])
        try:
            self._run([*self._rights_argv(), "tee", str(POLICY)], text=FORBID_START)
            self._run([*self._rights_argv(), "chmod", "755", str(POLICY)])
            yield
        finally:
            self._allow_services()

    def _allow_services(self) -> None:
        saved = _saved()
        restore = ["mv", str(saved), str(POLICY)] if saved.exists() else ["rm", "-f", str(POLICY)]
        self._run([*self._rights_argv(), *restore])

    def undo_interrupted(self) -> None:
        """Put back what a killed setup left: services of this machine may start again.

        Raises:
            DebianError: Saying what failed and what to do.
        """
        if self._rights is None:
            raise DebianError(
                f"an earlier setup was killed, and {POLICY} still keeps every service from starting: run this as root"
                " once, which puts it back"
            )
        self._say(f"an earlier setup was killed: putting {POLICY} back as it was")
        self._allow_services()

    @staticmethod
    def _find_rights() -> list[str] | None:
        """What to put before a command to run it as root; None: that is not possible without a question."""
        if os.geteuid() == 0:
            return []
        if shutil.which("sudo"):
            allowed = subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False)
            if allowed.returncode == 0:
                return ["sudo", "-n"]
        return None

    def _rights_argv(self) -> list[str]:
        return [*(self._rights or []), "env", *(f"{name}={value}" for name, value in _ENVIRONMENT.items())]

    def _ask(self, argv: Sequence[str]) -> str:
        return subprocess.run(argv, capture_output=True, text=True, env=_environment(), check=False).stdout

    def _run(self, argv: Sequence[str], *, cwd: Path | None = None, text: str | None = None) -> str:
        done = subprocess.run(
            argv,
            cwd=cwd,
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=_environment(),
            check=False,
        )
        if done.returncode:
            shown = "\n  ".join(done.stdout.strip().splitlines()[-15:])
            raise DebianError(
                f"this failed: {' '.join(argv)}\n  {shown}\nsetup: mend that, then run this again"
            )
        return done.stdout


_QUIET = ("-q", "-y")
_OPTIONS = (*_QUIET, "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Use-Pty=0")
# Otherwise apt warns that its own user may not read a private folder.
_AS_ME = ("-o", "APT::Sandbox::User=root")
# No questions, from debconf or from Ubuntu's needrestart.
_ENVIRONMENT = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_SUSPEND": "1", "LC_ALL": "C.UTF-8"}


def _environment() -> dict[str, str]:
    return {**os.environ, **_ENVIRONMENT, "PATH": f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}"}


def _list(packages: Mapping[str, str]) -> str:
    names = list(packages)
    return (
        f"{len(names)} Debian packages ({', '.join(names)})"
        if len(names) > 1
        else f"the Debian package {names[0]}"
    )
