"""Holds and retention: what may not be deleted or overwritten yet.

https://cloud.google.com/storage/docs/object-holds, ".../bucket-lock" and ".../object-lock".
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from continuon_local.storage.errors import StorageError, invalid
from continuon_local.storage.json_body import is_one_of
from continuon_local.storage.records import timestamp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from continuon_local.storage.records import BucketRecord, ObjectRecord

__all__ = ["check_may_end", "check_retention_change", "parse_retention", "retention_expiration"]


def parse_retention(value: object) -> dict[str, str] | None:
    """Read an object's ``retention``; an empty one is none.

    Raises:
        StorageError: The mode is not known, or the time is not RFC 3339 (400).
    """
    if not isinstance(value, dict):
        raise invalid("Invalid value for retention")
    mode, until = value.get("mode"), value.get("retainUntilTime")
    if mode is None and until is None:
        return None
    if not is_one_of(mode, ("Locked", "Unlocked")):
        raise invalid("Invalid value for retention.mode")
    return {"mode": str(mode), "retainUntilTime": timestamp(_moment(until))}


def _moment(text: object) -> datetime:
    try:
        moment = datetime.fromisoformat(str(text))
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        raise invalid("Invalid value for retention.retainUntilTime") from None


def retention_expiration(bucket: BucketRecord, record: ObjectRecord) -> str | None:
    """Return until when the bucket's retention policy keeps an object, or None.

    An event-based hold stops the period; it begins anew when the hold is released.
    """
    policy = bucket.fields.get("retentionPolicy")
    if not policy or record.fields.get("eventBasedHold"):
        return None
    since = datetime.fromisoformat(record.fields.get("holdReleased") or record.created)
    return timestamp(since + timedelta(seconds=int(policy["retentionPeriod"])))


def check_may_end(
    bucket: BucketRecord, record: ObjectRecord, now: datetime, *, archive: bool
) -> None:
    """Refuse to delete or overwrite what is protected.

    ``archive`` says that the generation stays as a noncurrent version, which retention allows.

    Raises:
        StorageError: The object is held or retained (403).
    """
    name = f"{record.bucket}/{record.name}"
    for field, kind in (("temporaryHold", "Temporary"), ("eventBasedHold", "Event-Based")):
        if record.fields.get(field):
            message = (
                f"Object '{name}' is under active {kind} hold and cannot be deleted, overwritten"
                " or archived until hold is removed."
            )
            raise StorageError(403, "objectUnderActiveHold", "ObjectUnderActiveHold", message)
    until = _kept_until(bucket, record)
    if archive or until is None or timestamp(now) >= until:
        return
    message = (
        f"Object '{name}' is subject to bucket's retention policy or object retention and cannot"
        f" be deleted or overwritten until {until}"
    )
    raise StorageError(403, "retentionPolicyNotMet", "RetentionPolicyNotMet", message)


def _kept_until(bucket: BucketRecord, record: ObjectRecord) -> str | None:
    own = (record.fields.get("retention") or {}).get("retainUntilTime")
    return max(filter(None, (own, retention_expiration(bucket, record))), default=None)


def check_retention_change(
    bucket: BucketRecord,
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    now: datetime,
    *,
    override: bool,
) -> None:
    """Refuse to shorten or remove an object's retention where that is not allowed.

    Raises:
        StorageError: The bucket has no object retention, or the time has passed (400); the
            retention is locked, or is unlocked and nothing overrides it (403).
    """
    before, after = old.get("retention"), new.get("retention")
    if after == before:
        return
    if after and not bucket.fields.get("objectRetention"):
        raise invalid("Object retention is not enabled for the bucket.")
    if after and after["retainUntilTime"] <= timestamp(now):
        raise invalid("retention.retainUntilTime must lie in the future.")
    if not before or before["retainUntilTime"] <= timestamp(now):
        return
    reduced = (
        not after
        or after["retainUntilTime"] < before["retainUntilTime"]
        or (before["mode"] == "Locked" and after["mode"] != "Locked")
    )
    if before["mode"] == "Locked" and reduced:
        message = "The retention of the object is locked and can only be extended."
        raise StorageError(403, "forbidden", "AccessDenied", message)
    if reduced and not override:
        message = "Reducing an unlocked retention needs overrideUnlockedRetention."
        raise StorageError(403, "forbidden", "AccessDenied", message)
