"""CEL: values of expressions as its specification has them, and rules of definitions as Kubernetes applies them."""

from __future__ import annotations

import time

import pytest

from meshverdict.cluster.cel.check import check
from meshverdict.cluster.cel.evaluate import evaluate
from meshverdict.cluster.cel.syntax import CelSyntaxError, CelUnsupportedError, parse
from meshverdict.cluster.cel.values import CelError
from meshverdict.cluster.crd_rules import rule_errors

SELF = {"n": 3, "f": 2.5, "s": "abc", "l": [1, 2, 3], "m": {"a": 1, "b": 2}, "t": True}


@pytest.mark.parametrize(
    "text",
    [
        "1 + 2 * 3 == 7 && -7 / 2 == -3 && -7 % 2 == -1",
        "self.n > 2 && self.f < 3.0 && 1 < 1.5 && 1 == 1.0",
        "'a' + \"b\" == 'ab' && r'\\d' == '\\\\d' && b'x' != b'y'",
        "!(1 == '1') && !(true == 1)",
        "self.t ? true : self.nothing",
        "true || self.nothing",
        "self.nothing || true",
        "!(false && self.nothing)",
        "has(self.m.a) && !has(self.m.c)",
        "self.l.all(x, x > 0) && self.l.exists(x, x == 2) && self.l.exists_one(x, x == 2)",
        "self.l.map(x, x * 2) == [2, 4, 6] && self.l.filter(x, x > 1).size() == 2",
        "self.l.map(x, x > 1, x * 10) == [20, 30]",
        "self.m.all(k, self.m[k] > 0) && 'a' in self.m && 2 in self.l",
        "self.l.all(i, v, v == i + 1)",
        "size(self.s) == 3 && self.s.startsWith('a') && self.s.matches('^[a-c]+$')",
        "self.s.upperAscii() == 'ABC' && 'a,b'.split(',') == ['a', 'b'] && ['a', 'b'].join('-') == 'a-b'",
        "[1, 2, 2].isSorted() && [1, 2].sum() == 3 && [3, 1].min() == 1 && [1, 5].indexOf(5) == 1",
        "duration('1m30s') > duration('80s') && duration('90s').getMinutes() == 1",
        "timestamp('2026-01-02T03:04:05Z').getHours() == 3",
        "timestamp('2026-01-01T00:00:00Z') + duration('24h') == timestamp('2026-01-02T00:00:00Z')",
        "int('7') == 7 && string(7) == '7' && double('1.5') == 1.5 && type(1) == int",
        "quantity('1Gi').isGreaterThan(quantity('1G')) && isQuantity('5m') && !isQuantity('x')",
        "sets.contains([1, 2], [2]) && sets.equivalent([1, 2], [2, 1]) && !sets.intersects([1], [2])",
        "isURL('https://a.b/c') && !isURL('a b') && isIP('::1') && !isIP('1.2.3')",
        "'foo 12 bar'.find('[0-9]+') == '12' && 'abc'.substring(1) == 'bc' && ' a '.trim() == 'a'",
        "{'a': 1}['a'] == 1 && [1, [2]] == [1, [2]]",
        "1 in [1.0] && 2u == 2",
    ],
)
def test_truths(text):
    """Each of these is true."""
    assert evaluate(parse(text), {"self": SELF}) is True


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("self.nothing", "no such key: nothing"),
        ("self.l[3]", "index out of bounds: 3"),
        ("1 / 0", "division by zero"),
        ("9223372036854775807 + 1", "integer overflow"),
        ("1 + 1.0", "no such overload"),
        ("'a' < 1", "no such overload"),
        ("duration('x') == duration('1s')", 'time: invalid duration "x"'),
        ("int('x') == 1", 'strconv.ParseInt: parsing "x": invalid syntax'),
        ("{[1]: 2} == {}", "unsupported key type: list"),
        ("self.nothing && true", "no such key: nothing"),
    ],
)
def test_no_value(text, words):
    """Errors have CEL's own words."""
    with pytest.raises(CelError, match=words.replace("+", r"\+")):
        evaluate(parse(text), {"self": SELF})


