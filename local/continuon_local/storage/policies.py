"""Bucket policies: role bindings, and the legacy roles that mirror the access control list.

https://cloud.google.com/storage/docs/access-control/iam
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

from continuon_local.storage import acl
from continuon_local.storage.errors import StorageError, invalid
from continuon_local.storage.records import project_number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from continuon_local.storage.records import BucketRecord, ObjectRecord

__all__ = ["check_permissions", "parse_policy", "policy_resource", "public_may"]

_LEGACY = {
    "OWNER": "roles/storage.legacyBucketOwner",
    "READER": "roles/storage.legacyBucketReader",
    "WRITER": "roles/storage.legacyBucketWriter",
}
_CONDITIONAL_VERSION = 3

# https://cloud.google.com/iam/quotas#limits: principals of one policy.
_MAX_MEMBERS = 1500

_ROLE = re.compile(r"(?:roles|projects/[^/]+/roles|organizations/[^/]+/roles)/[\w.]+")
_MEMBER = re.compile(
    r"allUsers|allAuthenticatedUsers|[a-zA-Z]+:\S+|principal(?:Set)?://\S+|deleted:\S+"
)
_PERMISSION = re.compile(r"storage\.[a-zA-Z]+\.[a-zA-Z]+")

# The predefined roles that let somebody read or list objects.
_READING = frozenset(
    f"roles/storage.{name}"
    for name in ("admin", "objectAdmin", "objectUser", "objectViewer", "legacyObjectOwner")
) | {"roles/storage.legacyObjectReader"}
_LISTING = frozenset(
    f"roles/storage.{name}" for name in ("admin", "objectAdmin", "objectUser", "objectViewer")
) | set(_LEGACY.values())


def _member(entity: str, project_id: str) -> str:
    kind, _, rest = entity.partition("-")
    if kind == "project":
        return f"project{rest.partition('-')[0][:-1].capitalize()}:{project_id}"
    if kind == "user" and rest.endswith(".gserviceaccount.com"):
        return f"serviceAccount:{rest}"
    return f"{kind}:{rest}" if rest else entity


def _entity(member: str, project_id: str) -> str:
    kind, _, rest = member.partition(":")
    if kind.startswith("project") and rest == project_id:
        return f"project-{kind.removeprefix('project').lower()}s-{project_number(project_id)}"
    if not rest:
        return member
    return f"{'user' if kind == 'serviceAccount' else kind}-{rest}"


def _default_bindings(bucket: BucketRecord) -> list[dict[str, Any]]:
    """Return what a bucket has before anybody sets a policy: the mirror of its list."""
    members: dict[str, list[str]] = {}
    for entry in bucket.fields.get("acl") or []:
        role = _LEGACY[entry["role"]]
        members.setdefault(role, []).append(_member(entry["entity"], bucket.project_id))
    return [{"role": role, "members": sorted(found)} for role, found in sorted(members.items())]


def _bindings(bucket: BucketRecord) -> list[dict[str, Any]]:
    stored = bucket.fields.get("iamBindings")
    if stored is None:
        return _default_bindings(bucket)
    legacy = [] if acl.is_uniform(bucket) else _default_bindings(bucket)
    names = set(_LEGACY.values())
    rest = [each for each in stored if acl.is_uniform(bucket) or each["role"] not in names]
    return [*legacy, *rest]


def _etag(bucket: BucketRecord) -> str:
    digest = hashlib.sha256(json.dumps(_bindings(bucket), sort_keys=True).encode()).digest()
    return base64.b64encode(digest[:8]).decode()


def policy_resource(bucket: BucketRecord, requested_version: str) -> dict[str, Any]:
    """Return the policy; conditions are shown to who asks for version 3.

    Raises:
        StorageError: There is no such version (400).
    """
    if requested_version not in {"0", "1", "3"}:
        raise invalid("Invalid value for optionsRequestedPolicyVersion")
    bindings = _bindings(bucket)
    conditional = any("condition" in binding for binding in bindings)
    if int(requested_version) < _CONDITIONAL_VERSION:
        bindings = [_without_condition(binding) for binding in bindings]
        conditional = False
    return {
        "kind": "storage#policy",
        "resourceId": f"projects/_/buckets/{bucket.name}",
        "version": _CONDITIONAL_VERSION if conditional else 1,
        "etag": _etag(bucket),
        "bindings": bindings,
    }


def _without_condition(binding: Mapping[str, Any]) -> dict[str, Any]:
    """Return a binding as old clients see it: a role that nobody can mistake for the plain one."""
    if "condition" not in binding:
        return dict(binding)
    text = json.dumps(binding["condition"], sort_keys=True).encode()
    role = f"{binding['role']}_withcond_{hashlib.sha256(text).hexdigest()[:20]}"
    return {"role": role, "members": binding["members"]}


def parse_policy(bucket: BucketRecord, body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Read a policy that replaces the bucket's.

    Raises:
        StorageError: It is malformed (400), was read before somebody else changed it, would make
            public what may not be, or has conditions where the bucket has lists (412).
    """
    if body.get("etag") and body["etag"] != _etag(bucket):
        message = "The policy was changed since it was read: its etag differs."
        raise StorageError(412, "conditionNotMet", "PreconditionFailed", message)
    raw = body.get("bindings") or []
    if not isinstance(raw, list):
        raise invalid("Invalid value for bindings")
    bindings = [_parse_binding(binding) for binding in raw]
    members = [member for binding in bindings for member in binding["members"]]
    if len(members) > _MAX_MEMBERS:
        raise invalid(f"A policy has at most {_MAX_MEMBERS} principals.")
    acl.check_publicity(bucket, [{"entity": member} for member in members])
    conditional = any("condition" in binding for binding in bindings)
    if conditional and not acl.is_uniform(bucket):
        message = "To set conditions on a policy, enable uniform bucket-level access."
        raise StorageError(412, "conditionNotMet", "PreconditionFailed", message)
    if conditional and body.get("version") != _CONDITIONAL_VERSION:
        raise invalid("The version of a policy with conditions must be at least 3.")
    return bindings


