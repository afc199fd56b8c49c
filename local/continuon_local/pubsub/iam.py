"""``google.iam.v1.IAMPolicy`` for topics, subscriptions and snapshots.

Policies are kept and answered, not enforced: every caller is an administrator, and has every
permission that is asked about.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from google.iam.v1 import iam_policy_pb2, policy_pb2

from continuon_local.database import transaction
from continuon_local.grpc_wire.codes import Code
from continuon_local.pubsub.errors import PubSubError, invalid, not_found
from continuon_local.pubsub.names import check_name, short_name

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping

    from continuon_local.pubsub.messages import Message

    Exists = Callable[[str], bool]

__all__ = ["Policies"]

_SCHEMA = "CREATE TABLE IF NOT EXISTS policies (resource TEXT PRIMARY KEY, body BLOB NOT NULL)"
_UNSET_ETAG = b"\x00\x20\x01"  # what Google answers for a policy that was never set
_ETAG_BYTES = 8
_VERSIONS = frozenset((0, 1, 3))
_CONDITIONAL_VERSION = 3
_SEGMENTS_OF_A_NAME = 4


class Policies:
    """The methods of the service.

    Args:
        connection: The database.
        exists: By collection, whether a resource is there.
    """

    def __init__(self, connection: sqlite3.Connection, exists: Mapping[str, Exists]) -> None:
        self._connection = connection
        self._exists = exists
        connection.execute(_SCHEMA)

    async def get(self, request: Message, _caller: str) -> Message:
        """Return the policy of a resource."""
        self._check(request.resource)
        return self._policy(request.resource)

    async def set(self, request: Message, _caller: str) -> Message:
        """Replace the policy of a resource; with an etag only the policy that has it."""
        self._check(request.resource)
        policy = policy_pb2.Policy()
        policy.CopyFrom(request.policy)
        _check_policy(policy)
        if policy.etag and policy.etag != self._policy(request.resource).etag:
            raise PubSubError(Code.ABORTED, "The policy was changed: read it again and repeat.")
        policy.etag = secrets.token_bytes(_ETAG_BYTES)
        with transaction(self._connection):
            self._connection.execute(
                "INSERT OR REPLACE INTO policies VALUES (?, ?)",
                (request.resource, policy.SerializeToString()),
            )
        return policy

    async def test(self, request: Message, _caller: str) -> Message:
        """Return the permissions that are asked about, none where there is no such resource."""
        try:
            self._check(request.resource)
        except PubSubError as error:
            if error.code is Code.NOT_FOUND:
                return iam_policy_pb2.TestIamPermissionsResponse()
            raise
        for permission in request.permissions:
            if "*" in permission or not permission.startswith("pubsub."):
                raise invalid(f"Permission {permission} is not valid for this resource.")
        return iam_policy_pb2.TestIamPermissionsResponse(permissions=request.permissions)

    def forget(self, resource: str) -> None:
        """Delete the policy of a resource that is deleted, in its transaction."""
        self._connection.execute("DELETE FROM policies WHERE resource = ?", (resource,))

    def _policy(self, resource: str) -> policy_pb2.Policy:
        row = self._connection.execute(
            "SELECT body FROM policies WHERE resource = ?", (resource,)
        ).fetchone()
        if row is None:
            return policy_pb2.Policy(etag=_UNSET_ETAG)
        return policy_pb2.Policy.FromString(row[0])

    def _check(self, resource: str) -> None:
        parts = resource.split("/")
        collection = parts[2] if len(parts) == _SEGMENTS_OF_A_NAME else ""
        if collection not in self._exists:
            raise invalid(f"Invalid resource name: (name={resource})")
        if not self._exists[collection](check_name(resource, collection)):
            raise not_found(short_name(resource))


def _check_policy(policy: policy_pb2.Policy) -> None:
    if policy.version not in _VERSIONS:
        raise invalid(f"Policy version {policy.version} is not valid.")
    for binding in policy.bindings:
        if not binding.role.startswith(("roles/", "projects/", "organizations/")):
            raise invalid(f"Role {binding.role} is not valid.")
        if binding.HasField("condition") and policy.version != _CONDITIONAL_VERSION:
            raise invalid("A policy with conditions has version 3.")
