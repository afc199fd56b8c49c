from __future__ import annotations

import base64
import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from google.cloud.storage._signing import generate_signed_url_v4
from google.oauth2 import service_account

from unit.local.storage.harness import HOST

if TYPE_CHECKING:
    import httpx

    from unit.local.storage.harness import Cloud

NEW = {"content-type": "text/plain", "x-goog-if-generation-match": "0"}


def sign(cloud: Cloud, method: str, path: str = "/episodes/dir/a", **options: Any) -> str:
    load = service_account.Credentials.from_service_account_file
    credentials = load(cloud.key_file)  # type: ignore[no-untyped-call]
    arguments = {"expiration": 600, "api_access_endpoint": HOST, **options}
    url: str = generate_signed_url_v4(credentials, path, method=method, **arguments)
    return url


async def put(
    cloud: Cloud, body: bytes = b"hello", signed: dict[str, str] | None = None, **sent: str
) -> httpx.Response:
    headers = NEW if signed is None else signed
    url = sign(cloud, "PUT", headers=dict(headers))
    actual = {**headers, **{name.replace("_", "-"): value for name, value in sent.items()}}
    return await cloud.http.put(url, content=body, headers=actual)


def code(answer: httpx.Response) -> str:
    return answer.text.partition("<Code>")[2].partition("</Code>")[0]


async def test_signed_put_stores_what_was_sent(cloud: Cloud) -> None:
    headers = {**NEW, "x-goog-meta-robot": "r1", "cache-control": "no-store"}

    answer = await put(cloud, signed=headers)

    assert answer.status_code == 200, answer.text
    assert answer.headers["etag"] == f'"{hashlib.md5(b"hello", usedforsecurity=False).hexdigest()}"'
    stored = (await cloud.http.get("/storage/v1/b/episodes/o/dir%2Fa")).json()
    assert stored["generation"] == answer.headers["x-goog-generation"]
    assert stored["contentType"] == "text/plain"
    assert stored["metadata"] == {"robot": "r1"}
    assert stored["cacheControl"] == "no-store"
    assert cloud.events() == [("finalized", "objects/dir/a")]


async def test_headers_are_read_as_utf_8(cloud: Cloud) -> None:
    headers = {
        "authorization": "Bearer owner",
        "x-goog-meta-robot": "größe",
        "content-disposition": 'inline; filename="é"',
    }

    answer = await cloud.http.put(
        "/episodes/a",
        content=b"hello",
        headers=[(name.encode(), value.encode()) for name, value in headers.items()],
    )

    assert answer.status_code == 200, answer.text
    stored = (await cloud.http.get("/storage/v1/b/episodes/o/a")).json()
    assert stored["metadata"] == {"robot": "größe"}
    assert stored["contentDisposition"] == 'inline; filename="é"'


async def refused(cloud: Cloud, answer: httpx.Response, status: int, expected: str) -> None:
    assert (answer.status_code, code(answer)) == (status, expected), answer.text
    assert answer.headers["content-type"].startswith("application/xml")
    assert await cloud.names() == []
    assert cloud.events() == []
    assert cloud.body_files() == []


async def test_expired_url_stores_nothing(cloud: Cloud) -> None:
    url = sign(cloud, "PUT", headers=dict(NEW))
    cloud.engine.context.clock.advance(timedelta(seconds=601))

    await refused(cloud, await cloud.http.put(url, content=b"x", headers=NEW), 400, "ExpiredToken")


async def test_other_content_type_stores_nothing(cloud: Cloud) -> None:
    answer = await put(cloud, content_type="text/html")

    await refused(cloud, answer, 403, "SignatureDoesNotMatch")


@pytest.mark.parametrize(
    ("body", "expected"), [(b"1234", "EntityTooSmall"), (b"12345678901", "EntityTooLarge")]
)
@pytest.mark.parametrize("streamed", [False, True])
async def test_length_out_of_range_stores_nothing(
    body: bytes, expected: str, *, streamed: bool, cloud: Cloud
) -> None:
    headers = {**NEW, "x-goog-content-length-range": "5,10"}
    url = sign(cloud, "PUT", headers=dict(headers))

    async def chunks() -> Any:
        yield body[:2]
        yield body[2:]

    content = chunks() if streamed else body
    await refused(cloud, await cloud.http.put(url, content=content, headers=headers), 400, expected)


@pytest.mark.parametrize("size", [5, 10])
async def test_length_range_includes_its_ends(size: int, cloud: Cloud) -> None:
    answer = await put(cloud, b"x" * size, {**NEW, "x-goog-content-length-range": "5,10"})

    assert answer.status_code == 200


async def test_second_upload_with_the_same_url_changes_nothing(cloud: Cloud) -> None:
    assert (await put(cloud)).status_code == 200

    again = await put(cloud, b"other")

    assert (again.status_code, code(again)) == (412, "PreconditionFailed")
    assert (await cloud.read("dir/a")).content == b"hello"
    assert cloud.events() == [("finalized", "objects/dir/a")]


