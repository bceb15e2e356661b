"""The examples in the docstrings are true."""

import doctest
import importlib
import pkgutil

import pytest

import meshverdict.analysis
import meshverdict.report

MODULES = sorted(
    module.name
    for package in (meshverdict.analysis, meshverdict.report)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    """Each module's."""
    assert doctest.testmod(importlib.import_module(name)).failed == 0