def test_an_expensive_rule_ends():
    """Nested loops end by the budget, not by the user's patience."""
    text = "self.all(a, self.all(b, self.all(c, a + b + c >= 0)))"
    with pytest.raises(CelError, match="cost limit exceeded"):
        evaluate(parse(text), {"self": list(range(1000))})


@pytest.mark.parametrize("text", ["1 +", "a b", "'open", "self.", "f(1", "[1, 2", "#", "", "1..2", "self.in"])
def test_no_expression(text):
    """What cannot be read is a syntax error, wherever it breaks off."""
    with pytest.raises((CelSyntaxError, CelError)):
        evaluate(parse(text), {})


@pytest.mark.parametrize(
    "text",
    [
        "1" * 5000,
        "0x" + "f" * 5000,
        r"'\U00110000'",
        r"'\ud800'",
        r"b'\ud800'",
        "self.in(1)",
        "self.l.all(1, 2, 3)",
        "self.l.exists(x, 1, true)",
    ],
)
def test_what_a_definition_refuses(text):
    """Endless numbers, text that is none, and signs or macros that are called as what they are not."""
    with pytest.raises(CelSyntaxError):
        check(text, {})


@pytest.mark.parametrize(
    "text",
    [
        "int('" + "9" * 5000 + "')",
        "int(1e300)",
        "uint(-1)",
        "-(-9223372036854775808)",
        "- -9223372036854775808",
        "duration('9999999h')",
        "duration('2562047h') + duration('2562047h')",
        "timestamp('9999-12-31T23:59:59Z') + duration('1h')",
        "timestamp('9999-12-31T23:59:59Z').getHours('-12:00')",
        "timestamp('9999-12-31T23:59:59Z').getHours('Pacific/Kiritimati')",
        "timestamp('2026-99-99T99:99:99Z') == timestamp('2026-01-01T00:00:00Z')",
        "double('x')",
        "quantity('1.2.3') == quantity('1')",
        "quantity('1e99999999999999999999') == quantity('1')",
        "'a'.substring(-1)",
        "'a'.charAt(9223372036854775807)",
        "[1][9223372036854775807]",
        "'a'.matches('(')",
    ],
)
def test_errors_are_the_rules(text):
    """What has no value is an error of the rule, whatever the interpreter would have raised."""
    with pytest.raises((CelError, CelSyntaxError)):
        evaluate(parse(text), {"self": SELF})


def test_durations_as_text():
    """All their digits, without an exponent."""
    assert evaluate(parse("string(duration('1000000s'))"), {}) == "1000000s"
    assert evaluate(parse("string(duration('-1.5s'))"), {}) == "-1.5s"
    assert evaluate(parse("string(duration('0'))"), {}) == "0s"


@pytest.mark.parametrize("text", ["(" * 5000 + "1" + ")" * 5000, "!" * 5000 + "true", "1" + "+1" * 5000])
def test_deep_expressions_are_refused(text):
    """Depth ends in words, not in the interpreter's stack; chains of && are flat and may be long."""
    with pytest.raises(CelUnsupportedError):
        parse(text)
    assert evaluate(parse("true" + " && true" * 2000), {}) is True


SCHEMA = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "properties": {
                "size": {"type": "integer"},
                "ratio": {"type": "number"},
                "mode": {
                    "type": "string",
                    "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "mode is immutable"}],
                },
                "max-size": {"type": "integer"},
                "wait": {"type": "string", "format": "duration"},
                "ports": {
                    "type": "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["name"],
                    "items": {
                        "type": "object",
                        "required": ["name"],
                        "properties": {
                            "name": {"type": "string"},
                            "port": {
                                "type": "integer",
                                "x-kubernetes-validations": [{"rule": "self >= oldSelf"}],
                            },
                        },
                    },
                },
            },
            "x-kubernetes-validations": [
                {
                    "rule": "!has(self.max__dash__size) || self.size <= self.max__dash__size",
                    "fieldPath": ".size",
                },
                {
                    "rule": "!has(self.ratio) || self.ratio < 1.0",
                    "messageExpression": "'ratio ' + string(self.ratio) + ' is too big'",
                    "reason": "FieldValueForbidden",
                },
                {"rule": "!has(self.wait) || self.wait >= duration('1s')", "message": "wait is too short"},
            ],
        }
    },
    "x-kubernetes-validations": [{"rule": "self.metadata.name != 'bad'", "message": "bad is a bad name"}],
}
PATH = "/apis/lab.example.com/v1/namespaces/default/gauges"


