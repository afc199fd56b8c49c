"""One Firestore service for the folder, and a fresh collection for each test."""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from google.cloud import firestore

from conftest import local_services

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def firestore_host() -> Iterator[str]:
    with local_services("firestore") as ports:
        yield f"127.0.0.1:{ports['firestore']}"


@pytest.fixture
def _environment(firestore_host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", firestore_host)


@pytest.fixture
def client(_environment: None) -> Iterator[Any]:
    client: Any = firestore.Client(project=f"demo-{os.getpid()}")
    yield client
    client.close()


@pytest.fixture
def items(client: Any) -> Any:
    return client.collection(f"items-{uuid.uuid4().hex}")
