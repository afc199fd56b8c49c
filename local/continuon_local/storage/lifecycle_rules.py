"""Lifecycle rules as pure functions: what a rule may say, and what it does to one object.

https://cloud.google.com/storage/docs/lifecycle
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from continuon_local.storage.errors import invalid
from continuon_local.storage.json_body import is_one_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from continuon_local.storage.records import ObjectRecord

__all__ = ["Candidate", "aborts_upload", "check_rules", "decide"]

_MAX_RULES = 100

ACTIONS = frozenset({"Delete", "SetStorageClass", "AbortIncompleteMultipartUpload"})
_CLASSES = frozenset({"STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE"})

# From the cheapest to reach to the last: a lifecycle only ever moves an object to the right.
_ORDER = (
    "DURABLE_REDUCED_AVAILABILITY",
    "MULTI_REGIONAL",
    "REGIONAL",
    "STANDARD",
    "NEARLINE",
    "COLDLINE",
    "ARCHIVE",
)

_DAYS = frozenset({"age", "daysSinceCustomTime", "daysSinceNoncurrentTime", "numNewerVersions"})
_DATES = frozenset({"createdBefore", "customTimeBefore", "noncurrentTimeBefore"})
_LISTS = frozenset({"matchesPrefix", "matchesSuffix", "matchesStorageClass"})
_CONDITIONS = _DAYS | _DATES | _LISTS | {"isLive"}
_UPLOAD_CONDITIONS = frozenset({"age", "matchesPrefix", "matchesSuffix"})

# https://cloud.google.com/storage/quotas: prefixes and suffixes of one rule.
_MAX_AFFIXES = 1000


@dataclass(frozen=True)
class Candidate:
    """One generation and what only its neighbours know.

    Attributes:
        newer_versions: How many generations of the same name are newer.
        noncurrent_since: When it ceased to be the live version (RFC 3339), else None.
    """

    record: ObjectRecord
    newer_versions: int
    noncurrent_since: str | None


def check_rules(lifecycle: Mapping[str, Any]) -> None:
    """Refuse a lifecycle configuration that the service would refuse.

    Raises:
        StorageError: A rule is malformed (400).
    """
    rules = lifecycle.get("rule")
    if rules is None:
        return
    if not isinstance(rules, list) or len(rules) > _MAX_RULES:
        raise invalid(f"A lifecycle has at most {_MAX_RULES} rules.")
    for rule in rules:
        _check_rule(rule)


def _check_rule(rule: object) -> None:
    if not isinstance(rule, dict):
        raise invalid("Invalid value for lifecycle.rule")
    action, condition = rule.get("action"), rule.get("condition")
    if not isinstance(action, dict) or not is_one_of(action.get("type"), ACTIONS):
        raise invalid("A lifecycle rule needs an action of a known type.")
    storage_class = action.get("storageClass")
    if action["type"] == "SetStorageClass" and not is_one_of(storage_class, _CLASSES):
        raise invalid("SetStorageClass needs a storage class.")
    if not isinstance(condition, dict) or not condition:
        raise invalid("A lifecycle rule needs at least one condition.")
    allowed = _CONDITIONS
    if action["type"] == "AbortIncompleteMultipartUpload":
        allowed = _UPLOAD_CONDITIONS
    for name, value in condition.items():
        if name not in allowed:
            raise invalid(f"The condition {name} does not go with {action['type']}.")
        _check_condition(name, value)


def _check_condition(name: str, value: object) -> None:
    good: object = isinstance(value, bool)
    if name in _DAYS:
        good = type(value) is int and 0 <= value <= 2**31
    elif name in _DATES:
        good = isinstance(value, str) and _is_date(value)
    elif name in _LISTS:
        good = isinstance(value, list) and all(isinstance(part, str) for part in value)
        good = good and len(value) <= _MAX_AFFIXES  # type: ignore[arg-type]
    if not good:
        raise invalid(f"Invalid value for lifecycle.rule.condition.{name}")


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return bool(re.fullmatch(r"\d{4}-\d{2}-\d{2}", text))


def decide(rules: Sequence[Mapping[str, Any]], candidate: Candidate, now: datetime) -> str | None:
    """Return ``Delete``, the storage class to move to, or None.

    Of several rules that apply a deletion wins, then the cheapest storage class at rest.
    """
    record = candidate.record
    chosen: str | None = None
    for rule in rules:
        if not _applies(rule["condition"], candidate, now):
            continue
        action = rule["action"]
        if action["type"] == "Delete":
            return "Delete"
        if action["type"] == "SetStorageClass":
            best = _later_class(chosen or record.storage_class, action["storageClass"])
            chosen = chosen if best is None else best
    return chosen


def _later_class(current: str, wanted: str) -> str | None:
    if current not in _ORDER:
        return None
    return wanted if _ORDER.index(wanted) > _ORDER.index(current) else None


def aborts_upload(
    rules: Sequence[Mapping[str, Any]], name: str, created: str, now: datetime
) -> bool:
    """Say whether an XML multipart upload that began at ``created`` is to be aborted."""
    return any(
        rule["action"]["type"] == "AbortIncompleteMultipartUpload"
        and _affixes_match(rule["condition"], name)
        and _older(created, rule["condition"].get("age"), now)
        for rule in rules
    )


def _older(since: str | None, days: int | None, now: datetime) -> bool:
    if days is None:
        return True
    return since is not None and now - datetime.fromisoformat(since) >= timedelta(days=days)


def _before(since: str | None, day: str | None) -> bool:
    """Say whether ``since`` lies before midnight UTC at the beginning of ``day``."""
    if day is None:
        return True
    limit = datetime.combine(date.fromisoformat(day), datetime.min.time(), UTC)
    return since is not None and datetime.fromisoformat(since) < limit


def _affixes_match(condition: Mapping[str, Any], name: str) -> bool:
    prefixes, suffixes = condition.get("matchesPrefix"), condition.get("matchesSuffix")
    return (not prefixes or name.startswith(tuple(prefixes))) and (
        not suffixes or name.endswith(tuple(suffixes))
    )


def _applies(condition: Mapping[str, Any], candidate: Candidate, now: datetime) -> bool:
    """Say whether every condition of a rule holds."""
    record = candidate.record
    custom = _moment(record.fields.get("customTime"))
    classes = condition.get("matchesStorageClass")
    live = condition.get("isLive")
    newer = condition.get("numNewerVersions")
    return (
        _affixes_match(condition, record.name)
        and (live is None or live is (record.deleted is None))
        and (not classes or record.storage_class in classes)
        and (newer is None or candidate.newer_versions >= newer)
        and _older(record.created, condition.get("age"), now)
        and _before(record.created, condition.get("createdBefore"))
        and _older(custom, condition.get("daysSinceCustomTime"), now)
        and _before(custom, condition.get("customTimeBefore"))
        and _older(candidate.noncurrent_since, condition.get("daysSinceNoncurrentTime"), now)
        and _before(candidate.noncurrent_since, condition.get("noncurrentTimeBefore"))
    )


def _moment(text: object) -> str | None:
    """Return a custom time that can be compared; what cannot matches no condition."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return text if moment.tzinfo is not None else None
