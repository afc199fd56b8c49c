"""Where accounts and refresh tokens are kept: one SQLite file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import secrets
import sqlite3
from typing import TYPE_CHECKING, Any

from continuon_local.auth.errors import AuthError
from continuon_local.auth.model import Account, Session
from continuon_local.database import open_database, transaction

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["AuthStore"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS accounts (
    project TEXT NOT NULL,
    local_id TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    valid_since_s INTEGER NOT NULL,
    email TEXT,
    email_verified INTEGER NOT NULL,
    display_name TEXT,
    photo_url TEXT,
    phone_number TEXT,
    disabled INTEGER NOT NULL,
    custom_attributes TEXT,
    custom_auth INTEGER NOT NULL,
    password_hash TEXT,
    password_updated_at_ms INTEGER,
    last_login_at_ms INTEGER,
    PRIMARY KEY (project, local_id)
);
CREATE UNIQUE INDEX IF NOT EXISTS accounts_by_email ON accounts (project, email);
CREATE UNIQUE INDEX IF NOT EXISTS accounts_by_phone ON accounts (project, phone_number);
CREATE TABLE IF NOT EXISTS refresh_tokens (
    token_sha256 TEXT PRIMARY KEY,
    project TEXT NOT NULL,
    local_id TEXT NOT NULL,
    auth_time_s INTEGER NOT NULL,
    provider TEXT NOT NULL,
    claims TEXT NOT NULL,
    FOREIGN KEY (project, local_id) REFERENCES accounts (project, local_id) ON DELETE CASCADE
);
"""

_COLUMNS = tuple(entry.name for entry in dataclasses.fields(Account))
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM accounts"  # noqa: S608 - names of our own columns
_INSERT = (
    f"INSERT INTO accounts ({', '.join(_COLUMNS)})"  # noqa: S608 - names of our own columns
    f" VALUES ({', '.join('?' * len(_COLUMNS))})"
)
_UPDATE = (
    f"UPDATE accounts SET {', '.join(f'{name} = ?' for name in _COLUMNS)}"  # noqa: S608 - same
    " WHERE project = ? AND local_id = ?"
)
_BOOLEANS = ("email_verified", "disabled", "custom_auth")
_REFRESH_TOKEN_BYTES = 48


class AuthStore:
    """The accounts of every project. Each method is one transaction."""

    def __init__(self, path: Path | None) -> None:
        self._connection = open_database(path)
        self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def insert(self, account: Account) -> None:
        """Add an account.

        Raises:
            AuthError: ``EMAIL_EXISTS``, ``PHONE_NUMBER_EXISTS`` or ``DUPLICATE_LOCAL_ID``.
        """
        self._write(_INSERT, dataclasses.astuple(account))

    def update(self, account: Account) -> None:
        """Replace the account of the same project and user id.

        Raises:
            AuthError: ``EMAIL_EXISTS`` or ``PHONE_NUMBER_EXISTS``.
        """
        self._write(_UPDATE, (*dataclasses.astuple(account), account.project, account.local_id))

    def delete(self, project: str, local_ids: Sequence[str]) -> None:
        """Remove accounts and, with them, their refresh tokens."""
        with transaction(self._connection) as connection:
            connection.executemany(
                "DELETE FROM accounts WHERE project = ? AND local_id = ?",
                [(project, local_id) for local_id in local_ids],
            )

    def clear(self, project: str) -> None:
        """Remove every account of ``project``."""
        with transaction(self._connection) as connection:
            connection.execute("DELETE FROM accounts WHERE project = ?", (project,))

    def by_id(self, project: str, local_id: str) -> Account | None:
        """Return the account with this user id."""
        return self._one("local_id = ?", project, local_id)

    def by_email(self, project: str, email: str) -> Account | None:
        """Return the account with this address, which is stored in lower case."""
        return self._one("email = ?", project, email.lower())

    def by_phone(self, project: str, phone_number: str) -> Account | None:
        """Return the account with this phone number."""
        return self._one("phone_number = ?", project, phone_number)

    def page(self, project: str, *, after: str, limit: int) -> list[Account]:
        """Return up to ``limit`` accounts with a user id greater than ``after``, in order."""
        rows = self._connection.execute(
            f"{_SELECT} WHERE project = ? AND local_id > ? ORDER BY local_id LIMIT ?",
            (project, after, limit),
        )
        return [_account(row) for row in rows]

    def add_session(self, session: Session) -> str:
        """Keep a session and return its refresh token, of which only a digest is stored."""
        token = secrets.token_urlsafe(_REFRESH_TOKEN_BYTES)
        with transaction(self._connection) as connection:
            connection.execute(
                "INSERT INTO refresh_tokens VALUES (?, ?, ?, ?, ?, ?)",
                (
                    _digest(token),
                    session.project,
                    session.local_id,
                    session.auth_time_s,
                    session.provider,
                    json.dumps(dict(session.claims)),
                ),
            )
        return token

    def session(self, refresh_token: str) -> Session | None:
        """Return the session behind a refresh token."""
        row = self._connection.execute(
            "SELECT project, local_id, auth_time_s, provider, claims FROM refresh_tokens"
            " WHERE token_sha256 = ?",
            (_digest(refresh_token),),
        ).fetchone()
        if row is None:
            return None
        return Session(
            project=row[0],
            local_id=row[1],
            auth_time_s=row[2],
            provider=row[3],
            claims=json.loads(row[4]),
        )

    def _one(self, condition: str, project: str, value: str) -> Account | None:
        row = self._connection.execute(
            f"{_SELECT} WHERE project = ? AND {condition}", (project, value)
        ).fetchone()
        return None if row is None else _account(row)

    def _write(self, statement: str, values: tuple[Any, ...]) -> None:
        try:
            with transaction(self._connection) as connection:
                connection.execute(statement, values)
        except sqlite3.IntegrityError as error:
            raise _conflict(str(error)) from error


def _account(row: tuple[Any, ...]) -> Account:
    values = dict(zip(_COLUMNS, row, strict=True))
    return Account(**{**values, **{name: bool(values[name]) for name in _BOOLEANS}})


def _conflict(detail: str) -> AuthError:
    for column, code in (("email", "EMAIL_EXISTS"), ("phone_number", "PHONE_NUMBER_EXISTS")):
        if f"accounts.{column}" in detail:
            return AuthError(code)
    return AuthError("DUPLICATE_LOCAL_ID")


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
