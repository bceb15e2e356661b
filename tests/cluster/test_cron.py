"""CronJobs and HorizontalPodAutoscalers: what the API takes, fills in, shows and refuses."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime

import pytest

from meshverdict.cluster.autoscaler_api import from_v1, to_v1
from meshverdict.cluster.cron import ScheduleError, parse_schedule, time_zone

CRON = "/apis/batch/v1/namespaces/default/cronjobs"
SCALERS = "/apis/autoscaling/{}/namespaces/default/horizontalpodautoscalers"
TEMPLATE = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox"}]}}


def cron(name="j", **spec):
    given = {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": TEMPLATE}}, **spec}
    return {"metadata": {"name": name}, "spec": given}


def scaler(**spec):
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    return {"metadata": {"name": "h"}, "spec": {"scaleTargetRef": target, "maxReplicas": 3, **spec}}


def at(text, zone=UTC):
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


@pytest.mark.parametrize(
    ("schedule", "after", "wanted"),
    [
        ("* * * * *", "2026-03-01T10:00:30", "2026-03-01T10:01:00"),
        ("* * * * *", "2026-03-01T10:00:00", "2026-03-01T10:01:00"),
        ("*/15 3-4 * * *", "2026-03-01T04:45:00", "2026-03-02T03:00:00"),
        ("0 0 29 2 *", "2026-03-01T00:00:00", "2028-02-29T00:00:00"),
        ("5/20 * * * *", "2026-03-01T10:05:00", "2026-03-01T10:25:00"),
        ("0 9 * jan,DEC mon-fri", "2026-03-01T00:00:00", "2026-12-01T09:00:00"),
        ("0 0 13 * 5", "2026-03-01T00:00:00", "2026-03-06T00:00:00"),  # the 13th, or a Friday
        ("0 0 13 * *", "2026-03-01T00:00:00", "2026-03-13T00:00:00"),
        ("@hourly", "2026-03-01T10:00:00", "2026-03-01T11:00:00"),
        ("@weekly", "2026-03-02T00:00:00", "2026-03-08T00:00:00"),
        ("@every 1m30s", "2026-03-01T10:00:00", "2026-03-01T10:01:30"),
    ],
)
def test_next_time(schedule, after, wanted):
    """The first time after a moment, by all forms of a schedule."""
    assert parse_schedule(schedule).after(at(after)) == at(wanted)


def test_a_time_zones_clock_decides():
    """Times are the zone's wall clock; an hour that the clock leaves out has none."""
    rome = time_zone("Europe/Rome")
    daily = parse_schedule("30 2 * * *")
    assert daily.after(at("2026-03-27T12:00:00", rome), rome) == at("2026-03-28T02:30:00", rome)
    assert daily.after(at("2026-03-28T12:00:00", rome), rome) == at("2026-03-30T02:30:00", rome)


def test_a_day_that_never_comes():
    """The thirtieth of February is no time, and no endless search."""
    assert parse_schedule("0 0 30 2 *").after(at("2026-03-01T00:00:00")) is None


@pytest.mark.parametrize("schedule", [", * * * *", "* , * * *", "* * , * ,", "* * * , *"])
def test_a_field_that_names_nothing(schedule):
    """A field of commas alone has no time, which costs no search minute by minute."""
    begun = time.process_time()
    assert parse_schedule(schedule).after(at("2026-03-01T00:00:00")) is None
    assert time.process_time() - begun < 1


@pytest.mark.parametrize("text", ["9" * 100_000, "@every " + "9" * 100_000, "@every " + "9" * 30 + "h"])
def test_numbers_without_end(text):
    """Refused at once, and not by the interpreter's own limits."""
    begun = time.process_time()
    with pytest.raises(ScheduleError, match=r"value out of range|invalid duration"):
        parse_schedule(text if text[0] == "@" else f"{text} * * * *")
    assert time.process_time() - begun < 1


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("5-3 * * * *", "beginning of range (5) beyond end of range (3): 5-3"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("a * * * *", 'failed to parse int from a: strconv.Atoi: parsing "a": invalid syntax'),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("1/2/3 * * * *", "too many slashes: 1/2/3"),
        ("@often", "unrecognized descriptor: @often"),
        ("@every x", 'failed to parse duration @every x: time: invalid duration "x"'),
    ],
)
def test_wrong_schedules(schedule, words):
    """In the words of the parser that Kubernetes uses."""
    with pytest.raises(ScheduleError) as error:
        parse_schedule(schedule)
    assert str(error.value) == words


