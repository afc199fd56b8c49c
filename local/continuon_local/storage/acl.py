"""Access control lists: what they hold, what the predefined names stand for, who is public.

https://cloud.google.com/storage/docs/access-control/lists. The lists are kept as pairs of an
entity and a role; everything else that the API shows is derived from those.
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any

from continuon_local.storage.errors import StorageError, invalid
from continuon_local.storage.records import project_number

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from continuon_local.storage.records import BucketRecord

__all__ = [
    "BUCKET_ROLES",
    "OBJECT_ROLES",
    "Entries",
    "check_publicity",
    "entry_resource",
    "is_uniform",
    "owner_entity",
    "parse_entries",
    "parse_entry",
    "predefined",
    "public_access_prevented",
]

Entries = list[dict[str, str]]

BUCKET_ROLES = frozenset({"OWNER", "READER", "WRITER"})
OBJECT_ROLES = frozenset({"OWNER", "READER"})

PUBLIC_ENTITIES = frozenset({"allUsers", "allAuthenticatedUsers"})
_ENTITY = re.compile(
    r"allUsers|allAuthenticatedUsers|(?:user|group|domain)-[^\s]+|project-(?:owners|editors|viewers)-\w+"
)

# https://cloud.google.com/storage/quotas: entries of one list.
_MAX_ENTRIES = 100


def owner_entity(project_id: str) -> str:
    """Return who owns what is written with the local administrator's rights."""
    return f"user-continuon-local@{project_id}.iam.gserviceaccount.com"


def is_uniform(bucket: BucketRecord) -> bool:
    """Say whether a bucket takes permissions from policies only (uniform bucket-level access)."""
    access = bucket.fields.get("iamConfiguration") or {}
    return bool((access.get("uniformBucketLevelAccess") or {}).get("enabled"))


def public_access_prevented(bucket: BucketRecord) -> bool:
    """Say whether a bucket refuses to be public."""
    access = bucket.fields.get("iamConfiguration") or {}
    return bool(access.get("publicAccessPrevention") == "enforced")


def parse_entry(entry: object, roles: Iterable[str]) -> dict[str, str]:
    """Read an entry as clients send it.

    Raises:
        StorageError: It names no entity or no role that exists (400).
    """
    if not isinstance(entry, dict):
        raise invalid("Invalid value for acl")
    entity, role = entry.get("entity"), entry.get("role")
    if not isinstance(entity, str) or not _ENTITY.fullmatch(entity):
        raise invalid(f"Unknown entity: {entity}")
    if not isinstance(role, str) or role not in roles:
        raise invalid(f"Invalid role: {role}")
    return {"entity": entity, "role": role}


def parse_entries(entries: object, roles: Iterable[str]) -> Entries:
    """Read a list as clients send it; of two entries for one entity the last one counts.

    Raises:
        StorageError: An entry is malformed, or there are too many (400).
    """
    if not isinstance(entries, list):
        raise invalid("Invalid value for acl")
    if len(entries) > _MAX_ENTRIES:
        raise invalid(f"An access control list holds at most {_MAX_ENTRIES} entries.")
    parsed = [parse_entry(entry, roles) for entry in entries]
    return list({entry["entity"]: entry for entry in parsed}.values())


def check_publicity(bucket: BucketRecord, entries: Sequence[Mapping[str, str]]) -> None:
    """Refuse entries that would make something public where the bucket forbids that.

    Raises:
        StorageError: Public access prevention is enforced (412).
    """
    if not public_access_prevented(bucket):
        return
    if any(entry["entity"] in PUBLIC_ENTITIES for entry in entries):
        message = (
            "The member bindings allUsers and allAuthenticatedUsers are not allowed since public"
            " access prevention is enforced."
        )
        raise StorageError(412, "conditionNotMet", "PreconditionFailed", message)


def _team(project_id: str, *roles: tuple[str, str]) -> Entries:
    number = project_number(project_id)
    return [{"entity": f"project-{team}-{number}", "role": role} for team, role in roles]


def _bucket_list(name: str, project_id: str) -> Entries | None:
    owners = _team(project_id, ("owners", "OWNER"))
    teams = _team(project_id, ("owners", "OWNER"), ("editors", "OWNER"), ("viewers", "READER"))
    return {
        "private": owners,
        "projectPrivate": teams,
        "authenticatedRead": [*owners, {"entity": "allAuthenticatedUsers", "role": "READER"}],
        "publicRead": [*owners, {"entity": "allUsers", "role": "READER"}],
        "publicReadWrite": [*owners, {"entity": "allUsers", "role": "WRITER"}],
    }.get(name)


def _object_list(name: str, project_id: str) -> Entries | None:
    teams = _team(project_id, ("owners", "OWNER"), ("editors", "OWNER"), ("viewers", "READER"))
    owners = _team(project_id, ("owners", "OWNER"))
    return {
        "private": [],
        "projectPrivate": teams,
        "authenticatedRead": [{"entity": "allAuthenticatedUsers", "role": "READER"}],
        "publicRead": [{"entity": "allUsers", "role": "READER"}],
        "bucketOwnerFullControl": owners,
        "bucketOwnerRead": [{**entry, "role": "READER"} for entry in owners],
    }.get(name)


def predefined(name: str, project_id: str, *, of_bucket: bool) -> Entries:
    """Return the entries that a predefined name stands for, the object's owner not included.

    Raises:
        StorageError: There is no such name (400).
    """
    # The XML API writes the same names with hyphens.
    first, *rest = name.split("-")
    camel = first + "".join(part.capitalize() for part in rest)
    found = (_bucket_list if of_bucket else _object_list)(camel, project_id)
    if found is None:
        raise invalid(f"Invalid predefined ACL: {name}")
    return found


def entry_resource(
    entry: Mapping[str, str],
    *,
    bucket: BucketRecord,
    base_url: str,
    kind: str,
    object_key: tuple[str, int] | None = None,
) -> dict[str, Any]:
    """Return an entry as the API shows it; ``kind`` is the path's, as in ``acl``."""
    entity = entry["entity"]
    parts = [bucket.name, *([] if object_key is None else map(str, object_key)), entity]
    resource: dict[str, Any] = {
        "kind": "storage#bucketAccessControl" if kind == "acl" and object_key is None
        else "storage#objectAccessControl",
        "entity": entity,
        "role": entry["role"],
        "etag": base64.b64encode(bucket.metageneration.to_bytes(4, "big")).decode(),
        "bucket": bucket.name,
    }  # fmt: skip
    if kind == "acl":
        resource["id"] = "/".join(parts)
        resource["selfLink"] = f"{base_url}/storage/v1/b/{bucket.name}/acl/{entity}"
    if object_key is not None:
        name, generation = object_key
        resource |= {"object": name, "generation": str(generation)}
        resource["selfLink"] = f"{base_url}/storage/v1/b/{bucket.name}/o/{name}/acl/{entity}"
    return resource | _person(entity)


def _person(entity: str) -> dict[str, Any]:
    kind, _, rest = entity.partition("-")
    if kind in {"user", "group"} and "@" in rest:
        return {"email": rest}
    if kind == "domain":
        return {"domain": rest}
    if kind == "project":
        team, _, number = rest.partition("-")
        return {"projectTeam": {"projectNumber": number, "team": team}}
    return {}
