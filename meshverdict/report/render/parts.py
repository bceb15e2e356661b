"""Small pieces that several pages share: sections, tables, chips."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshverdict.report.render.html import Child, Html, h

if TYPE_CHECKING:
    from collections.abc import Iterable

# Punctuation for "no value", as a table shows it.
NOTHING = "\u2013"
TIMES = "\u00d7"


def section(identifier: str, title: str, intro: str | None, *children: Child) -> Html:
    """A section with a heading and a sentence that explains it."""
    return h(
        "section",
        h("h2", title),
        h("p", intro, class_="intro") if intro else None,
        children,
        id=identifier,
    )


def table(head: Iterable[str], rows: Iterable[Html], *, caption: str | None = None) -> Html:
    """A table that scrolls sideways where the page is narrower than it."""
    return h(
        "div",
        h(
            "table",
            h("caption", caption, class_="hidden") if caption else None,
            h("thead", h("tr", [h("th", text, scope="col") for text in head])),
            h("tbody", rows),
        ),
        class_="scroll",
        tabindex="0",
        role="group",
        aria_label=caption or "table",
    )


def chip(text: str, tone: str) -> Html:
    """A word in a coloured pill; ``tone`` is good, bad or unsure."""
    return h("span", text, class_=f"chip {tone}")


def identifier_of(part: Html) -> str:
    """The id of a section that was written by `section`."""
    return part.split('id="', 1)[1].split('"', 1)[0]