def _parse_binding(binding: object) -> dict[str, Any]:
    if not isinstance(binding, dict) or not isinstance(binding.get("members", []), list):
        raise invalid("Invalid value for bindings")
    role, members = str(binding.get("role")), [str(each) for each in binding.get("members", [])]
    if not _ROLE.fullmatch(role):
        raise invalid(f"Role {role} is not supported for this resource.")
    for member in members:
        if not _MEMBER.fullmatch(member):
            raise invalid(f"Invalid policy member: {member}")
    parsed: dict[str, Any] = {"role": role, "members": members}
    condition = binding.get("condition")
    if condition:
        if not isinstance(condition, dict) or not condition.get("expression"):
            raise invalid("Invalid value for condition")
        parsed["condition"] = condition
    return parsed


def legacy_entries(bucket: BucketRecord, bindings: Sequence[Mapping[str, Any]]) -> acl.Entries:
    """Return the access control list that the legacy roles of a policy stand for."""
    roles = {name: role for role, name in _LEGACY.items()}
    return [
        {"entity": _entity(member, bucket.project_id), "role": roles[binding["role"]]}
        for binding in bindings
        if binding["role"] in roles
        for member in binding["members"]
    ]


def check_permissions(asked: Sequence[str]) -> list[str]:
    """Return which of the permissions the local administrator has: all that exist.

    Raises:
        StorageError: One is no permission of Cloud Storage (400).
    """
    for permission in asked:
        if not _PERMISSION.fullmatch(permission):
            raise invalid(f"Permission {permission} is not valid for this resource.")
    return list(asked)


def public_may(bucket: BucketRecord, record: ObjectRecord | None = None) -> bool:
    """Say whether anybody may read ``record``, or list the bucket where None."""
    if acl.public_access_prevented(bucket):
        return False
    roles = _LISTING if record is None else _READING
    for binding in _bindings(bucket):
        plain = "condition" not in binding and binding["role"] in roles
        if plain and "allUsers" in binding["members"]:
            return True
    if record is None or acl.is_uniform(bucket):
        return False
    return any(entry["entity"] == "allUsers" for entry in record.fields.get("acl") or [])
