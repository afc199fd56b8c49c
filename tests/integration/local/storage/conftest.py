"""Fixtures of the storage tests."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest
from google.cloud.storage import Client

from integration.local.storage.harness import Cloud, Running, running

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("storage")) as service:
        yield service


@pytest.fixture
def cloud(service: Running, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """A new bucket of the module's service."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", service.base)
    client = Client(project="demo-continuon")
    yield Cloud(service, client, client.create_bucket(f"bucket-{uuid.uuid4().hex}"))
    client.close()
