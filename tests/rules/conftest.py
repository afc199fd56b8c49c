"""Firestore and Auth for the session; rules, users and documents for each test."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from google.cloud import firestore

from conftest import REPOSITORY, local_services
from continuon_local.auth.tokens import encode_unsigned
from rules_requests import firestore_rules

if TYPE_CHECKING:
    from collections.abc import Iterator

_NUMBERS = itertools.count(1)
_TIMEOUT_S = 10.0
OWN_PROJECT = "demo-continuon"


@dataclass(frozen=True)
class RulesProject:
    """One project of the local Firestore: rules of its own, users, an administrator."""

    id: str
    firestore_port: int
    auth_port: int

    def set_rules(self, source: str) -> httpx.Response:
        """Put a ruleset in force."""
        return httpx.put(
            f"http://127.0.0.1:{self.firestore_port}/emulator/v1/projects/{self.id}:securityRules",
            json={"rules": {"files": [{"name": "firestore.rules", "content": source}]}},
            timeout=_TIMEOUT_S,
        )

    def allow(self, body: str) -> None:
        """Put declarations below ``documents`` in force."""
        self.set_rules(firestore_rules(body)).raise_for_status()

    @property
    def admin(self) -> Any:
        """The client of an administrator, whom rules do not bind."""
        return firestore.Client(project=self.id)

    def client(self, token: str | None) -> Any:
        """Return the client of a user, or of nobody."""
        client: Any = firestore.Client(project=self.id)
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

    def sign_up(self) -> tuple[str, str]:
        """Sign a person up at the local Auth service; return their id and ID token."""
        answer = httpx.post(
            f"http://127.0.0.1:{self.auth_port}/identitytoolkit.googleapis.com/v1/accounts:signUp"
            "?key=k",
            json={
                "email": f"rules-{next(_NUMBERS)}@example.com",
                "password": "correct horse",
                "returnSecureToken": True,
            },
            timeout=_TIMEOUT_S,
        ).raise_for_status()
        return answer.json()["localId"], answer.json()["idToken"]


@pytest.fixture(scope="session")
def _ports() -> Iterator[dict[str, int]]:
    with local_services("firestore", "auth") as ports:
        os.environ["FIRESTORE_EMULATOR_HOST"] = f"127.0.0.1:{ports['firestore']}"
        yield ports
        del os.environ["FIRESTORE_EMULATOR_HOST"]


@pytest.fixture
def project(_ports: dict[str, int]) -> RulesProject:
    return RulesProject(f"demo-rules-{next(_NUMBERS)}", _ports["firestore"], _ports["auth"])


@pytest.fixture(scope="session")
def own(_ports: dict[str, int]) -> RulesProject:
    own = RulesProject(OWN_PROJECT, _ports["firestore"], _ports["auth"])
    own.set_rules((REPOSITORY / "firestore.rules").read_text(encoding="utf-8")).raise_for_status()
    return own
