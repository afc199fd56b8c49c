"""Policy documents of HTML form uploads, version 4: a pure check of a form against its policy.

https://cloud.google.com/storage/docs/authentication/signatures#policy-document
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from continuon_local.storage.checksums import SizeRange
from continuon_local.storage.errors import StorageError, invalid
from continuon_local.storage.signatures import Claim

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from continuon_local.storage.signatures import KeyRing

__all__ = ["check_form"]

# What needs no condition: it signs the others, or is said to be ignored.
_FREE = frozenset({"policy", "x-goog-signature", "file"})
_IGNORED_PREFIX = "x-ignore-"

_METADATA_PREFIX = "x-goog-meta-"
_KNOWN = frozenset(
    {"x-goog-algorithm", "x-goog-credential", "x-goog-date", "x-goog-signature", "x-goog-acl"}
    | {"x-goog-custom-time", "x-goog-storage-class"}
)
_PAIR, _TRIPLE = 1, 3

# A policy of every field a form may have; Google's own limit on the form is about the same.
_MAX_POLICY_CHARACTERS = 64 << 10


@dataclass(frozen=True)
class _Condition:
    operator: str
    field: str
    value: str

    def holds(self, form: Mapping[str, str]) -> bool:
        actual = form.get(self.field, "")
        if self.operator == "starts-with":
            return actual.startswith(self.value)
        return actual == self.value


def check_form(form: Mapping[str, str], bucket: str, keys: KeyRing, now: datetime) -> SizeRange:
    """Refuse a form that its policy does not cover; return the sizes that the file may have.

    Args:
        form: The fields before the file; names in lower case.
        bucket: Where the form was sent.
        keys: Whose signatures count.
        now: The present moment.

    Raises:
        StorageError: The policy is malformed, does not cover the form, or expired (400); the
            signature is wrong, or there is none (403).
    """
    if "policy" not in form:
        raise StorageError(403, "forbidden", "AccessDenied", "Access denied.")
    names = ("x-goog-algorithm", "x-goog-credential", "x-goog-date", "x-goog-signature")
    missing = [name for name in names if not form.get(name)]
    if missing:
        raise _refuse(f"The form lacks {missing[0]}.")
    claim = Claim.parse(*(form[name] for name in names))
    if not claim.signs([form["policy"]], keys):
        details = {"StringToSign": form["policy"]}
        message = "The signature of the policy document does not match."
        raise StorageError(403, "forbidden", "SignatureDoesNotMatch", message, details=details)
    policy = _parse(form["policy"])
    if _moment(policy.get("expiration")) < now:
        message = "Invalid according to Policy: Policy expired."
        raise StorageError(400, "expired", "ExpiredToken", message)
    conditions, sizes = _conditions(policy.get("conditions"))
    _check(conditions, {**form, "bucket": bucket})
    return sizes


def _refuse(details: str) -> StorageError:
    message = (
        "The content of the form does not meet the conditions specified in the policy document."
    )
    return StorageError(
        400, "invalid", "InvalidPolicyDocument", message, details={"Details": details}
    )


def _parse(text: str) -> dict[str, Any]:
    if len(text) > _MAX_POLICY_CHARACTERS:
        raise _refuse("The policy document is too large.")
    try:
        policy = json.loads(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError, RecursionError):
        policy = None
    if not isinstance(policy, dict):
        raise _refuse("The policy document is not a JSON object in base64.")
    return policy


def _moment(text: object) -> datetime:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        raise _refuse("The policy document has no valid expiration.") from None
    return moment.replace(tzinfo=moment.tzinfo or UTC)


def _conditions(raw: object) -> tuple[list[_Condition], SizeRange]:
    if not isinstance(raw, list):
        raise _refuse("The policy document has no conditions.")
    sizes = SizeRange()
    found = []
    for entry in raw:
        if isinstance(entry, list) and entry[:1] == ["content-length-range"]:
            sizes = _sizes(entry[1:])
        else:
            found.append(_condition(entry))
    return found, sizes


def _sizes(limits: list[Any]) -> SizeRange:
    header = ",".join(str(limit) for limit in limits)
    return SizeRange.from_headers({"x-goog-content-length-range": header})


def _condition(entry: object) -> _Condition:
    if isinstance(entry, dict) and len(entry) == _PAIR:
        ((field, value),) = entry.items()
        return _Condition("eq", field.lower(), str(value))
    if isinstance(entry, list) and len(entry) == _TRIPLE:
        operator, field, value = map(str, entry)
        if operator in {"eq", "starts-with"} and field.startswith("$"):
            return _Condition(operator, field[1:].lower(), value)
    raise _refuse("The policy document has a malformed condition.")


def _check(conditions: Iterable[_Condition], form: Mapping[str, str]) -> None:
    covered = set()
    for condition in conditions:
        covered.add(condition.field)
        if not condition.holds(form):
            raise _refuse(f"Policy condition on {condition.field} failed.")
    for name in form:
        if name in _FREE or name == "bucket" or name.startswith(_IGNORED_PREFIX):
            continue
        if name.startswith("x-goog-") and name not in _KNOWN and not _is_metadata(name):
            raise invalid(f"Invalid form field: {name}")
        if name not in covered:
            raise _refuse(f"Extra input field: {name}")


def _is_metadata(name: str) -> bool:
    return name.startswith(_METADATA_PREFIX)
