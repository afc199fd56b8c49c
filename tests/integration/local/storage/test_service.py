from __future__ import annotations

import resource
import socket
from typing import TYPE_CHECKING

import httpx
import pytest

from continuon_local.service import ServiceContext
from continuon_local.storage.service import StorageService
from integration.local.storage.harness import BUCKET, running

if TYPE_CHECKING:
    from pathlib import Path


async def uploaded(service: StorageService, name: str, body: bytes) -> int:
    url = f"http://127.0.0.1:{service.port}/upload/storage/v1/b/{BUCKET}/o"
    async with httpx.AsyncClient() as http:
        parameters = {"uploadType": "media", "name": name}
        return (await http.post(url, params=parameters, content=body)).status_code


async def test_embedded_service_starts_serves_and_leaves_nothing() -> None:
    service = StorageService(ServiceContext(data_dir=None), port=0)
    with pytest.raises(RuntimeError):
        _ = service.outbox
    await service.start()
    key_file = service.service_account_file
    service.ensure_bucket(BUCKET)
    service.ensure_bucket(BUCKET)

    assert await uploaded(service, "a", b"hello") == 200
    assert [event.subject for _, event in service.outbox.pending()] == ["objects/a"]
    assert key_file.is_file()

    await service.stop()
    await service.stop()
    assert not key_file.parent.exists()
    with socket.create_server(("127.0.0.1", service.port)):
        pass


async def test_listeners_hear_of_each_commit() -> None:
    service = StorageService(ServiceContext(data_dir=None), port=0)
    await service.start()
    heard: list[int] = []
    service.outbox.subscribe(lambda: heard.append(len(service.outbox.pending())))
    service.ensure_bucket(BUCKET)

    await uploaded(service, "a", b"1")
    await uploaded(service, "a", b"2")

    await service.stop()
    assert heard == [1, 3]


async def test_taken_port_is_reported_and_nothing_is_left_locked(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        service = StorageService(ServiceContext(data_dir=tmp_path), port=taken.getsockname()[1])
        with pytest.raises(OSError, match="in use"):
            await service.start()

    again = StorageService(ServiceContext(data_dir=tmp_path), port=0)
    await again.start()
    await again.stop()


def test_full_disk_refuses_the_upload_and_corrupts_nothing(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        httpx.post(f"{service.base}/storage/v1/b", json={"name": BUCKET})
        url = f"{service.base}/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name="
        # A file that may not grow stands for a disk that is full.
        limit = (4 << 20, resource.RLIM_INFINITY)
        resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, limit)

        refused = httpx.post(url + "big", content=bytes(9 << 20))
        accepted = httpx.post(url + "small", content=b"hello")

        assert refused.status_code == 500
        assert refused.json()["error"]["code"] == 500
        assert accepted.status_code == 200
        assert len(service.bodies()) == 1
        assert service.events() == [("finalized", "objects/small")]


def test_full_disk_keeps_what_a_session_has(tmp_path: Path) -> None:
    body = bytes(range(256)) * (36 << 10)
    with running(tmp_path) as service:
        httpx.post(f"{service.base}/storage/v1/b", json={"name": BUCKET})
        url = f"{service.base}/upload/storage/v1/b/{BUCKET}/o?uploadType=resumable&name=a"
        session = httpx.post(url).headers["location"]
        pid, full = service.process.pid, (4 << 20, resource.RLIM_INFINITY)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, full)
        assert httpx.put(session, content=body).status_code == 500

        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        status = httpx.put(session, headers={"content-range": "bytes */*"})
        safe = int(status.headers["range"].rpartition("-")[2]) + 1
        last = httpx.put(
            session,
            content=body[safe:],
            headers={"content-range": f"bytes {safe}-{len(body) - 1}/{len(body)}"},
        )

        assert 0 < safe <= 4 << 20
        assert last.status_code == 200
        stored = httpx.get(f"{service.base}/storage/v1/b/{BUCKET}/o/a?alt=media")
        assert stored.content == body
