"""A storage engine in this process, spoken to over ASGI: everything but the socket."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from continuon_local.storage.engine import Engine

HOST = "http://storage.test"
BUCKET = "episodes"


@dataclass
class Cloud:
    """An engine, a client that talks to it, and what a test needs to look behind it."""

    engine: Engine
    http: httpx.AsyncClient
    folder: Path
    key_file: Path

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
