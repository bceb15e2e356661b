"""Pages in a real browser: no complaint, no request, nothing cut off, charts that a keyboard can read."""

import browser
import pytest
import synthetic

from meshverdict.report.compare import compare_paths
from meshverdict.report.files import write_report

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(browser.PROGRAM is None, reason="needs Chromium (apt-get install chromium)"),
]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """One page of each kind."""
    folder = tmp_path_factory.mktemp("pages")
    a = synthetic.write_run(folder / "a")
    b = synthetic.write_run(folder / "b", synthetic.Shape(seed=2, enforced=False))
    invalid = synthetic.write_run(
        folder / "c", synthetic.Shape(valid=False, reasons=["late"], arrivals="closed")
    )
    for pair in range(1, 7):
        for place, arm in enumerate(("treatment", "control")):
            start = synthetic.START + pair * 1000 + 200 * place
            shape = synthetic.Shape(arm=arm, pair=pair, seed=pair, start=start, treated=arm == "treatment")
            synthetic.write_run(folder / "campaign" / f"x-pair{pair:02d}-{arm}", shape)
    comparison = folder / "comparison.html"
    comparison.write_text(compare_paths(a, a).render("html"))
    return {
        "holds": write_report(a),
        "deviates": write_report(b),
        "invalid": write_report(invalid),
        "campaign": write_report(folder / "campaign"),
        "comparison": comparison,
    }


@pytest.mark.parametrize("kind", ["holds", "deviates", "invalid", "campaign", "comparison"])
async def test_no_page_complains_asks_the_network_or_overflows(pages, tmp_path, kind):
    """At 1280 and 400 pixels, light and dark."""
    async with browser.open_tab(tmp_path) as tab:
        for width, dark in ((1280, False), (400, True)):
            await tab.show(pages[kind], width=width, dark=dark)
            assert await tab.run("document.documentElement.scrollWidth") <= width
            assert (
                await tab.run("getComputedStyle(document.body).backgroundColor !== 'rgb(251, 251, 250)'")
                is dark
            )
        assert tab.complaints == []
        assert tab.requests == []


async def test_charts_are_live_named_and_read_by_arrow_keys(pages, tmp_path):
    """A screen reader hears the value at the cursor; every chart has a name and a table."""
    async with browser.open_tab(tmp_path) as tab:
        await tab.show(pages["holds"], width=1280, dark=False)
        charts = "[...document.querySelectorAll('.chart')]"
        assert await tab.run(f"{charts}.length") == 6
        assert await tab.run(f"{charts}.every(c => c.querySelector('canvas') && c.tabIndex === 0)")
        assert await tab.run(f"{charts}.every(c => c.getAttribute('aria-label').length > 40)")
        assert await tab.run(f"{charts}.every(c => c.closest('figure').querySelector('table'))")
        press = "const c = document.querySelector('.chart'); c.focus(); for (let i = 0; i < 3; i++) c.dispatchEvent("
        await tab.run(press + "new KeyboardEvent('keydown', {key: 'ArrowRight'}))")
        await tab.run("new Promise(done => setTimeout(done, 200))")
        readout = await tab.run("document.querySelector('.readout').textContent")
        assert "answered" in readout
        assert "requests/s" in readout
        assert tab.complaints == []


async def test_the_static_charts_are_there_without_scripts_and_on_paper(pages, tmp_path):
    """Print shows the pictures that need no script."""
    async with browser.open_tab(tmp_path) as tab:
        await tab.show(pages["holds"], width=1280, dark=False)
        hidden = "getComputedStyle(document.querySelector('.chart .static')).display"
        assert await tab.run(hidden) == "none"
        await tab.call("Emulation.setEmulatedMedia", media="print")
        assert await tab.run(hidden) == "block"
        await tab.call("Emulation.setScriptExecutionDisabled", value=True)
        await tab.call("Emulation.setEmulatedMedia", media="")
        await tab.show(pages["holds"], width=1280, dark=False)
        assert await tab.run(hidden) == "block"
        assert await tab.run("document.querySelector('canvas')") is None
