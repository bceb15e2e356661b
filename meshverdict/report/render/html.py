"""Build HTML from values, so that nothing is pasted into markup: text is escaped unless it is Html."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable
from typing import Any

_VOID = frozenset({"meta", "br", "hr", "img", "input", "link", "rect", "line", "path", "circle"})


class Html(str):
    """Markup that is safe to be part of a page; only this module makes it from text."""

    __slots__ = ()


Child = str | int | float | None | Iterable["Child"]


def h(tag: str, /, *children: Child, **attributes: object) -> Html:
    """An element.

    Args:
        tag: Its name.
        children: Text (escaped), Html (taken as it is), None (nothing), or iterables of these.
        attributes: ``class_`` is written ``class``, other underscores become hyphens; True writes a bare
            attribute, None and False write nothing.
    """
    written = "".join(_attribute(name, value) for name, value in attributes.items())
    if tag in _VOID and not children:
        return Html(
            f"<{tag}{written}/>"
            if tag not in {"meta", "br", "hr", "img", "input", "link"}
            else f"<{tag}{written}>"
        )
    return Html(f"<{tag}{written}>{join(children)}</{tag}>")


def join(children: Child) -> Html:
    """Children one after the other."""
    if children is None:
        return Html("")
    if isinstance(children, Html):
        return children
    if isinstance(children, str):
        return Html(html.escape(children))
    if isinstance(children, int | float):
        return Html(str(children))
    return Html("".join(join(child) for child in children))


def raw_text(tag: str, text: str) -> Html:
    """A style or script element of our own text.

    Raises:
        ValueError: The text would close its own element.
    """
    if f"</{tag}" in text.lower():
        raise ValueError(f"{tag}: the text contains its own closing tag")
    return Html(f"<{tag}>{text}</{tag}>")


def data_block(identifier: str, value: Any) -> Html:
    """JSON for the page's script; data is not executed, and cannot close its element."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    safe = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return Html(f'<script type="application/json" id="{html.escape(identifier)}">{safe}</script>')


def _attribute(name: str, value: object) -> str:
    if value is None or value is False:
        return ""
    key = name.rstrip("_").replace("_", "-")
    return f" {key}" if value is True else f' {key}="{html.escape(str(value))}"'
