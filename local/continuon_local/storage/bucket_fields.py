"""What an owner may say about a bucket: checked, completed, and merged into what is stored."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from continuon_local.storage import acl
from continuon_local.storage.errors import StorageError, invalid, not_implemented
from continuon_local.storage.json_body import is_one_of
from continuon_local.storage.lifecycle_rules import check_rules
from continuon_local.storage.records import timestamp

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

__all__ = ["complete", "merge_patch", "settable"]

_SETTABLE: dict[str, type] = {
    "acl": list,
    "autoclass": dict,
    "billing": dict,
    "cors": list,
    "customPlacementConfig": dict,
    "defaultEventBasedHold": bool,
    "defaultObjectAcl": list,
    "encryption": dict,
    "hierarchicalNamespace": dict,
    "iamConfiguration": dict,
    "ipFilter": dict,
    "labels": dict,
    "lifecycle": dict,
    "location": str,
    "logging": dict,
    "retentionPolicy": dict,
    "rpo": str,
    "softDeletePolicy": dict,
    "storageClass": str,
    "versioning": dict,
    "website": dict,
}
_CORS_LISTS = ("origin", "method", "responseHeader")

# What a client may send back because the service sent it; without effect.
_OUTPUT_ONLY = frozenset(
    {
        "etag",
        "generation",
        "id",
        "kind",
        "locationType",
        "metageneration",
        "name",
        "objectRetention",
        "owner",
        "projectNumber",
        "satisfiesPZS",
        "selfLink",
        "timeCreated",
        "updated",
    }
)

# What a full update keeps when the request leaves it out: the service never forgets these.
_KEPT = frozenset(
    {
        "acl",
        "customPlacementConfig",
        "defaultObjectAcl",
        "hierarchicalNamespace",
        "iamBindings",
        "location",
        "locationType",
        "objectRetention",
        "storageClass",
    }
)

_DUAL_REGIONS = frozenset({"ASIA1", "EUR4", "EUR5", "EUR7", "EUR8", "NAM4"})
_MULTI_REGIONS = frozenset({"ASIA", "EU", "US"})
_CONFIGURABLE_DUAL_REGION_LOCATIONS = 2

_PREVENTION = frozenset({"inherited", "enforced", "unspecified"})

# https://cloud.google.com/storage/docs/bucket-lock: at most 100 years.
_MAX_RETENTION_SECONDS = 3_155_760_000

# https://cloud.google.com/storage/docs/soft-delete: off, or 7 to 90 days.
_SOFT_DELETE_SECONDS = (7 * 86_400, 90 * 86_400)

# For so long uniform bucket-level access can be switched off again.
_UNIFORM_GRACE = timedelta(days=90)

# https://cloud.google.com/storage/docs/tags-and-labels#bucket-labels
_MAX_LABELS = 64
_LABEL = re.compile(r"[\w-]{0,63}")
_RESTRICTED = "FullyRestricted"


def settable(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an owner may set; what would have to be enforced and is not, is refused.

    Raises:
        StorageError: A value is not valid (400), or asks for what is not implemented (501).
    """
    for name, value in body.items():
        if name not in _OUTPUT_ONLY | _SETTABLE.keys() and _asks_something(value):
            raise not_implemented(f"Bucket field {name}")
        if value is not None and not isinstance(value, _SETTABLE.get(name, object)):
            raise invalid(f"Invalid value for {name}")
    fields = {name: value for name, value in body.items() if name in _SETTABLE}
    for name, check in _CHECKS.items():
        if fields.get(name) is not None:
            check(fields[name])
    for name, roles in (("acl", acl.BUCKET_ROLES), ("defaultObjectAcl", acl.OBJECT_ROLES)):
        if fields.get(name) is not None:
            fields[name] = acl.parse_entries(fields[name], roles)
    return fields


def complete(
    old: Mapping[str, Any], changes: Mapping[str, Any], now: datetime, *, replace_all: bool
) -> dict[str, Any]:
    """Return the fields of a bucket after ``changes``, with what the service adds to them.

    Raises:
        StorageError: The change is not allowed (400, 403).
    """
    if replace_all:
        kept = {name: old[name] for name in _KEPT if name in old}
        fields = {**kept, **merge_patch({}, changes)}
    else:
        fields = merge_patch(old, changes)
    moment = timestamp(now)
    for part in (_location, _retention, _soft_delete, _autoclass, _encryption):
        part(fields, old, moment)
    _uniform_access(fields, old, now)
    return fields


