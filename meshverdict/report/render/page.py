"""One self-contained file: its own style and script, no other address, and a policy that holds it to that."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from meshverdict.report.render.html import Child, Html, data_block, h, join, raw_text

if TYPE_CHECKING:
    from collections.abc import Sequence

_ASSETS = files("meshverdict.report") / "assets"


@cache
def asset(name: str) -> str:
    """The text of a file that travels with this room."""
    return (_ASSETS / name).read_text(encoding="utf-8")


def page(
    title: str,
    body: Child,
    *,
    charts: Sequence[dict[str, Any]] = (),
    links: Sequence[tuple[str, str]] = (),
    live: bool = False,
) -> str:
    """A whole page.

    Args:
        title: For the browser's tab.
        body: What the page shows.
        charts: Data of the live charts; the chart library is left out of a page without any.
        live: Include the page's script although there is no live chart: it saves still ones as files.
        links: Section identifier and label, for the table of contents.
    """
    style = asset("report.css") + (asset("uPlot.min.css") if charts else "")
    scripts = [asset("uPlot.iife.min.js")] if charts else []
    scripts += [asset("report.js")] if charts or live else []
    allowed = " ".join(_hash(script) for script in scripts) or "'none'"
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {allowed}; img-src data: blob:;"
        " base-uri 'none'; form-action 'none'"
    )
    head = h(
        "head",
        h("meta", charset="utf-8"),
        h("meta", http_equiv="Content-Security-Policy", content=policy),
        h("meta", name="viewport", content="width=device-width, initial-scale=1"),
        h("meta", name="color-scheme", content="light dark"),
        h("meta", name="referrer", content="no-referrer"),
        h("title", title),
        raw_text("style", style),
    )
    contents = (
        h("nav", [h("a", label, href=f"#{target}") for target, label in links], aria_label="Contents")
        if links
        else None
    )
    tail = [data_block("charts", list(charts)), *(raw_text("script", script) for script in scripts)]
    return "<!doctype html>\n" + h("html", head, h("body", contents, join(body), tail), lang="en") + "\n"


def footer(*lines: str) -> Html:
    """What made the page."""
    return h("footer", [h("p", line) for line in lines])


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
