"""The rows of the image table: the built-in ones, and how a user's own are read."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from meshverdict.model.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

DEFAULT_UID: Final = 1000
PROGRAMS: Final = "/opt/meshverdict/bin"


class ImageError(Exception):
    """The image cannot be used here; the text is what the pod's status shows."""


@dataclass(frozen=True, slots=True)
class Image:
    """One row of the table.

    Attributes:
        program: What options are given to when ``args`` begins with ``-`` (as the usual entry points do).
        entrypoint: What ``command`` replaces.
        cmd: What ``args`` replaces.
        defaults: Options with their values, appended to *program* when the caller does not give them.
        needs: Programs that must be on this machine, each with the Debian package that has it.
        shows: Files or folders of this machine to show elsewhere, as ``source: target``; in a user's file a relative
            source lies beside that file.
        folders: Folders that the container may write to.
        ports: Documentation of the ports that the program listens on.
        programs: Programs of the lab's own (`runtime.programs`), each with the paths at which the container has it.
    """

    name: str
    program: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    defaults: tuple[tuple[str, str], ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    needs: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    shows: Mapping[str, str] = field(default_factory=dict)
    folders: tuple[str, ...] = ()
    workdir: str = "/"
    user: int = DEFAULT_UID
    ports: tuple[int, ...] = ()
    programs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def argv(self, command: Sequence[str] | None, args: Sequence[str] | None) -> list[str]:
        """The argument list, by Kubernetes' rules of command and args."""
        if command:
            argv = [*command, *(args or ())]
        elif args:
            argv = [*self.entrypoint, *args]
        else:
            argv = [*self.entrypoint, *self.cmd]
        if argv and argv[0].startswith("-"):
            argv = [*self.program, *argv]
        if argv and argv[0] in self.aliases:
            argv = [*self.aliases[argv[0]].split(), *argv[1:]]
        if self.program and tuple(argv[: len(self.program)]) == self.program:
            for option, value in self.defaults:
                if option not in argv:
                    argv += [option, value]
        return argv


_SHELL_NEEDS: Final = {"sh": "dash", "sleep": "coreutils"}
_APACHE_ROOT: Final = "/usr/local/apache2"
_APACHE_PROGRAM: Final = ("apache2", "-d", _APACHE_ROOT, "-D", "FOREGROUND")
_APACHE: Final = Image(
    "httpd",
    program=_APACHE_PROGRAM,
    cmd=_APACHE_PROGRAM,
    defaults=(("-f", f"{_APACHE_ROOT}/conf/httpd.conf"),),
    needs={"apache2": "apache2-bin"},
    aliases={"httpd-foreground": " ".join(_APACHE_PROGRAM), "httpd": f"apache2 -d {_APACHE_ROOT}"},
    shows={
        "/usr/lib/apache2/modules": f"{_APACHE_ROOT}/modules",
        "/etc/mime.types": f"{_APACHE_ROOT}/conf/mime.types",
    },
    folders=(f"{_APACHE_ROOT}/logs", f"{_APACHE_ROOT}/htdocs"),
    workdir=_APACHE_ROOT,
    ports=(80,),
)
_SHELL: Final = Image("busybox", cmd=("sh",), needs=_SHELL_NEEDS)
# What busybox and alpine have, and a machine may have in another form: the flags of the manifests are busybox's.
_APPLETS: Final[dict[str, tuple[str, ...]]] = {name: (f"{PROGRAMS}/{name}",) for name in ("nc", "wget")}

# Stands for envoyproxy/ratelimit.
_RATE_LIMIT: Final = ("python", "-m", "meshverdict.ratelimit")

BUILT_IN: Final = (
    Image("traefik", program=("traefik",), cmd=("traefik",), needs={"traefik": ""}, ports=(80,)),
    _APACHE,
    replace(_APACHE, name="apache"),
    Image(
        "redis",
        program=("redis-server",),
        cmd=("redis-server",),
        # The image of that name is built without protected mode.
        defaults=(("--protected-mode", "no"),),
        needs={"redis-server": "redis-server"},
        folders=("/data",),
        workdir="/data",
        ports=(6379,),
    ),
    Image(
        "webdis",
        cmd=("webdis", "/etc/webdis.prod.json"),
        needs={"webdis": "webdis"},
        ports=(7379,),
    ),
    Image(
        "meshverdict/app",
        cmd=("python", "-m", "gunicorn", "-c", "/app/gunicorn.conf.py", "app:APP"),
        env={"PYTHONUNBUFFERED": "1"},
        shows={"@app": "/app"},
        workdir="/app",
        ports=(5000, 9102),
    ),
    Image(
        "meshverdict/load",
        program=("python", "-m", "locust"),
        cmd=("python", "-m", "locust"),
        env={"PYTHONUNBUFFERED": "1"},
        shows={"@locustfiles": "/locustfiles"},
        workdir="/locustfiles",
    ),
    Image(
        "ratelimit",
        program=_RATE_LIMIT,
        cmd=_RATE_LIMIT,
        aliases={"/bin/ratelimit": " ".join(_RATE_LIMIT)},
        env={"PYTHONUNBUFFERED": "1"},
        ports=(8081,),
    ),
    Image("python", cmd=("python",), env={"PYTHONUNBUFFERED": "1"}),
    replace(_SHELL, programs=_APPLETS),
    replace(_SHELL, name="alpine", programs=_APPLETS),
    *(replace(_SHELL, name=name) for name in ("bash", "debian", "ubuntu")),
    Image(
        "agnhost",
        entrypoint=("/agnhost",),
        cmd=("pause",),
        needs=_SHELL_NEEDS,
        programs={**_APPLETS, "agnhost": ("/agnhost", f"{PROGRAMS}/agnhost")},
    ),
    Image(
        "pause",
        entrypoint=("sh", "-c", "trap 'exit 0' TERM INT; while :; do sleep 3600 & wait $!; done"),
        needs=_SHELL_NEEDS,
    ),
    Image("curl", program=("curl",), entrypoint=("curl",), needs={"curl": "curl"}),
    Image(
        "nginx",
        cmd=("nginx", "-g", "daemon off;"),
        needs={"nginx": "nginx-light"},
        folders=("/var/lib/nginx", "/var/log/nginx"),
        ports=(80,),
    ),
)


def read_images(file: Path) -> list[Image]:
    """The rows of a user's file.

    Raises:
        UsageError: Naming the file, the image and the key.
    """
    try:
        values = yaml.safe_load(file.read_text())
    except OSError as error:
        raise UsageError(f"--images {file}: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"--images {file}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise UsageError(f"--images {file}: expected a mapping of image names, e.g. 'my-app: {{cmd: [...]}}'")
    return [_image(file, str(name), row) for name, row in values.items()]


def _image(file: Path, name: str, row: Any) -> Image:
    where = f"--images {file}: image {name!r}"
    known = {f.name for f in fields(Image)} - {"name", "programs"}
    if not isinstance(row, dict):
        raise UsageError(f"{where}: expected a mapping with any of {', '.join(sorted(known))}")
    values: dict[str, Any] = {}
    for key, value in row.items():
        if key not in known:
            raise UsageError(f"{where}: unknown key {key!r}; known are {', '.join(sorted(known))}")
        kind, noun = _SHAPES[key]
        if not isinstance(value, kind):
            raise UsageError(f"{where}: {key} must be {noun}")
        values[key] = _CONVERTED.get(key, lambda given: given)(value)
    if "shows" in values:
        values["shows"] = {_beside(file, source): target for source, target in values["shows"].items()}
    return Image(name, **values)


def _beside(file: Path, source: str) -> str:
    """A source as an absolute path: a relative one lies beside the file; ``@app`` is a folder of this project."""
    return source if source.startswith(("@", "/")) else str(file.absolute().parent / source)


def _strings(value: Any) -> tuple[str, ...]:
    return tuple(map(str, value))


def _texts(value: Any) -> dict[str, str]:
    return {str(k): str(v) for k, v in value.items()}


_LISTS: Final = ("program", "entrypoint", "cmd", "folders")
_MAPPINGS: Final = ("env", "needs", "aliases", "shows")
_SHAPES: Final[dict[str, tuple[type, str]]] = {
    **dict.fromkeys((*_LISTS, "ports"), (list, "a list")),
    **dict.fromkeys((*_MAPPINGS, "defaults"), (dict, "a mapping")),
    "workdir": (str, "text"),
    "user": (int, "a number"),
}
_CONVERTED: Final[dict[str, Callable[[Any], Any]]] = {
    **dict.fromkeys(_LISTS, _strings),
    **dict.fromkeys(_MAPPINGS, _texts),
    "ports": tuple,
    "defaults": lambda value: tuple(_texts(value).items()),
}