def definition(schema):
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": "gauges", "singular": "gauge", "kind": "Gauge", "listKind": "GaugeList"}
    spec = {"group": "lab.example.com", "scope": "Namespaced", "names": names, "versions": [version]}
    return {"metadata": {"name": "gauges.lab.example.com"}, "spec": spec}


async def define(api, schema):
    return await api.request(
        "POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition(schema)
    )


async def test_rules_hold(api):
    """Names, escaped fields, times, messages, places and reasons of what breaks a rule."""
    status, headers, _ = await define(api, SCHEMA)
    assert status == 201
    assert "Warning" not in headers

    async def refused(name, **spec):
        body = {"apiVersion": "lab.example.com/v1", "kind": "Gauge", "metadata": {"name": name}, "spec": spec}
        status, _, answer = await api.request("POST", PATH, body)
        return status, "" if status == 201 else answer["message"].partition(" is invalid: ")[2]

    assert await refused("good", size=1, wait="2s", mode="A") == (201, "")
    text = "spec.size: Invalid value: failed rule: !has(self.max__dash__size) || self.size <= self.max__dash__size"
    assert await refused("x", size=3, **{"max-size": 2}) == (422, text)
    assert await refused("x", size=1, ratio=2) == (422, "spec: Forbidden: ratio 2 is too big")
    assert await refused("x", size=1, wait="5ms") == (422, "spec: Invalid value: wait is too short")
    assert await refused("bad", size=1) == (422, "<nil>: Invalid value: bad is a bad name")
    _, words = await refused("x", **{"max-size": 2})
    assert words.startswith(
        "spec: Invalid value: no such key: size evaluating rule: !has(self.max__dash__size)"
    )
    _, words = await refused("x", size="a")
    assert "some validation rules were not checked because the object was invalid" in words


async def test_transition_rules(api):
    """Rules with oldSelf hold at updates only, and for elements of a list by their keys."""
    await define(api, SCHEMA)
    body = {
        "apiVersion": "lab.example.com/v1",
        "kind": "Gauge",
        "metadata": {"name": "g"},
        "spec": {"mode": "A", "ports": [{"name": "a", "port": 5}, {"name": "b", "port": 1}]},
    }
    status, _, _ = await api.request("POST", PATH, body)
    assert status == 201
    media = "application/merge-patch+json"

    async def patch(text):
        status, _, answer = await api.request("PATCH", f"{PATH}/g", data=text, content_type=media)
        return status, answer.get("message", "")

    status, words = await patch(b'{"spec":{"mode":"B"}}')
    assert (status, words.partition("invalid: ")[2]) == (422, "spec.mode: Invalid value: mode is immutable")
    status, words = await patch(b'{"spec":{"ports":[{"name":"b","port":2},{"name":"a","port":4}]}}')
    assert status == 422
    assert "spec.ports[1].port: Invalid value: failed rule: self >= oldSelf" in words
    status, _ = await patch(b'{"spec":{"ports":[{"name":"b","port":2},{"name":"c","port":1}]}}')
    assert status == 200


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (
            "self.siez > 1",
            "compilation failed: ERROR: <input>:1:5: undefined field 'siez'\n | self.siez > 1\n | ....^",
        ),
        ("self.size >", "compilation failed: ERROR: <input>:1:12: Syntax error: mismatched input '<EOF>'"),
        ("slef.size > 1", "undeclared reference to 'slef' (in container '')"),
        (
            "sets.contains([self.size])",
            "found no matching overload for 'sets.contains' applied to 1 arguments",
        ),
        ("self.size.biggish()", "undeclared reference to 'biggish' (in container '')"),
        ("", "rule: Required value: rule is not specified"),
    ],
)
async def test_wrong_rules(api, rule, words):
    """A rule that can never be evaluated is refused with its definition, at its place."""
    spec = {"type": "object", "properties": {"size": {"type": "integer"}}}
    spec["x-kubernetes-validations"] = [{"rule": rule}]
    status, _, answer = await define(api, {"type": "object", "properties": {"spec": spec}})
    assert status == 422
    place = "spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule"
    assert place in answer["message"]
    assert words in answer["message"].replace("\\n", "\n")


