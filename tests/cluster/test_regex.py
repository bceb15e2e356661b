"""Regular expressions of users are RE2's: refused in Go's words, and never slower than the text is long."""

from __future__ import annotations

import doctest
import time

import pytest

from meshverdict.cluster.cel.evaluate import evaluate
from meshverdict.cluster.cel.syntax import parse
from meshverdict.cluster.cel.values import CelError
from meshverdict.model import regex

# Python's own engine needs 2^n steps for this one.
SLOW, LONG = "^(a+)+$", "a" * 5000 + "b"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def definition(text):
    """Of widgets with a field `text`."""
    spec = {"type": "object", "properties": {"text": {"type": "string", **text}}}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.lab.example.com"},
        "spec": {
            "group": "lab.example.com",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }


def test_example():
    """The module's own."""
    assert doctest.testmod(regex).failed == 0


@pytest.mark.parametrize("part", ["pattern", "rule"])
async def test_an_expression_cannot_stop_the_server(api, part):
    """An object whose text takes Python's engine for ever is refused at once."""
    rule = {"x-kubernetes-validations": [{"rule": f"self.matches('{SLOW}')"}]}
    text = {"maxLength": 10_000} | ({"pattern": SLOW} if part == "pattern" else rule)
    status, _, answer = await api.request("POST", DEFINITIONS, definition(text))
    assert status == 201, answer
    body = {
        "apiVersion": "lab.example.com/v1",
        "kind": "Widget",
        "metadata": {"name": "w"},
        "spec": {"text": LONG},
    }
    start = time.monotonic()
    status, _, answer = await api.request("POST", "/apis/lab.example.com/v1/namespaces/default/widgets", body)
    assert status == 422
    assert ("should match" if part == "pattern" else "failed rule") in answer["message"]
    assert time.monotonic() - start < 5


async def test_what_is_no_expression_is_refused_with_its_definition(api):
    """Also what only Python knows, at its place and in Go's words."""
    for pattern, words in (
        ("(a", "missing closing ): `(a`"),
        ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
    ):
        status, _, answer = await api.request("POST", DEFINITIONS, definition({"pattern": pattern}))
        assert status == 422
        place = "spec.validation.openAPIV3Schema.properties[spec].properties[text].pattern: Invalid value: "
        assert place in answer["message"]
        assert (
            f"must be a valid regular expression, but isn't: error parsing regexp: {words}"
            in answer["message"]
        )


def test_rules_search_with_it():
    """Halves of surrogate pairs, which JSON may have, are no reason to fail."""
    assert evaluate(parse("self.findAll('[é-ü]+', 1) == ['éü']"), {"self": "aéübü"}) is True
    assert evaluate(parse("self.matches('^.$')"), {"self": "\ud800"}) is True
    with pytest.raises(CelError, match=r"error parsing regexp: missing closing \]"):
        evaluate(parse("self.matches('[')"), {"self": "a"})
