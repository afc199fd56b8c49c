from __future__ import annotations

import json
import os
import socket
import stat
import time
from typing import TYPE_CHECKING

import httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from integration.local.storage.harness import Cloud

UNIT = 256 << 10
NEW = {"content-type": "application/gzip", "x-goog-if-generation-match": "0"}
SESSION = {**NEW, "x-goog-resumable": "start", "x-goog-content-length-range": "1,10000000"}


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=20) as client:
        yield client


def test_service_account_file_is_a_private_key_file_of_the_owner(cloud: Cloud) -> None:
    path = cloud.service.data_dir / "service-account.json"

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    account = json.loads(path.read_text())
    assert account["type"] == "service_account"
    assert account["client_email"] == "continuon-local@demo-continuon.iam.gserviceaccount.com"


def test_signed_put_then_signed_get(cloud: Cloud, http: httpx.Client) -> None:
    headers = {**NEW, "x-goog-content-length-range": "1,100"}
    url = cloud.sign("dir/a b.tar.gz", "PUT", headers)

    stored = http.put(url, content=b"hello", headers=headers)
    again = http.put(url, content=b"other", headers=headers)
    fetched = http.get(cloud.sign("dir/a b.tar.gz", "GET"))

    assert (stored.status_code, again.status_code) == (200, 412)
    assert fetched.content == b"hello"
    assert cloud.service.events()[-1] == ("finalized", "objects/dir/a b.tar.gz")


def test_oversized_body_is_refused_and_the_client_sees_why(
    cloud: Cloud, http: httpx.Client
) -> None:
    headers = {**NEW, "x-goog-content-length-range": "1,1000000"}
    url = cloud.sign("a", "PUT", headers)

    answer = http.put(url, content=bytes(20_000_000), headers=headers)

    assert answer.status_code == 400
    assert "EntityTooLarge" in answer.text
    assert not cloud.bucket.blob("a").exists()


def test_upload_over_a_connection_that_breaks_half_way(cloud: Cloud, http: httpx.Client) -> None:
    body = os.urandom(3 * UNIT + 1000)
    url = cloud.sign("big", "POST", SESSION)
    started = http.post(url, headers=SESSION)
    session = started.headers["location"]
    path = session.removeprefix(cloud.service.base)

    with socket.create_connection(cloud.service.address, timeout=10) as line:
        head = (
            f"PUT {path} HTTP/1.1\r\nHost: {cloud.service.base.removeprefix('http://')}\r\n"
            f"Content-Length: {len(body)}\r\n"
            f"Content-Range: bytes 0-{len(body) - 1}/{len(body)}\r\n\r\n"
        )
        line.sendall(head.encode() + body[: UNIT + 500])

    deadline = time.monotonic() + 10
    question = {"content-range": f"bytes */{len(body)}"}
    while "range" not in (status := http.put(session, headers=question)).headers:
        assert time.monotonic() < deadline
    assert (status.status_code, status.headers["range"]) == (308, f"bytes=0-{UNIT - 1}")
    rest = http.put(
        session,
        content=body[UNIT:],
        headers={"content-range": f"bytes {UNIT}-{len(body) - 1}/{len(body)}"},
    )

    assert rest.status_code == 200, rest.text
    assert cloud.bucket.blob("big").download_as_bytes(checksum="md5") == body


def test_half_sent_put_leaves_nothing(cloud: Cloud, http: httpx.Client) -> None:
    url = cloud.sign("a", "PUT", NEW)
    before = len(cloud.service.bodies())
    with socket.create_connection(cloud.service.address, timeout=10) as line:
        lines = [f"PUT {url.removeprefix(cloud.service.base)} HTTP/1.1"]
        lines += [f"Host: {cloud.service.base.removeprefix('http://')}", "Content-Length: 9000000"]
        lines += [f"{name}: {value}" for name, value in NEW.items()]
        line.sendall("\r\n".join([*lines, "", ""]).encode() + bytes(5_000_000))

    deadline = time.monotonic() + 10
    while len(cloud.service.bodies()) > before:
        assert time.monotonic() < deadline
    assert http.get(cloud.sign("a", "GET")).status_code == 404


@pytest.mark.parametrize(
    "request_line",
    ["GET /%ff/%fe HTTP/1.1", "GET / HTTP/1.1", "PUT /b HTTP/1.1", "BREW /b/o HTTP/1.1"],
)
def test_malformed_requests_get_an_answer_in_xml(request_line: str, cloud: Cloud) -> None:
    with socket.create_connection(cloud.service.address, timeout=10) as line:
        line.sendall(f"{request_line}\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while chunk := line.recv(65536):
            answer += chunk

    assert answer.startswith(b"HTTP/1.1 4")
    assert b"Traceback" not in answer
