"""One Firestore for the folder, and documents of its own for each test."""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING

import pytest
from google.cloud import firestore

from conftest import local_services

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture(scope="session")
def firestore_host() -> Iterator[str]:
    with local_services("firestore") as ports:
        yield f"127.0.0.1:{ports['firestore']}"


@pytest.fixture
async def documents(
    firestore_host: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[firestore.AsyncClient]:
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", firestore_host)
    client = firestore.AsyncClient(project=f"demo-{os.getpid()}")
    yield client
    # The client's own close() leaves the channel's coroutine unawaited.
    await client._firestore_api.transport.close()


@pytest.fixture
def reference(documents: firestore.AsyncClient) -> firestore.AsyncDocumentReference:
    return documents.collection("work").document(uuid.uuid4().hex)
