"""The report as a file: self-contained, escaped, small, complete."""

import json
import re
from html.parser import HTMLParser

import pytest

from meshverdict.model.errors import RecordError
from meshverdict.report.files import write_atomically, write_report
from meshverdict.report.render.html import data_block, h, raw_text

OUTSIDE = (
    "Only the application may reach redis", "Case 1 answers within its deadline", "pythonapp", "app.py",
    "/count/set", "POLICY_DENIED", "Debian GNU/Linux 12", "apply the NetworkPolicy", "isolate-redis.json",
)  # fmt: skip
EVIL = """<script>alert(1)</script>"'&</style><img src=x onerror=alert(1)>"""


class Page(HTMLParser):
    """Collects what a browser would act on."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.words = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        """Keep it."""
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        """Keep it."""
        self.words.append(data)

    @property
    def text(self):
        """All text, scripts and styles included."""
        return " ".join(self.words)


def test_the_first_screen_says_what_was_claimed_and_whether_it_held(make_run):
    """The verdict, the claim, both cases in words, the two times: before any chart."""
    text = write_report(make_run()).read_text()
    first = Page(text.split('id="timeline"')[0]).text
    for words in (
        "HOLDS",
        "Only the application may reach redis",
        "fails every time",
        "3.4 ms",
        "3.5 ms",
        "3,860",
    ):
        assert words in first


def test_everything_the_page_promises_is_on_it(make_run):
    """Each part of a report has a heading of its own."""
    page = Page(write_report(make_run()).read_text()).text
    for words in (
        "Timeline", "Steady-state hypothesis", "Service graph", "Who was dropped", "Endpoints",
        "Latency distribution",
        "What ran where", "What this lab is not", "nftables, not by Cilium", "silently dropped",
        "POLICY_DENIED",
        "Left out of the figures above by rule", "met", "Show as a table", "sha256",
    ):  # fmt: skip
        assert words in page, words


def test_an_invalid_run_says_so_before_anything_else(make_run):
    """Nobody should read a figure of a run that measured nothing."""
    text = write_report(make_run(valid=False, reasons=["the zone delay line was late"])).read_text()
    assert text.index("Do not draw conclusions") < text.index("INVALID</p>") < text.index("What a user saw")
    assert "the zone delay line was late" in text


def test_closed_loop_latency_is_labelled(make_run):
    """Stock Locust users hide stalls, so the page says it."""
    assert "Closed-loop latency" in write_report(make_run(arrivals="closed")).read_text()


def test_the_file_stands_alone(make_run):
    """No address is ever loaded: not a script, not a style, not a font, not a picture."""
    text = write_report(make_run()).read_text()
    page = Page(text)
    assert [value for name, value in page.attributes if name == "src"] == []
    assert all(value.startswith("#") for name, value in page.attributes if name == "href")
    assert not re.search(r"@import|url\(", text.split("</style>")[0])
    assert "link" not in page.tags
    assert len(text) < 300_000


def test_the_policy_forbids_all_but_our_own_script(make_run):
    """The hashes in the policy are those of the scripts on the page; no inline style or handler is used."""
    page = Page(write_report(make_run()).read_text())
    policy = next(value for _, value in page.attributes if "default-src" in (value or ""))
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert policy.count("'sha256-") == 3
    assert [name for name, _ in page.attributes if name == "style" or name.startswith("on")] == []


def test_every_value_is_escaped(make_run):
    """Names of pods, probes, endpoints and settings come from outside."""
    folder = make_run()
    clean = Page(write_report(folder).read_text()).tags
    for name in ("journal.json", "run.json", "flows.jsonl", "load.jsonl"):
        path = folder / name
        evil = json.dumps(EVIL)[1:-1]
        text = path.read_text()
        for word in OUTSIDE:
            text = text.replace(word, word + evil)
        path.write_text(text)
    page = Page(write_report(folder).read_text())
    assert "alert(1)" in page.text
    assert "img" not in page.tags
    assert page.tags.count("script") == clean.count("script")


def test_a_run_without_flows_endpoints_or_record_still_has_a_page(make_run):
    """What is missing is named; nothing is made up."""
    folder = make_run()
    for name in ("flows.jsonl", "load.jsonl", "run.json"):
        (folder / name).unlink()
    text = Page(write_report(folder).read_text()).text
    assert "no flow log" in text
    assert "plain Chaos Toolkit journal" in text


def test_an_odd_run_json_still_has_a_page(make_run):
    """A crashed run leaves half of the values."""
    folder = make_run()
    odd = {
        "format": "run/1",
        "phases": [{"name": "x"}, 3],
        "treatment": None,
        "measures": {"endpoints": [1]},
        "settings": [],
    }
    (folder / "run.json").write_text(json.dumps(odd))
    assert "INVALID" in write_report(folder).read_text()


def test_a_full_disk_leaves_the_old_report(tmp_path):
    """A reader sees the old report or the new one, never half of one; the error names the file."""
    old = tmp_path / "gone" / "report.html"
    with pytest.raises(RecordError, match=r"report\.html"):
        write_atomically(old, "new")


def test_writing_again_gives_the_same_file(make_run):
    """The report is a function of the folder."""
    folder = make_run()
    first = write_report(folder).read_text()
    assert write_report(folder).read_text() == first
    assert sorted(p.name for p in folder.iterdir()) == [
        "flows.jsonl", "journal.json", "load.jsonl", "report.html", "run.json",
    ]  # fmt: skip


def test_html_is_escaped_unless_it_is_html():
    """The one rule that keeps pages safe."""
    assert (
        h("p", "<b>", h("i", "&"), class_='x"y', hidden=True, title=None)
        == '<p class="x&quot;y" hidden>&lt;b&gt;<i>&amp;</i></p>'
    )
    assert "</script" not in data_block("d", {"x": "</script>"}).removesuffix("</script>")
    with pytest.raises(ValueError, match="closing tag"):
        raw_text("script", "x</SCRIPT>")


def _change(path, change):
    values = [json.loads(line) for line in path.read_text().splitlines()]
    change(values)
    path.write_text("".join(json.dumps(value) + "\n" for value in values))


@pytest.mark.parametrize(
    ("field", "by", "words"),
    [
        ("sent", 0, "none lost between generator and record"),
        ("sent", -5, "none lost between generator and record; 5 found no connection to be sent on"),
        ("scheduled", 3, "3,863 were due: the record is not whole"),
    ],
)
def test_what_was_due_is_compared_with_what_was_recorded(make_run, field, by, words):
    """A request that found no connection has a record as well, though it was never sent."""
    folder = make_run()

    def change(lines):
        second = next(line["generator"] for line in lines if "generator" in line)
        second[field] += by

    _change(folder / "load.jsonl", change)
    first = Page(write_report(folder).read_text().split('id="timeline"')[0]).text
    assert words in first


def test_a_denial_that_is_not_the_treatment_s_does_not_time_it(make_run):
    """Where the experiment names another sign of its treatment, a drop in the flow log is a dead zone's, for one."""
    folder = make_run()
    run = json.loads((folder / "run.json").read_text())
    run["treatment"].update(in_effect=None, restored=None)
    (folder / "run.json").write_text(json.dumps(run))
    assert "Apply → first denied" in Page(write_report(folder).read_text()).text
    journal = json.loads((folder / "journal.json").read_text())
    name = journal["run"][0]["activity"]["name"]
    journal["experiment"]["extensions"] = [{"name": "meshverdict", "treatment": ["t"], "in_effect": name}]
    (folder / "journal.json").write_text(json.dumps(journal))
    assert "Apply → first denied" not in Page(write_report(folder).read_text()).text
