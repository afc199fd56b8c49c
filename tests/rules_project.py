"""One project of a Firestore with rules and users: our service or Google's emulator."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
from google.auth.credentials import AnonymousCredentials
from google.cloud import firestore

from continuon_local.auth.tokens import encode_unsigned
from rules_requests import firestore_rules

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["RulesProject"]

_TIMEOUT_S = 30.0
_credentials: Any = AnonymousCredentials


@dataclass(frozen=True)
class RulesProject:
    """A project of its own on the Firestore at ``address`` (``host:port``)."""

    id: str
    address: str

    def set_rules(self, source: str) -> httpx.Response:
        """Put a ruleset in force."""
        return httpx.put(
            f"http://{self.address}/emulator/v1/projects/{self.id}:securityRules",
            json={"rules": {"files": [{"name": "firestore.rules", "content": source}]}},
            timeout=_TIMEOUT_S,
        )

    def allow(self, body: str) -> None:
        """Put declarations below ``documents`` in force."""
        self.set_rules(firestore_rules(body)).raise_for_status()

    @property
    def admin(self) -> Any:
        """The client of an administrator, whom rules do not bind."""
        with _emulator(self.address):
            client: Any = firestore.Client(project=self.id, credentials=_credentials())
        return client

    def client(self, token: str | None) -> Any:
        """Return the client of a user, or of nobody."""
        client = self.admin
        # The Python client says "owner" to every emulator; web clients send the user's token here.
        metadata = [pair for pair in client._rpc_metadata if pair[0] != "authorization"]
        if token is not None:
            metadata.append(("authorization", f"Bearer {token}"))
        client._rpc_metadata_internal = metadata
        return client

    def user(self, uid: str = "alice", **claims: Any) -> Any:
        """Return the client of a user whose token is made here, as rules-unit-testing makes it."""
        return self.client(self.token(uid, **claims))

    def token(self, uid: str, **claims: Any) -> str:
        """Return a user's token; issued at 0, it does not expire."""
        standard = {
            "iss": f"https://securetoken.google.com/{self.id}",
            "aud": self.id,
            "iat": 0,
            "exp": 3600,
            "auth_time": 0,
            "sub": uid,
            "user_id": uid,
            "firebase": {"sign_in_provider": "custom", "identities": {}},
        }
        return encode_unsigned({**standard, **claims})


@contextmanager
def _emulator(address: str) -> Iterator[None]:
    """Name the Firestore that a client finds when it is constructed."""
    before = os.environ.get("FIRESTORE_EMULATOR_HOST")
    os.environ["FIRESTORE_EMULATOR_HOST"] = address
    try:
        yield
    finally:
        if before is None:
            del os.environ["FIRESTORE_EMULATOR_HOST"]
        else:
            os.environ["FIRESTORE_EMULATOR_HOST"] = before
