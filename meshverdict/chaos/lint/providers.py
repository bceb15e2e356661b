"""What an activity calls: a URL, a program, a Python function with its arguments."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from meshverdict.chaos.lint.document import Place
from meshverdict.chaos.lint.findings import Activity, Subject, listed, nearest, shown
from meshverdict.chaos.lint.functions import NoFunction, NoModule, Signature, Unknown

_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT")
# What Chaos Toolkit passes by itself.
_INJECTED: Final = ("secrets", "configuration")


def check(subject: Subject) -> None:
    """Every provider by its type."""
    for activity in subject.every_activity():
        match activity.provider.get("type"):
            case "http":
                _http(subject, activity)
            case "process":
                _process(subject, activity)
            case "python":
                _python(subject, activity)


def _http(subject: Subject, activity: Activity) -> None:
    place: Place = (*activity.place, "provider")
    url, method = activity.provider.get("url"), activity.provider.get("method")
    if not url:
        subject.found.say("no-url", place, f"the http activity {activity.name} has no url", 'add "url"')
    elif isinstance(url, str) and not url.startswith("${") and not _is_url(url):
        subject.found.say(
            "bad-url",
            (*place, "url"),
            f"{shown(url)} is no http address, so the request is never sent",
            "write http://HOST:PORT/PATH",
        )
    if method is not None and (not isinstance(method, str) or method.upper() not in _METHODS):
        subject.found.say(
            "unknown-http-method",
            (*place, "method"),
            f"the http method {shown(method)} is unknown",
            f"{nearest(str(method).upper(), _METHODS)}write one of {', '.join(_METHODS)}",
        )


def _is_url(url: str) -> bool:
    try:
        found = urlsplit(url)
    except ValueError:
        return False
    return found.scheme in {"http", "https"} and bool(found.netloc)


def _process(subject: Subject, activity: Activity) -> None:
    place: Place = (*activity.place, "provider")
    path = activity.provider.get("path")
    if not path:
        subject.found.say("no-path", place, f"the process {activity.name} has no path", 'add "path"')
    elif isinstance(path, str) and ("\0" in path or subject.which(path) is None):
        subject.found.say(
            "program-not-found",
            (*place, "path"),
            f"the program {shown(path)} is not on PATH, or cannot be executed",
            "install it, or write its absolute path",
        )


def _python(subject: Subject, activity: Activity) -> None:
    found, provider = subject.found, activity.provider
    place: Place = (*activity.place, "provider")
    module, name = provider.get("module"), provider.get("func")
    if not module:
        found.say("no-module", place, f"the python activity {activity.name} has no module", 'add "module"')
    if not name:
        found.say("no-function", place, f"the python activity {activity.name} has no func", 'add "func"')
    if not isinstance(module, str) or not isinstance(name, str) or not module or not name:
        return
    match subject.look_up(module, name):
        case NoModule(why):
            found.say(
                "unknown-module",
                (*place, "module"),
                f"the Python module {shown(module)} cannot be found: {why}",
                "correct the name, install its package, or add its folder to PYTHONPATH",
            )
        case NoFunction(others):
            found.say(
                "unknown-function",
                (*place, "func"),
                f"the module {module} has no function {shown(name)}",
                f"{nearest(name, others)}it has: {listed(others)}",
            )
        case Unknown(why):
            found.say(
                "module-not-examined",
                (*place, "module"),
                f"the module {module} could not be examined: {why}",
                "import it by hand; Chaos Toolkit will do so before the run",
            )
        case Signature() as signature:
            _arguments(subject, activity, signature)


def _arguments(subject: Subject, activity: Activity, signature: Signature) -> None:
    place: Place = (*activity.place, "provider", "arguments")
    name = f"{activity.provider.get('module')}.{activity.provider.get('func')}"
    given = activity.provider.get("arguments")
    if given is not None and not isinstance(given, dict):
        subject.found.say(
            "wrong-type", place, f"the arguments {shown(given)} are no object", 'write {"name": value, ...}'
        )
        return
    known = {*activity.arguments, *_INJECTED, *(("value",) if activity.section == "tolerance" else ())}
    for argument in signature.required:
        if argument not in known:
            subject.found.say(
                "missing-argument",
                place,
                f"{name} needs the argument {argument!r}",
                f'add "{argument}" to the arguments',
            )
    for argument in activity.arguments:
        if argument not in signature.accepts and not signature.any_keyword:
            open_to = [a for a in signature.accepts if a not in _INJECTED]
            subject.found.say(
                "unknown-argument",
                (*place, argument),
                f"{name} takes no argument {argument!r}",
                f"{nearest(argument, open_to)}it takes: {listed(open_to)}",
            )