def merge_patch(target: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``target`` with ``patch`` merged as RFC 7396 says: null removes a member."""
    result = dict(target)
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            nested = result.get(name)
            result[name] = merge_patch(nested if isinstance(nested, dict) else {}, value)
        else:
            result[name] = value
    return result


def _asks_something(value: object) -> bool:
    """Say whether a value differs from "off": false, zero, empty or nothing, at any depth."""
    if isinstance(value, dict):
        return any(_asks_something(inner) for inner in value.values())
    return value not in (None, False, 0, "", "0", [])


def _check_cors(rules: list[Any]) -> None:
    for rule in rules:
        if not isinstance(rule, dict):
            raise invalid("Invalid value for cors")
        texts = [rule.get(name) or [] for name in _CORS_LISTS]
        if not all(isinstance(part, list) and _all_texts(part) for part in texts):
            raise invalid("Invalid value for cors")


def _all_texts(values: list[Any]) -> bool:
    return all(isinstance(value, str) and value.isascii() for value in values)


def _check_access(access: Mapping[str, Any]) -> None:
    prevention = access.get("publicAccessPrevention")
    if prevention is not None and not is_one_of(prevention, _PREVENTION):
        raise invalid("Invalid value for iamConfiguration.publicAccessPrevention")
    for name in ("uniformBucketLevelAccess", "bucketPolicyOnly"):
        _flag(access.get(name) or {}, "enabled", f"iamConfiguration.{name}")


def _flag(holder: object, name: str, path: str) -> bool:
    value = holder.get(name) if isinstance(holder, dict) else holder
    if not isinstance(value, bool | None):
        raise invalid(f"Invalid value for {path}.{name}")
    return bool(value)


def _check_labels(labels: Mapping[str, Any]) -> None:
    if len(labels) > _MAX_LABELS:
        raise invalid(f"A bucket has at most {_MAX_LABELS} labels.")
    for key, value in labels.items():
        fits = isinstance(value, str | None) and _LABEL.fullmatch(value or "")
        if not (fits and key and _LABEL.fullmatch(key) and key == key.lower()):
            raise invalid(f"Invalid label: {key}")


def _check_encryption(encryption: Mapping[str, Any]) -> None:
    if encryption.get("defaultKmsKeyName"):
        raise not_implemented("Bucket field encryption.defaultKmsKeyName")
    if not all(isinstance(value, dict | None) for value in encryption.values()):
        raise invalid("Invalid value for encryption")


def _check_ip_filter(ip_filter: Mapping[str, Any]) -> None:
    if ip_filter.get("mode", "Disabled") != "Disabled":
        raise not_implemented("Bucket field ipFilter with a mode other than Disabled")


def _check_logging(logging: Mapping[str, Any]) -> None:
    if _asks_something(logging):
        raise not_implemented("Bucket field logging")


_CHECKS: dict[str, Any] = {
    "billing": lambda value: _flag(value, "requesterPays", "billing"),
    "cors": _check_cors,
    "encryption": _check_encryption,
    "hierarchicalNamespace": lambda value: _flag(value, "enabled", "hierarchicalNamespace"),
    "iamConfiguration": _check_access,
    "ipFilter": _check_ip_filter,
    "labels": _check_labels,
    "lifecycle": check_rules,
    "logging": _check_logging,
    "versioning": lambda value: _flag(value, "enabled", "versioning"),
}


def _location(fields: dict[str, Any], _old: Mapping[str, Any], _moment: str) -> None:
    places = (fields.get("customPlacementConfig") or {}).get("dataLocations")
    if fields.get("location"):
        location = str(fields["location"]).upper()
        kind = "multi-region" if location in _MULTI_REGIONS else "region"
        kind = "dual-region" if location in _DUAL_REGIONS else kind
        fields |= {"location": location, "locationType": kind}
    if places is not None:
        if not (isinstance(places, list) and _all_texts(places)):
            raise invalid("Invalid value for customPlacementConfig.dataLocations")
        if len(places) != _CONFIGURABLE_DUAL_REGION_LOCATIONS:
            raise invalid("customPlacementConfig.dataLocations takes two locations.")
        upper = [place.upper() for place in places]
        fields |= {"customPlacementConfig": {"dataLocations": upper}, "locationType": "dual-region"}


def _seconds(holder: Mapping[str, Any], name: str) -> int:
    text = str(holder.get(name))
    if not re.fullmatch(r"[0-9]{1,12}", text):
        raise invalid(f"Invalid value for {name}: {text}")
    return int(text)


def _retention(fields: dict[str, Any], old: Mapping[str, Any], moment: str) -> None:
    before, after = old.get("retentionPolicy") or {}, fields.get("retentionPolicy") or {}
    if not after.get("retentionPeriod"):
        fields.pop("retentionPolicy", None)
        after = {}
    seconds = _seconds(after, "retentionPeriod") if after else 0
    if after and not 1 <= seconds <= _MAX_RETENTION_SECONDS:
        raise invalid("The retention period must be between 1 second and 100 years.")
    if before.get("isLocked") and seconds < int(before["retentionPeriod"]):
        message = "Cannot reduce retention duration of a locked Retention Policy for bucket."
        raise StorageError(403, "forbidden", "AccessDenied", message)
    if after:
        same = bool(before) and int(before["retentionPeriod"]) == seconds
        policy = {"retentionPeriod": str(seconds)}
        policy["effectiveTime"] = before["effectiveTime"] if same else moment
        locked = {"isLocked": True} if before.get("isLocked") else {}
        fields["retentionPolicy"] = {**policy, **locked}


def _soft_delete(fields: dict[str, Any], old: Mapping[str, Any], moment: str) -> None:
    policy = fields.get("softDeletePolicy")
    if policy is None:
        return
    seconds = _seconds(policy, "retentionDurationSeconds")
    low, high = _SOFT_DELETE_SECONDS
    if seconds and not low <= seconds <= high:
        raise invalid(f"retentionDurationSeconds must be 0 or between {low} and {high}.")
    before = old.get("softDeletePolicy") or {}
    same = before.get("retentionDurationSeconds") == str(seconds)
    since = before["effectiveTime"] if same else moment
    fields["softDeletePolicy"] = {
        "retentionDurationSeconds": str(seconds),
        "effectiveTime": since,
    }


def _autoclass(fields: dict[str, Any], old: Mapping[str, Any], moment: str) -> None:
    wanted = fields.get("autoclass")
    if wanted is None:
        return
    before = old.get("autoclass") or {}
    enabled = _flag(wanted, "enabled", "autoclass")
    if not enabled and not before:
        del fields["autoclass"]
        return
    terminal = wanted.get("terminalStorageClass") or "NEARLINE"
    if not is_one_of(terminal, ("NEARLINE", "ARCHIVE")):
        raise invalid("Invalid value for autoclass.terminalStorageClass")
    toggled = before.get("toggleTime") if before.get("enabled") is enabled else moment
    result = {"enabled": enabled, "toggleTime": toggled}
    if enabled:
        since = before.get("terminalStorageClassUpdateTime")
        same = before.get("terminalStorageClass") == terminal and since
        result |= {
            "terminalStorageClass": terminal,
            "terminalStorageClassUpdateTime": since if same else moment,
        }
    fields["autoclass"] = result


def _encryption(fields: dict[str, Any], old: Mapping[str, Any], moment: str) -> None:
    before = old.get("encryption") or {}
    found = {}
    for name, config in (fields.get("encryption") or {}).items():
        if not config:
            continue
        mode = config.get("restrictionMode")
        if not is_one_of(mode, (_RESTRICTED, "NotRestricted")):
            raise invalid(f"Invalid value for encryption.{name}.restrictionMode: {mode}")
        found[name] = {"restrictionMode": mode}
        if mode == _RESTRICTED:
            known = before.get(name) or {}
            found[name]["effectiveTime"] = known.get("effectiveTime") or moment
    fields.pop("encryption", None)
    if found:
        fields["encryption"] = found


def _uniform_access(fields: dict[str, Any], old: Mapping[str, Any], now: datetime) -> None:
    access = dict(fields.get("iamConfiguration") or {})
    # The field had another name once; a request that sets one of the two sets both.
    uniform = access.get("uniformBucketLevelAccess") or access.get("bucketPolicyOnly") or {}
    before = (old.get("iamConfiguration") or {}).get("uniformBucketLevelAccess") or {}
    enabled = _flag(uniform, "enabled", "iamConfiguration.uniformBucketLevelAccess")
    if before.get("enabled") and not enabled and before.get("lockedTime", "") < timestamp(now):
        raise invalid("Cannot disable uniform bucket-level access after its locked time.")
    state: dict[str, Any] = {"enabled": enabled}
    if enabled:
        since = before.get("lockedTime") if before.get("enabled") else None
        state["lockedTime"] = since or timestamp(now + _UNIFORM_GRACE)
    if (fields.get("hierarchicalNamespace") or {}).get("enabled") and not enabled:
        raise invalid("A hierarchical namespace needs uniform bucket-level access.")
    fields["iamConfiguration"] = {
        "bucketPolicyOnly": state,
        "uniformBucketLevelAccess": state,
        "publicAccessPrevention": access.get("publicAccessPrevention") or "inherited",
    }
