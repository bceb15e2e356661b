"""Files as crashes, other versions and other people leave them: a page or a clear error, never a traceback."""

import json
import random

import pytest

from meshverdict.model.errors import MeshverdictError
from meshverdict.report.check import check
from meshverdict.report.compare import compare_paths
from meshverdict.report.files import write_report

ODD = (
    None,
    True,
    -1,
    0,
    1e308,
    float("nan"),
    "",
    "x",
    "🙂" * 50,
    [],
    [None],
    {},
    {"a": []},
    "2020-01-01",
    [[1]],
    10**30,
)
FILES = ("journal.json", "run.json", "flows.jsonl", "load.jsonl")


def spots(value, path=()):
    """Every place in a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from spots(inner, (*path, key))


def replaced(value, path, new):
    """The value with one place changed."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(copy[path[0]], path[1:], new)
    return copy


def spoil(text, rng):
    """Put something odd somewhere."""
    value = json.loads(text)
    return json.dumps(replaced(value, rng.choice(list(spots(value))), rng.choice(ODD)))


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_one_odd_value_anywhere_never_ends_in_a_traceback(make_run, name):
    """120 wrong values a file, seed fixed: the report is made and judged, or the error is one for a person."""
    good = make_run("good", baseline_s=6, policy_s=6, after_s=6)
    folder = make_run("odd", baseline_s=6, policy_s=6, after_s=6)
    whole = (folder / name).read_text()
    rng = random.Random(f"20261122 {name}")
    for _ in range(120):
        if name.endswith(".jsonl"):
            lines = whole.splitlines()
            at = rng.randrange(len(lines))
            lines[at] = spoil(lines[at], rng)
            text = "\n".join(lines)
        else:
            text = spoil(whole, rng)
        (folder / name).write_text(text)
        try:
            write_report(folder)
            assert check(folder).word in {"HOLDS", "DEVIATES", "INVALID"}
            comparison = compare_paths(good, folder)
            for output in ("text", "md", "json", "html"):
                comparison.render(output)
        except MeshverdictError as error:
            assert str(error)  # noqa: PT017 - a clear message is one of the two right answers


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_anywhere_is_refused_or_marked(make_run, name, share):
    """A full disk, a killed process: never HOLDS by a file that is not whole, except for the flow log."""
    folder = make_run("cut", baseline_s=6, policy_s=6, after_s=6)
    path = folder / name
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    try:
        word = check(folder).word
        write_report(folder)
    except MeshverdictError as error:
        assert name in str(error)  # noqa: PT017 - the message names the file
        return
    assert word == "INVALID" or name == "flows.jsonl"


def test_bytes_that_are_no_text_are_named(make_run):
    """A journal that is a picture."""
    folder = make_run()
    (folder / "journal.json").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(MeshverdictError, match=r"journal\.json"):
        check(folder)
