from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import httpx

from integration.local.storage.harness import BUCKET, Running, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UNIT = 256 << 10


def create_bucket(service: Running) -> None:
    answer = httpx.post(f"{service.base}/storage/v1/b", json={"name": BUCKET})
    assert answer.status_code == 200


def upload(service: Running, name: str, body: bytes) -> httpx.Response:
    return httpx.post(
        f"{service.base}/upload/storage/v1/b/{BUCKET}/o",
        params={"uploadType": "media", "name": name},
        content=body,
    )


def read(service: Running, name: str) -> httpx.Response:
    return httpx.get(f"{service.base}/storage/v1/b/{BUCKET}/o/{name}?alt=media")


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    body = os.urandom(3_000_000)
    with running(tmp_path) as service:
        create_bucket(service)
        generation = upload(service, "a", body).json()["generation"]
        service.kill()

    with running(tmp_path) as service:
        assert read(service, "a").content == body
        assert service.events() == [("finalized", "objects/a")]
        newer = upload(service, "a", b"new").json()["generation"]
        assert int(newer) > int(generation)
        assert len(service.bodies()) == 1


def test_upload_cut_by_kill_9_leaves_nothing_visible(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        create_bucket(service)
        sent = 0

        def endless() -> Iterator[bytes]:
            nonlocal sent
            while True:
                sent += UNIT
                if sent == 40 * UNIT:
                    assert service.bodies()
                    service.kill()
                yield bytes(UNIT)

        with contextlib.suppress(httpx.TransportError):
            httpx.put(
                f"{service.base}/{BUCKET}/a",
                content=endless(),
                headers={"authorization": "Bearer owner"},
            )
        assert service.bodies()

    with running(tmp_path) as service:
        assert read(service, "a").status_code == 404
        assert service.bodies() == []
        assert service.events() == []


def test_session_continues_after_kill_9(tmp_path: Path) -> None:
    body = os.urandom(2 * UNIT + 77)
    with running(tmp_path) as service:
        create_bucket(service)
        started = httpx.post(
            f"{service.base}/upload/storage/v1/b/{BUCKET}/o?uploadType=resumable&name=big"
        )
        session = started.headers["location"].removeprefix(service.base)
        chunk = httpx.put(
            service.base + session,
            content=body[:UNIT],
            headers={"content-range": f"bytes 0-{UNIT - 1}/*"},
        )
        assert chunk.status_code == 308
        service.kill()

    with running(tmp_path) as service:
        url = service.base + session
        status = httpx.put(url, headers={"content-range": "bytes */*"})
        assert status.headers["range"] == f"bytes=0-{UNIT - 1}"
        last = httpx.put(
            url,
            content=body[UNIT:],
            headers={"content-range": f"bytes {UNIT}-{len(body) - 1}/{len(body)}"},
        )
        assert last.status_code == 200, last.text
        assert read(service, "big").content == body


def test_files_without_a_row_are_swept_and_the_key_stays(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        create_bucket(service)
        upload(service, "a", b"kept")
    key = (tmp_path / "service-account.json").read_bytes()
    with closing(sqlite3.connect(tmp_path / "storage.db")) as connection:
        kept = connection.execute("SELECT body_id FROM objects").fetchone()[0]
    (tmp_path / "storage" / "0" / ("0" * 32)).write_bytes(b"orphan")

    with running(tmp_path) as service:
        assert [path.name for path in service.bodies()] == [kept]
        assert read(service, "a").content == b"kept"
    assert (tmp_path / "service-account.json").read_bytes() == key


def test_second_service_over_the_same_data_is_refused(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        create_bucket(service)
        upload(service, "a", b"kept")
        second = subprocess.run(  # noqa: S603 - this interpreter, our module
            [sys.executable, "-m", "continuon_local.serve", "storage", "--data-dir", tmp_path],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert second.returncode != 0
        assert "another local cloud uses" in second.stderr
        assert read(service, "a").content == b"kept"
