"""The list of what the embedded lab does differently, folded away until a reader wants it."""

from __future__ import annotations

from meshverdict.report.fidelity import DOCUMENT, differences
from meshverdict.report.render.html import Html, h


def as_details() -> Html:
    """The whole list; it needs neither script nor network."""
    items = [h("li", h("b", d.about), f": here {d.here}; there {d.there}.") for d in differences()]
    return h(
        "details",
        h("summary", f"What the embedded lab does differently by design, all of it ({DOCUMENT})"),
        h("ul", items),
        class_="fidelity",
    )
