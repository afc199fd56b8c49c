"""A storage engine in this process, spoken to over ASGI: everything but the socket."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from continuon_local.database import open_database
from continuon_local.service import ServiceContext
from continuon_local.storage.accounts import Accounts, load_or_create
from continuon_local.storage.app import create_app
from continuon_local.storage.engine import Engine

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncIterator
    from pathlib import Path

HOST = "http://storage.test"
BUCKET = "episodes"


@dataclass
class Cloud:
    """An engine, a client that talks to it, and what a test needs to look behind it."""

    engine: Engine
    http: httpx.AsyncClient
    folder: Path
    key_file: Path
    connection: sqlite3.Connection

    async def upload(self, name: str, body: bytes = b"hello", **parameters: str) -> httpx.Response:
        return await self.http.post(
            f"/upload/storage/v1/b/{BUCKET}/o",
            params={"uploadType": "media", "name": name, **parameters},
            content=body,
            headers={"content-type": "text/plain"},
        )

    async def created(self, name: str, body: bytes = b"hello") -> dict[str, Any]:
        answer = await self.upload(name, body)
        assert answer.status_code == 200, answer.text
        resource: dict[str, Any] = answer.json()
        return resource

    async def read(self, name: str) -> httpx.Response:
        return await self.http.get(
            f"/storage/v1/b/{BUCKET}/o/{name.replace('/', '%2F')}", params={"alt": "media"}
        )

    async def names(self) -> list[str]:
        answer = await self.http.get(f"/storage/v1/b/{BUCKET}/o")
        return [item["name"] for item in answer.json().get("items", [])]

    def events(self) -> list[tuple[str, str]]:
        return [
            (event.type.rpartition(".")[2], event.subject)
            for _, event in self.engine.outbox.pending()
        ]

    def body_files(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.is_file()]


@pytest.fixture(scope="session")
def account_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a service account; the key is made once, because that is slow."""
    folder = tmp_path_factory.mktemp("account")
    load_or_create(folder, "demo-continuon", Accounts())
    return folder


@pytest.fixture
async def cloud(tmp_path: Path, account_folder: Path) -> AsyncIterator[Cloud]:
    context = ServiceContext(data_dir=tmp_path)
    connection = open_database(tmp_path / "storage.db")
    accounts = Accounts()
    key_file = load_or_create(account_folder, "demo-continuon", accounts)
    engine = Engine.create(context, connection, tmp_path / "storage", accounts)
    engine.buckets.create(BUCKET, "demo-continuon", {})
    transport = httpx.ASGITransport(app=create_app(engine))
    async with httpx.AsyncClient(transport=transport, base_url=HOST) as http:
        yield Cloud(engine, http, tmp_path / "storage", key_file, connection)
    connection.close()
