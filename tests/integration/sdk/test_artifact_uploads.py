"""Checkpoints and models on their way to the store, over links that break."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from google.cloud.storage import Client
from google.oauth2 import service_account

from continuon.contracts.episodes import SignedUpload
from continuon_cloud.errors import ApiProblem, UnreachableError
from continuon_cloud.training import uploads
from continuon_cloud.training.uploads import store_file
from training_link import Link, breakable_link

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BUCKET = "artifacts"
CHUNK = 256 * 1024


class Store:
    """A bucket, and signed uploads to it that go over ``link``."""

    def __init__(self, origin: str, key_file: Path, link: Link) -> None:
        self.link = link
        self._credentials: Any = service_account.Credentials.from_service_account_file(  # type: ignore[no-untyped-call]
            key_file
        )
        self._bucket = Client(project="demo-continuon").bucket(BUCKET)
        created = httpx.post(
            f"{origin}/storage/v1/b?project=demo-continuon", json={"name": BUCKET}, timeout=10
        )
        assert created.status_code in {200, 409}

    def grant(self, name: str, *, resumable: bool, lifetime_s: int = 600) -> SignedUpload:
        method = "POST" if resumable else "PUT"
        headers = {"content-type": "application/octet-stream", "x-goog-if-generation-match": "0"}
        if resumable:
            headers["x-goog-resumable"] = "start"
        url = self._bucket.blob(name).generate_signed_url(
            version="v4",
            method=method,
            expiration=timedelta(seconds=lifetime_s),
            headers=headers,
            credentials=self._credentials,
            api_access_endpoint=self.link.url,
        )
        return SignedUpload(path=name, url=url, method=method, headers=headers, resumable=resumable)

    def content(self, name: str) -> bytes:
        data: bytes = self._bucket.blob(name).download_as_bytes()
        return data


@pytest.fixture
def store(storage: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    origin, key_file = storage
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", origin)
    monkeypatch.setattr(uploads, "CHUNK_BYTES", CHUNK)
    with breakable_link(origin) as link:
        yield Store(origin, key_file, link)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.npz"
    path.write_bytes(os.urandom(5 * CHUNK + 77))
    return path


def send(upload: SignedUpload, path: Path) -> None:
    async def work() -> None:
        async with httpx.AsyncClient(timeout=30) as http:
            await store_file(http, upload, path)

    asyncio.run(work())


@pytest.mark.parametrize("resumable", [True, False])
def test_a_file_is_stored_once_and_sending_it_again_is_no_error(
    store: Store,
    model: Path,
    resumable: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    name = f"again-{resumable}"

    send(store.grant(name, resumable=resumable), model)
    send(store.grant(name, resumable=resumable), model)

    assert store.content(name) == model.read_bytes()


def test_a_session_goes_on_behind_what_the_store_has(store: Store, model: Path) -> None:
    store.link.budgets = [CHUNK // 2 + 2 * CHUNK, CHUNK // 2 + CHUNK]

    send(store.grant("broken", resumable=True), model)

    assert store.link.broken == 2
    assert store.content("broken") == model.read_bytes()


def test_a_link_that_never_carries_a_chunk_is_given_up(store: Store, model: Path) -> None:
    store.link.budgets = [4096] * 100

    with pytest.raises(UnreachableError):
        send(store.grant("never", resumable=True), model)


def test_a_url_that_expired_is_refused_and_the_caller_asks_anew(store: Store, model: Path) -> None:
    old = store.grant("expired", resumable=False, lifetime_s=1)
    forged = old.model_copy(update={"url": old.url.replace("X-Goog-Expires=1", "X-Goog-Expires=9")})

    with pytest.raises(ApiProblem) as caught:
        send(forged, model)

    assert caught.value.status in {400, 403}
    assert "Signature" not in str(caught.value)
