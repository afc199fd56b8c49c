"""Firestore, Storage and Auth for the session; rules, users and documents for each test."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx
import pytest

import own_rules
from conftest import local_services
from rules_project import RulesProject

if TYPE_CHECKING:
    from collections.abc import Iterator

_NUMBERS = itertools.count(1)
_TIMEOUT_S = 10.0
OWN_PROJECT = "demo-continuon"


@dataclass(frozen=True)
class LocalProject(RulesProject):
    """A project of the local Firestore, with the local Auth beside it."""

    auth_port: int

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
        yield ports


def _project(ports: dict[str, int], name: str) -> LocalProject:
    return LocalProject(name, f"127.0.0.1:{ports['firestore']}", ports["auth"])


@pytest.fixture
def project(_ports: dict[str, int]) -> LocalProject:
    return _project(_ports, f"demo-rules-{next(_NUMBERS)}")


@pytest.fixture(scope="session")
def own(_ports: dict[str, int]) -> LocalProject:
    own = _project(_ports, OWN_PROJECT)
    own_rules.seed(own)
    return own
