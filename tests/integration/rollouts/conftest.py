"""Firestore and Storage for the folder; a project of its own for each test."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from conftest import local_services
from continuon.platform.firestore import firestore_client
from continuon.platform.storage import storage_client, url_signer
from continuon_ota import live
from continuon_ota.api import bundles
from ota_world import World, opened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    data_dir = tmp_path_factory.mktemp("stores")
    with local_services("firestore", "storage", data_dir=data_dir) as ports:
        yield {
            "FIRESTORE_EMULATOR_HOST": f"127.0.0.1:{ports['firestore']}",
            "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{ports['storage']}",
            "GOOGLE_APPLICATION_CREDENTIALS": str(data_dir / "service-account.json"),
        }


@pytest.fixture
async def world(stores: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    for name, value in stores.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", f"demo-ota-{next(_NUMBERS)}")
    for cached in (firestore_client, storage_client, url_signer):
        cached.cache_clear()
    live._remembered.clear()

    async def uploaded(_record: object) -> bool:
        return True

    # These tests are about rollouts; uploads have theirs, behind the gateway.
    monkeypatch.setattr(bundles, "_is_uploaded", uploaded)
    async for one in opened():
        yield one
