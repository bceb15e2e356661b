"""What the documentation says of files, commands and settings is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from meshverdict.cli.parser import parser
from meshverdict.model.record import OUTCOMES

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
TARGETS = ("setup", "demo", "test", "lint", "bench", "example", "clean")
_LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
_INDENTED = re.compile(
    r"^ {4}(?:[A-Z]+=\S+ )?(?:KUBECONFIG=\$\()?(meshverdict [\x20-\x22\x24-\x28\x2a-\x7e]+)", re.MULTILINE
)
_QUOTED = re.compile(r"`(meshverdict [a-z][^`]*)`")


def _name(document):
    return str(document.relative_to(ROOT))


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_links_lead_somewhere(document):
    """Every relative link is a file or folder of this project."""
    links = [link for link in _LINK.findall(document.read_text()) if "://" not in link]
    assert [link for link in links if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_commands_exist(document):
    """Every `meshverdict ...` line is understood by the command line's parser."""
    text = document.read_text()
    for command in [*_INDENTED.findall(text), *_QUOTED.findall(text)]:
        words = command.replace("...", "").split()[1:]
        if len(words) > 1:
            parser().parse_args(words)
        else:
            with pytest.raises(SystemExit) as ended:
                parser().parse_args([*words, "--help"])
            assert ended.value.code == 0


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_make_targets_exist(document):
    """Every `make X` is a target of the Makefile."""
    named = set(re.findall(r"(?:`|^ {4}|&& )make ([a-z]+)", document.read_text(), re.MULTILINE))
    assert named <= set(TARGETS)


def test_makefile():
    """The targets are one line each, and none of them hands a kubeconfig on."""
    text = (ROOT / "Makefile").read_text()
    rules = dict(re.findall(r"^([a-z]+):(.*)$", text, re.MULTILINE))
    assert set(rules) == set(TARGETS)
    assert all(";" in rule for rule in rules.values())
    for variable in ("KUBECONFIG", "MESHVERDICT_CONTEXT"):
        assert f"\nunexport {variable}\n" in text


def test_formats_name_every_outcome():
    """The table of outcomes in docs/formats.md is the one that the code knows, in the same order."""
    text = (ROOT / "docs" / "formats.md").read_text()
    table = text[text.index("| outcome |") :]
    assert tuple(re.findall(r"^\| `([a-z]+)` \|", table, re.MULTILINE))[: len(OUTCOMES)] == OUTCOMES


def test_formats_name_the_apps_metrics():
    """The metrics that docs/formats.md reads the gauges from are the ones that the app's module lists."""
    text = (ROOT / "docs" / "formats.md").read_text()
    named = re.findall(r"^\| `\w+` \| `(\w+)`", text[text.index("| gauge |") :], re.MULTILINE)
    assert len(named) == 6
    published = (ROOT / "app" / "metrics.py").read_text()
    assert [metric for metric in named if f"\n    {metric}" not in published] == []


def test_licence():
    """The licence is the whole Apache License 2.0, and the package says so."""
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert 'license = "Apache-2.0"' in (ROOT / "pyproject.toml").read_text()


def test_every_version_heading_of_the_changelog_is_known():
    """The changelog begins with what is unreleased, or with the version of this package."""
    import meshverdict  # noqa: PLC0415

    first = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[0]
    assert first in ("Unreleased", meshverdict.__version__)