@pytest.mark.parametrize(
    ("obj", "words"),
    [
        (cron(schedule=""), "spec.schedule: Required value"),
        (cron(schedule="x"), 'spec.schedule: Invalid value: "x": expected exactly 5 fields, found 1: [x]'),
        (cron(schedule="TZ=UTC * * * * *"), "cannot use TZ or CRON_TZ in schedule, use timeZone field"),
        (cron(timeZone="Nowhere/None"), 'spec.timeZone: Invalid value: "Nowhere/None": unknown time zone'),
        (cron(timeZone="Local"), "timeZone must be an explicit time zone"),
        (
            cron(concurrencyPolicy="Never"),
            'spec.concurrencyPolicy: Unsupported value: "Never": supported values: "Allow", "Forbid", "Replace"',
        ),
        (cron(successfulJobsHistoryLimit=-1), "must be greater than or equal to 0"),
        (cron("x" * 53), "must be no more than 52 characters"),
        (
            cron(
                jobTemplate={"spec": {"template": {"spec": TEMPLATE["spec"] | {"restartPolicy": "Always"}}}}
            ),
            'spec.jobTemplate.spec.template.spec.restartPolicy: Required value: valid values: "OnFailure"',
        ),
        (
            cron(jobTemplate={"spec": {"template": {"spec": {**TEMPLATE["spec"], "hostNetwork": True}}}}),
            "spec.jobTemplate.spec.template.spec.hostNetwork: Forbidden",
        ),
        (
            cron(jobTemplate={"spec": {"template": TEMPLATE, "managedBy": "a/b"}}),
            "spec.jobTemplate.spec.managedBy: Forbidden",
        ),
    ],
)
async def test_wrong_cron_jobs(api, obj, words):
    """Refused with 422, the field and Kubernetes' words; what a pod may not ask for, it may not ask for here."""
    status, _, answer = await api.request("POST", CRON, obj)
    assert (status, answer["reason"]) == (422, "Invalid")
    assert words in answer["message"]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"maxReplicas": 0}, "spec.maxReplicas: Invalid value: 0: must be greater than 0"),
        (
            {"minReplicas": 5},
            "spec.maxReplicas: Invalid value: 3: must be greater than or equal to `minReplicas`",
        ),
        ({"minReplicas": 0}, "spec.minReplicas: Invalid value: 0: must be greater than or equal to 1"),
        ({"scaleTargetRef": {"kind": "Deployment"}}, "spec.scaleTargetRef.name: Required value"),
        ({"metrics": [{"type": "Resource"}]}, "spec.metrics[0].resource: Required value: must populate"),
        ({"metrics": [{"type": "Guess"}]}, 'spec.metrics[0].type: Unsupported value: "Guess"'),
        (
            {
                "metrics": [
                    {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization"}}}
                ]
            },
            "must set either a target raw value or a target utilization",
        ),
        (
            {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 4000}}},
            "spec.behavior.scaleDown.stabilizationWindowSeconds: Invalid value: 4000: must be less than",
        ),
    ],
)
async def test_wrong_autoscalers(api, spec, words):
    """Refused with 422, the field and Kubernetes' words."""
    status, _, answer = await api.request("POST", SCALERS.format("v2"), scaler(**spec))
    assert (status, answer["reason"]) == (422, "Invalid")
    assert words in answer["message"]