async def test_unsigned_precondition_cannot_be_added_or_dropped(cloud: Cloud) -> None:
    url = sign(cloud, "PUT", headers=dict(NEW))
    dropped = await cloud.http.put(url, content=b"x", headers={"content-type": "text/plain"})
    await refused(cloud, dropped, 400, "MalformedSecurityHeader")

    added = await put(cloud, signed={"content-type": "text/plain"}, x_goog_meta_owner="me")
    await refused(cloud, added, 400, "MalformedSecurityHeader")


@pytest.mark.parametrize(
    "header",
    [
        {"content-md5": base64.b64encode(bytes(16)).decode()},
        {"x-goog-hash": "crc32c=AAAAAA=="},
    ],
)
async def test_corrupted_body_stores_nothing(header: dict[str, str], cloud: Cloud) -> None:
    answer = await put(cloud, signed={**NEW, **header})

    await refused(cloud, answer, 400, "BadDigest")


async def test_signed_payload_digest_is_enforced(cloud: Cloud) -> None:
    digest = hashlib.sha256(b"hello").hexdigest()
    signed = {**NEW, "x-goog-content-sha256": digest}

    await refused(cloud, await put(cloud, b"hellO", signed), 400, "BadDigest")
    assert (await put(cloud, b"hello", signed)).status_code == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "POST"])
async def test_anonymous_requests_are_denied(method: str, cloud: Cloud) -> None:
    await cloud.created("a")

    answer = await cloud.http.request(method, "/episodes/a")

    assert answer.status_code == 403
    assert await cloud.names() == ["a"]


async def test_url_for_one_object_does_not_open_another(cloud: Cloud) -> None:
    await cloud.created("dir/a")
    await cloud.created("dir/b")
    url = sign(cloud, "GET")

    assert (await cloud.http.get(url)).content == b"hello"
    other = await cloud.http.get(url.replace("/dir/a", "/dir/b"))
    assert (other.status_code, code(other)) == (403, "SignatureDoesNotMatch")


async def test_download_honours_ranges_tags_and_overrides(cloud: Cloud) -> None:
    await cloud.created("dir/a", b"0123456789")
    url = sign(
        cloud,
        "GET",
        response_disposition='attachment; filename="a.txt"',
        response_type="application/x-episode",
    )

    whole = await cloud.http.get(url)
    part = await cloud.http.get(url, headers={"range": "bytes=2-3"})
    cached = await cloud.http.get(url, headers={"if-none-match": whole.headers["etag"]})
    head = await cloud.http.head(url)

    assert whole.headers["content-disposition"] == 'attachment; filename="a.txt"'
    assert whole.headers["content-type"] == "application/x-episode"
    assert (part.status_code, part.content) == (206, b"23")
    assert (cached.status_code, cached.content) == (304, b"")
    assert (head.headers["content-length"], head.content) == ("10", b"")


async def test_signed_delete(cloud: Cloud) -> None:
    await cloud.created("dir/a")

    answer = await cloud.http.delete(sign(cloud, "DELETE"))

    assert answer.status_code == 204
    assert await cloud.names() == []


async def test_bucket_in_the_host_name(cloud: Cloud) -> None:
    await cloud.created("dir/a")
    url = sign(cloud, "GET", "/dir/a", api_access_endpoint="http://episodes.storage.googleapis.com")

    answer = await cloud.http.get(url)

    assert answer.content == b"hello"


async def test_missing_object_is_no_such_key(cloud: Cloud) -> None:
    answer = await cloud.http.get(sign(cloud, "GET"))

    assert (answer.status_code, code(answer)) == (404, "NoSuchKey")


@pytest.mark.parametrize("query", ["uploads", "acl", "tagging"])
async def test_other_methods_of_the_xml_api_say_they_are_missing(query: str, cloud: Cloud) -> None:
    answer = await cloud.http.put(f"/episodes/a?{query}", headers={"authorization": "Bearer owner"})

    assert (answer.status_code, code(answer)) == (501, "NotImplemented")


async def test_web_pages_are_answered_by_the_cors_rules_of_the_bucket(cloud: Cloud) -> None:
    rule = {
        "origin": ["https://app.example"],
        "method": ["PUT"],
        "responseHeader": ["Content-Type", "x-goog-if-generation-match"],
        "maxAgeSeconds": 60,
    }
    await cloud.http.patch("/storage/v1/b/episodes", json={"cors": [rule]})

    async def preflight(origin: str, method: str, asked: str) -> str | None:
        answer = await cloud.http.options(
            "/episodes/a",
            headers={
                "origin": origin,
                "access-control-request-method": method,
                "access-control-request-headers": asked,
            },
        )
        permitted: str | None = answer.headers.get("access-control-allow-origin")
        return permitted

    assert await preflight("https://app.example", "PUT", "content-type") == "https://app.example"
    assert await preflight("https://evil.example", "PUT", "content-type") is None
    assert await preflight("https://app.example", "GET", "content-type") is None
    assert await preflight("https://app.example", "PUT", "x-evil") is None
    answer = await put(cloud, origin="https://app.example")
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
