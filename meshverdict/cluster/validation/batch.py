"""Rules of Jobs and CronJobs, whose templates hold the same Job rules one level deeper."""

from __future__ import annotations

from typing import Final

from meshverdict.cluster.cron import ScheduleError, parse_schedule, time_zone
from meshverdict.cluster.errors import bad, required, unsupported
from meshverdict.cluster.selectors import of_manifest
from meshverdict.cluster.store import Manifest
from meshverdict.cluster.validation.meta import IMMUTABLE, Errors, non_negative, selector_errors
from meshverdict.cluster.validation.pods import template_errors

_LONGEST_NAME: Final = 52  # a Job's name has eleven characters more
_COUNTS: Final = (
    "parallelism",
    "completions",
    "activeDeadlineSeconds",
    "backoffLimit",
    "ttlSecondsAfterFinished",
)
_POLICIES: Final = ("Allow", "Forbid", "Replace")


def job_errors(obj: Manifest) -> Errors:
    """Rules of a Job."""
    spec = obj.get("spec") or {}
    errors: Errors = []
    if spec.get("selector") is None:
        errors.append(required("spec.selector"))
    else:
        errors += selector_errors(spec["selector"], "spec.selector")
    return errors + _job_spec(spec, "spec")


def _job_spec(spec: Manifest, path: str) -> Errors:
    errors: Errors = []
    for key in _COUNTS:
        errors += non_negative(spec.get(key), f"{path}.{key}")
    mode = spec.get("completionMode")
    if mode and mode not in {"NonIndexed", "Indexed"}:
        errors.append(unsupported(f"{path}.completionMode", mode, ("Indexed", "NonIndexed")))
    if mode == "Indexed" and spec.get("completions") is None:
        errors.append(required(f"{path}.completions", "when completion mode is Indexed"))
    template = spec.get("template") or {}
    labels = (template.get("metadata") or {}).get("labels") or {}
    unread = selector_errors(spec.get("selector"), f"{path}.selector")
    errors += unread
    if spec.get("selector") and not unread and not of_manifest(spec["selector"]).matches(labels):
        text = "`selector` does not match template `labels`"
        errors.append(bad(f"{path}.template.metadata.labels", labels, text))
    errors += template_errors(template, f"{path}.template")
    if (template.get("spec") or {}).get("restartPolicy") not in {"OnFailure", "Never"}:
        text = 'valid values: "OnFailure", "Never"'
        errors.append(required(f"{path}.template.spec.restartPolicy", text))
    return errors


def job_update_errors(new: Manifest, old: Manifest) -> Errors:
    """What a Job runs stays as it is."""
    keys = ["selector", "template", "completionMode"]
    if old["spec"].get("completionMode") != "Indexed":
        keys.insert(0, "completions")
    before, after = old["spec"], new["spec"]
    return [bad(f"spec.{k}", after.get(k), IMMUTABLE) for k in keys if after.get(k) != before.get(k)]


def cron_job_errors(obj: Manifest) -> Errors:
    """Rules of a CronJob."""
    spec = obj.get("spec") or {}
    errors = _schedule(spec)
    errors += non_negative(spec.get("startingDeadlineSeconds"), "spec.startingDeadlineSeconds")
    policy = spec.get("concurrencyPolicy")
    if not policy:
        errors.append(required("spec.concurrencyPolicy"))
    elif policy not in _POLICIES:
        errors.append(unsupported("spec.concurrencyPolicy", policy, _POLICIES))
    errors += _job_spec((spec.get("jobTemplate") or {}).get("spec") or {}, "spec.jobTemplate.spec")
    for key in ("successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        errors += non_negative(spec.get(key), f"spec.{key}")
    name = obj["metadata"].get("name") or ""
    if len(name) > _LONGEST_NAME:
        errors.append(bad("metadata.name", name, f"must be no more than {_LONGEST_NAME} characters"))
    return errors


def _schedule(spec: Manifest) -> Errors:
    schedule, zone = spec.get("schedule") or "", spec.get("timeZone")
    if not schedule:
        errors: Errors = [required("spec.schedule")]
    else:
        errors = []
        try:
            parse_schedule(schedule)
        except ScheduleError as error:
            errors.append(bad("spec.schedule", schedule, str(error)))
        if "TZ" in schedule:
            text = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
            errors.append(bad("spec.schedule", schedule, text))
    if zone is None:
        return errors
    if not zone:
        errors.append(bad("spec.timeZone", zone, "timeZone must be nil or non-empty string"))
    elif zone.lower() == "local":
        text = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
        errors.append(bad("spec.timeZone", zone, text))
    else:
        try:
            time_zone(zone)
        except ScheduleError as error:
            errors.append(bad("spec.timeZone", zone, str(error)))
    return errors
