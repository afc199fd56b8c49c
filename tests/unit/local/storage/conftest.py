"""Fixtures of the storage tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from continuon_local.database import open_database
from continuon_local.service import ServiceContext
from continuon_local.storage.accounts import Accounts, load_or_create
from continuon_local.storage.app import create_app
from continuon_local.storage.engine import Engine
from unit.local.storage.harness import BUCKET, HOST, Cloud

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture(scope="session")
def account_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a service account; the key is made once, because that is slow."""
    folder = tmp_path_factory.mktemp("account")
    load_or_create(folder, "demo-continuon", Accounts())
    return folder


@pytest.fixture
async def cloud(tmp_path: Path, account_folder: Path) -> AsyncIterator[Cloud]:
    """A storage engine without durability: what survives a crash is tested with real ones."""
    connection = open_database(None)
    accounts = Accounts()
    key_file = load_or_create(account_folder, "demo-continuon", accounts)
    engine = Engine.create(ServiceContext(data_dir=None), connection, tmp_path, accounts)
    engine.buckets.create(BUCKET, "demo-continuon", {})
    transport = httpx.ASGITransport(app=create_app(engine))
    async with httpx.AsyncClient(transport=transport, base_url=HOST) as http:
        yield Cloud(engine, http, tmp_path, key_file)
    connection.close()
