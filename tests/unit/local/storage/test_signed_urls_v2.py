from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from google.cloud.storage._signing import generate_signed_url_v2
from google.oauth2 import service_account

from unit.local.storage.harness import HOST

if TYPE_CHECKING:
    import httpx

    from unit.local.storage.harness import Cloud


def sign(cloud: Cloud, method: str, path: str = "/episodes/a%20b", **options: Any) -> str:
    load = service_account.Credentials.from_service_account_file
    credentials = load(cloud.key_file)  # type: ignore[no-untyped-call]
    arguments = {"expiration": timedelta(minutes=10), "api_access_endpoint": HOST, **options}
    url: str = generate_signed_url_v2(credentials, path, method=method, **arguments)
    return url


def code(answer: httpx.Response) -> str:
    return answer.text.partition("<Code>")[2].partition("</Code>")[0]


async def test_urls_of_the_google_client_are_accepted(cloud: Cloud) -> None:
    http = cloud.http
    headers = {"x-goog-meta-robot": "r1", "x-goog-if-generation-match": "0"}
    put = sign(cloud, "PUT", content_type="text/plain", headers=headers)

    stored = await http.put(
        put, content=b"hello", headers={**headers, "content-type": "text/plain"}
    )
    read = await http.get(sign(cloud, "GET", response_disposition="attachment"))

    assert stored.status_code == 200, stored.text
    assert (read.content, read.headers["content-disposition"]) == (b"hello", "attachment")
    assert (await http.head(sign(cloud, "GET"))).status_code == 200
    generation = stored.headers["x-goog-generation"]
    assert (await http.get(sign(cloud, "GET", generation=generation))).content == b"hello"
    assert "<Key>a b</Key>" in (await http.get(sign(cloud, "GET", "/episodes"))).text
    started = await http.post(sign(cloud, "RESUMABLE"), headers={"x-goog-resumable": "start"})
    assert started.status_code == 201
    assert (await http.delete(sign(cloud, "DELETE"))).status_code == 204


@pytest.mark.parametrize(
    ("find", "replacement", "expected"),
    [
        ("a%20b", "other", "SignatureDoesNotMatch"),
        ("Signature=", "Signature=AAAA", "SignatureDoesNotMatch"),
        ("Signature=", "Signature=!", "MalformedSecurityHeader"),
        ("Expires=1", "Expires=2", "SignatureDoesNotMatch"),
        ("Expires=1", "Expires=x", "MalformedSecurityHeader"),
        ("GoogleAccessId=", "GoogleAccessId=x", "AccessDenied"),
        ("?", "?uploadId=x&", "SignatureDoesNotMatch"),
        ("?", "?Expires=99999999999&", "MalformedSecurityHeader"),
    ],
)
async def test_tampered_urls_are_refused(
    find: str, replacement: str, expected: str, cloud: Cloud
) -> None:
    url = sign(cloud, "PUT")
    tampered = url.replace(find, replacement, 1)
    assert tampered != url

    assert code(await cloud.http.put(tampered, content=b"x")) == expected
    assert await cloud.names() == []


async def test_what_was_not_signed_is_refused(cloud: Cloud) -> None:
    http, url = cloud.http, sign(cloud, "PUT")

    answers = [
        await http.put(url, content=b"x", headers={"content-type": "text/html"}),
        await http.put(url, content=b"x", headers={"x-goog-acl": "public-read"}),
        await http.delete(url),
        await http.get(url),
    ]

    assert {code(answer) for answer in answers} == {"SignatureDoesNotMatch"}
    cloud.engine.context.clock.advance(timedelta(minutes=11))
    assert code(await http.put(url, content=b"x")) == "ExpiredToken"
    assert await cloud.names() == []