async def test_an_autoscaler_in_both_versions(api):
    """Made in v1, it is shown and changed in v2, and what v1 has no field for is in annotations."""
    made = scaler(targetCPUUtilizationPercentage=50)
    status, _, first = await api.request("POST", SCALERS.format("v1"), made)
    assert (status, first["apiVersion"]) == (201, "autoscaling/v1")
    assert first["spec"]["targetCPUUtilizationPercentage"] == 50
    _, _, second = await api.request("GET", SCALERS.format("v2") + "/h")
    assert second["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 50
    second["spec"]["behavior"] = {"scaleDown": {"selectPolicy": "Disabled"}}
    status, _, _ = await api.request("PUT", SCALERS.format("v2") + "/h", second)
    assert status == 200
    _, _, third = await api.request("GET", SCALERS.format("v1") + "/h")
    assert (
        '"selectPolicy":"Disabled"'
        in third["metadata"]["annotations"]["autoscaling.alpha.kubernetes.io/behavior"]
    )
    patch = b'{"spec":{"maxReplicas":7}}'
    media = "application/merge-patch+json"
    status, _, _ = await api.request("PATCH", SCALERS.format("v1") + "/h", data=patch, content_type=media)
    assert status == 200
    _, _, fourth = await api.request("GET", SCALERS.format("v2") + "/h")
    assert fourth["spec"]["maxReplicas"] == 7
    assert fourth["spec"]["behavior"]["scaleDown"]["selectPolicy"] == "Disabled"
    assert "annotations" not in fourth["metadata"]


def test_every_metric_source_survives_v1():
    """To v1 and back, an autoscaler is what it was."""
    amount = {"type": "AverageValue", "averageValue": "2"}
    named = {"name": "queue", "selector": {"matchLabels": {"a": "b"}}}
    metrics = [
        {
            "type": "Resource",
            "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 5}},
        },
        {"type": "Resource", "resource": {"name": "memory", "target": amount}},
        {
            "type": "ContainerResource",
            "containerResource": {"name": "cpu", "container": "c", "target": amount},
        },
        {"type": "Pods", "pods": {"metric": named, "target": amount}},
        {"type": "External", "external": {"metric": named, "target": {"type": "Value", "value": "3"}}},
        {
            "type": "Object",
            "object": {
                "describedObject": {"kind": "Service", "name": "s"},
                "metric": named,
                "target": {"type": "Value", "value": "3"},
            },
        },
    ]
    whole = {"apiVersion": "autoscaling/v2", **scaler(metrics=metrics)}
    again = from_v1(to_v1(whole))
    assert again["spec"] == whole["spec"]
    assert again["metadata"] == whole["metadata"]


ALPHA = "autoscaling.alpha.kubernetes.io/"


@pytest.mark.parametrize(
    "notes",
    [
        {"metrics": "5"},
        {"metrics": "["},
        {"metrics": "[" * 5000 + "]" * 5000},
        {"metrics": '[{"type":"Resource","resource":{"name":"cpu","targetAverageUtilization":"x"}}]'},
        {"metrics": '[{"type":"Resource","resource":{"name":"cpu","targetAverageUtilization":NaN}}]'},
        {"metrics": '[{"type":"Pods","pods":{"metricName":"m","targetAverageValue":"1.2.3"}}]'},
        {"metrics": '[{"type":"Pods","pods":{"metricName":["m"],"targetAverageValue":[1]}}]'},
        {"behavior": '{"scaleUp":5}'},
        {"behavior": "[]"},
        {"conditions": '[{"type":5}]'},
        {"conditions": "{}"},
    ],
)
async def test_annotations_of_another_form_are_ignored(api, notes):
    """Anybody may write an annotation: the autoscaler is made without it, and reads in both versions."""
    made = scaler(targetCPUUtilizationPercentage=50)
    made["metadata"]["annotations"] = {ALPHA + key: value for key, value in notes.items()}
    status, _, answer = await api.request("POST", SCALERS.format("v1"), made)
    assert status == 201, answer
    for version in ("v1", "v2"):
        status, _, found = await api.request("GET", SCALERS.format(version) + "/h")
        assert (status, found["metadata"].get("annotations")) == (200, None)
    assert set(found["spec"]) == {"minReplicas", "maxReplicas", "scaleTargetRef", "metrics"}
    assert [metric["resource"]["name"] for metric in found["spec"]["metrics"]] == ["cpu"]


@pytest.mark.parametrize("amount", ["1.2.3", "1e99999999999999999999", "-1"])
async def test_amounts_that_are_none(api, amount):
    """Refused, never a 500."""
    metric = {
        "type": "Pods",
        "pods": {"metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": amount}},
    }
    status, _, answer = await api.request("POST", SCALERS.format("v2"), scaler(metrics=[metric]))
    assert status in {400, 422}, answer


async def test_an_autoscaler_applied_in_v1(api):
    """What server-side apply writes through v1 is there in both versions, at first and when changed."""
    for percent in (50, 60):
        config = {
            "apiVersion": "autoscaling/v1",
            "kind": "HorizontalPodAutoscaler",
            **scaler(targetCPUUtilizationPercentage=percent),
        }
        status, _, answer = await api.request(
            "PATCH",
            SCALERS.format("v1") + "/h?fieldManager=me&force=true",
            data=json.dumps(config).encode(),
            content_type="application/apply-patch+yaml",
        )
        assert status in {200, 201}, answer
        assert answer["spec"]["targetCPUUtilizationPercentage"] == percent
        _, _, second = await api.request("GET", SCALERS.format("v2") + "/h")
        assert second["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == percent
        _, _, first = await api.request("GET", SCALERS.format("v1") + "/h")
        assert first["spec"]["targetCPUUtilizationPercentage"] == percent


async def test_tables(api):
    """Rows of kubectl: schedule, zone and Jobs; target, metrics that nobody measures, and bounds."""
    await api.request("POST", CRON, cron(timeZone="Europe/Rome", suspend=True))
    await api.request("POST", SCALERS.format("v2"), scaler())
    _, out, _ = await api.kubectl("get", "cj,hpa")
    rows = [line.split() for line in out.splitlines() if "/" in line]
    words = ["cronjob.batch/j", "*", "*", "*", "*", "*", "Europe/Rome", "True", "0", "<none>"]
    assert rows[0][:10] == words
    words = [
        "horizontalpodautoscaler.autoscaling/h",
        "Deployment/web",
        "cpu:",
        "<unknown>/80%",
        "1",
        "3",
        "0",
    ]
    assert rows[1][:7] == words