async def test_a_rule_that_is_not_evaluated_is_named(api):
    """What Kubernetes evaluates and the lab does not is accepted with a Warning that names rule and function."""
    rules = [{"rule": "url(self.u).getHost() == 'a'"}, {"rule": "self.?u.hasValue()"}]
    spec = {"type": "object", "properties": {"u": {"type": "string"}}, "x-kubernetes-validations": rules}
    status, headers, _ = await define(api, {"type": "object", "properties": {"spec": spec}})
    assert status == 201
    first, second = headers.getall("Warning")
    assert "x-kubernetes-validations[0].rule: not evaluated by the embedded lab, which has not" in first
    assert "optional values" in second
    body = {
        "apiVersion": "lab.example.com/v1",
        "kind": "Gauge",
        "metadata": {"name": "g"},
        "spec": {"u": "x"},
    }
    status, _, _ = await api.request("POST", PATH, body)
    assert status == 201


async def test_a_version_without_a_name_is_refused_by_its_field(api):
    """And is no failure of the server's."""
    body = definition({"type": "object"})
    del body["spec"]["versions"][0]["name"]
    status, _, answer = await api.request(
        "POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", body
    )
    assert status == 422
    assert "spec.versions[0].name: Invalid value" in answer["message"]


def test_a_long_list_by_its_keys():
    """Each element finds its former self at once, and a rule that one of them breaks names its place."""
    old = [{"name": f"n{index}", "port": index} for index in range(20_000)]
    new = [*old[::-1][:-1], {"name": "n0", "port": -1}]
    ports = {"ports": SCHEMA["properties"]["spec"]["properties"]["ports"]}
    begun = time.process_time()
    (error,) = rule_errors({"ports": new}, {"ports": old}, {"type": "object", "properties": ports})
    assert time.process_time() - begun < 5
    assert error.field == "ports[19999].port"


BIG = {"s": "a" * 10_000, "l": list(range(1000)), "d": [[n] for n in range(1000)]}


@pytest.mark.parametrize(
    "text",
    [
        "[self.s].map(x, x + x)" + ".map(x, x + x)" * 20 + ".size() > 0",
        "[self.l].map(x, x + x)" + ".map(x, x + x)" * 20 + ".size() > 0",
        "self.s.replace('a', self.s).size() > 0",
        "self.s.replace('', self.s).replace('', self.s).size() > 0",
        "self.l.map(x, self.s).join(self.s).size() > 0",
        "sets.contains(self.l, self.l)",
        "sets.equivalent(self.d, self.d)",
        "self.l.all(x, x in self.l)",
        "self.l.all(x, self.d == self.d)",
        "self.l.all(x, !self.s.matches('(a{900})' + string(x)))",
        "self.l.all(x, self.l.all(y, self.l.all(z, true)))",
    ],
)
def test_no_rule_takes_more_than_its_budget(text):
    """What would make a long text, or compare all with all, is told beforehand: nothing of it is made."""
    with pytest.raises(CelError, match="actual cost limit exceeded"):
        evaluate(parse(text), {"self": BIG})


def test_usual_rules_are_far_below_the_budget():
    """A thousand elements, each compared, searched and looked up."""
    text = "self.l.all(i, x, self.l[i] == x && x >= 0 && string(x).matches('^[0-9]+$')) && 999 in self.l"
    assert evaluate(parse(text), {"self": BIG}) is True
