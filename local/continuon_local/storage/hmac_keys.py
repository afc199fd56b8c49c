"""HMAC keys of service accounts: another way to sign requests.

https://cloud.google.com/storage/docs/authentication/hmackeys
"""

from __future__ import annotations

import base64
import secrets
import string
from typing import TYPE_CHECKING, Any

from continuon_local.database import transaction
from continuon_local.storage.errors import StorageError, invalid
from continuon_local.storage.records import etag, timestamp

if TYPE_CHECKING:
    import sqlite3

    from continuon_local.clock import Clock

__all__ = ["HmacKeys"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS hmac_keys (
    access_id TEXT PRIMARY KEY,
    project_id TEXT NOT NULL,
    email TEXT NOT NULL,
    secret TEXT NOT NULL,
    state TEXT NOT NULL,
    created TEXT NOT NULL,
    updated TEXT NOT NULL,
    version INTEGER NOT NULL
)
"""

_LINK = "https://www.googleapis.com/storage/v1/projects"

# The lengths of the service's own: 61 characters of name, 40 of secret (30 bytes in base64).
_ACCESS_ID_CHARACTERS = 57
_SECRET_BYTES = 30
_ALPHABET = string.ascii_uppercase + "234567"

# https://cloud.google.com/storage/quotas: not deleted keys of one service account.
_MAX_KEYS = 10


class HmacKeys:
    """The HMAC keys of all projects."""

    def __init__(self, connection: sqlite3.Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        connection.execute(_SCHEMA)

    def create(self, project_id: str, email: str) -> tuple[dict[str, Any], str]:
        """Make an active key; return its metadata and its secret, which is told only now.

        Raises:
            StorageError: ``email`` names no service account, or has keys enough (400).
        """
        if not email.endswith(".gserviceaccount.com") or "@" not in email:
            raise invalid(f"Invalid service account: {email}")
        if len(self.list(project_id, email)) >= _MAX_KEYS:
            raise invalid(f"A service account has at most {_MAX_KEYS} HMAC keys.")
        random = "".join(secrets.choice(_ALPHABET) for _ in range(_ACCESS_ID_CHARACTERS))
        access_id = f"GOOG{random}"
        secret = base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()
        now = timestamp(self._clock.now())
        with transaction(self._connection):
            self._connection.execute(
                "INSERT INTO hmac_keys VALUES (?, ?, ?, ?, 'ACTIVE', ?, ?, 1)",
                (access_id, project_id, email, secret, now, now),
            )
        return self.get(project_id, access_id), secret

    def list(
        self, project_id: str, email: str | None = None, *, deleted: bool = False
    ) -> list[dict[str, Any]]:
        """Return the keys of a project, or of one service account."""
        rows = self._connection.execute(
            "SELECT * FROM hmac_keys WHERE project_id = ? ORDER BY access_id", (project_id,)
        ).fetchall()
        return [
            _metadata(row)
            for row in rows
            if email in {None, row[2]} and (deleted or row[4] != "DELETED")
        ]

    def get(self, project_id: str, access_id: str) -> dict[str, Any]:
        """Return the metadata of one key.

        Raises:
            StorageError: There is none (404).
        """
        row = self._connection.execute(
            "SELECT * FROM hmac_keys WHERE access_id = ? AND project_id = ?",
            (access_id, project_id),
        ).fetchone()
        if row is None:
            message = f"Access ID not found in project {project_id}: {access_id}"
            raise StorageError(404, "notFound", "NotFound", message)
        return _metadata(row)

    def set_state(
        self, project_id: str, access_id: str, state: str, entity_tag: str | None = None
    ) -> dict[str, Any]:
        """Activate, deactivate or delete a key.

        Raises:
            StorageError: There is none (404), it was changed meanwhile (412), or the step is not
                allowed: only an inactive key can be deleted, and a deleted one stays so (400).
        """
        with transaction(self._connection):
            known = self.get(project_id, access_id)
            if entity_tag not in {None, "", known["etag"]}:
                message = "The HMAC key was changed since it was read: its etag differs."
                raise StorageError(412, "conditionNotMet", "PreconditionFailed", message)
            if known["state"] == "DELETED":
                raise invalid("Cannot update a deleted HMAC key.")
            if state == "DELETED" and known["state"] != "INACTIVE":
                raise invalid("Cannot delete keys in 'ACTIVE' state.")
            self._connection.execute(
                "UPDATE hmac_keys SET state = ?, updated = ?, version = version + 1"
                " WHERE access_id = ?",
                (state, timestamp(self._clock.now()), access_id),
            )
        return self.get(project_id, access_id)

    def hmac_secret(self, access_id: str) -> bytes | None:
        """Return the secret of an active key, or None."""
        row = self._connection.execute(
            "SELECT secret FROM hmac_keys WHERE access_id = ? AND state = 'ACTIVE'", (access_id,)
        ).fetchone()
        return None if row is None else str(row[0]).encode()


def _metadata(row: tuple[Any, ...]) -> dict[str, Any]:
    access_id, project_id, email, _secret, state, created, updated, version = row
    return {
        "kind": "storage#hmacKeyMetadata",
        "id": f"{project_id}/{access_id}",
        "selfLink": f"{_LINK}/{project_id}/hmacKeys/{access_id}",
        "accessId": access_id,
        "projectId": project_id,
        "serviceAccountEmail": email,
        "state": state,
        "timeCreated": created,
        "updated": updated,
        "etag": etag(version, 0),
    }
