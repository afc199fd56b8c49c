from __future__ import annotations

import hashlib
import hmac
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from google.oauth2 import service_account

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from unit.local.storage.harness import Cloud

HOST = "storage.test"
SCOPE = "auto/storage/goog4_request"


def text_to_sign(
    algorithm: str, method: str, date: str, headers: dict[str, str]
) -> tuple[str, str]:
    """Return the signed header names and the string to sign, written from the documentation."""
    names = ";".join(sorted(headers))
    lines = [method, "/episodes/a", "", *(f"{k}:{headers[k]}" for k in sorted(headers)), "", names]
    lines.append(headers.get("x-goog-content-sha256", "UNSIGNED-PAYLOAD"))
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return names, f"{algorithm}\n{date}\n{date[:8]}/{SCOPE}\n{digest}"


async def send(
    cloud: Cloud,
    signer: str,
    algorithm: str,
    sign: Callable[[str, str], str],
    *,
    late: timedelta = timedelta(0),
    body: bytes = b"hello",
    **extra: str,
) -> httpx.Response:
    date = (cloud.engine.context.clock.now() - late).strftime("%Y%m%dT%H%M%SZ")
    digest = hashlib.sha256(b"hello").hexdigest()
    headers = {"host": HOST, "x-goog-date": date, "x-goog-content-sha256": digest}
    names, text = text_to_sign(algorithm, "PUT", date, headers)
    authorization = (
        f"{algorithm} Credential={signer}/{date[:8]}/{SCOPE}, SignedHeaders={names},"
        f" Signature={sign(date[:8], text)}"
    )
    sent = {**headers, "authorization": authorization, **extra}
    return await cloud.http.put("/episodes/a", content=body, headers=sent)


async def hmac_signed(cloud: Cloud, key: dict[str, Any], **options: Any) -> httpx.Response:
    def sign(day: str, text: str) -> str:
        derived = b"GOOG4" + key["secret"].encode()
        for part in (day, *SCOPE.split("/")):
            derived = hmac.digest(derived, part.encode(), "sha256")
        return hmac.digest(derived, text.encode(), "sha256").hex()

    access_id = key["metadata"]["accessId"]
    return await send(cloud, access_id, "GOOG4-HMAC-SHA256", sign, **options)


async def new_key(cloud: Cloud) -> dict[str, Any]:
    email = "robot@demo-continuon.iam.gserviceaccount.com"
    answer = await cloud.http.post(
        "/storage/v1/projects/demo-continuon/hmacKeys", params={"serviceAccountEmail": email}
    )
    key: dict[str, Any] = answer.json()
    assert len(key["secret"]) == 40
    return key


def code(answer: httpx.Response) -> str:
    return answer.text.partition("<Code>")[2].partition("</Code>")[0]


async def test_service_account_signs_a_header(cloud: Cloud) -> None:
    account = json.loads(cloud.key_file.read_text())
    load = service_account.Credentials.from_service_account_file
    signer = load(cloud.key_file).signer  # type: ignore[no-untyped-call]

    def sign(_day: str, text: str) -> str:
        signature: bytes = signer.sign(text)
        return signature.hex()

    answer = await send(cloud, account["client_email"], "GOOG4-RSA-SHA256", sign)

    assert answer.status_code == 200, answer.text
    assert (await cloud.read("a")).content == b"hello"


async def test_hmac_key_signs_a_header_until_it_is_inactive(cloud: Cloud) -> None:
    key = await new_key(cloud)
    assert (await hmac_signed(cloud, key)).status_code == 200

    path = f"/storage/v1/projects/demo-continuon/hmacKeys/{key['metadata']['accessId']}"
    await cloud.http.put(path, json={"state": "INACTIVE"})

    answer = await hmac_signed(cloud, key)
    assert (answer.status_code, code(answer)) == (403, "InvalidAccessKeyId")


@pytest.mark.parametrize(
    ("options", "status", "expected"),
    [
        ({"late": timedelta(minutes=16)}, 403, "RequestTimeTooSkewed"),
        ({"late": timedelta(minutes=-16)}, 403, "RequestTimeTooSkewed"),
        ({"host": "other.test"}, 403, "SignatureDoesNotMatch"),
        ({"x-goog-meta-added": "1"}, 400, "MalformedSecurityHeader"),
        ({"body": b"other"}, 400, "BadDigest"),
        ({"authorization": "AWS4-HMAC-SHA256 Credential=a"}, 501, "NotImplemented"),
        ({"authorization": "GOOG4-HMAC-SHA256 Credential=a"}, 400, "MalformedSecurityHeader"),
    ],
)
async def test_what_was_not_signed_is_refused(
    options: dict[str, Any], status: int, expected: str, cloud: Cloud
) -> None:
    answer = await hmac_signed(cloud, await new_key(cloud), **options)

    assert (answer.status_code, code(answer)) == (status, expected), answer.text
    assert await cloud.names() == []


async def test_keys_are_deleted_only_when_inactive(cloud: Cloud) -> None:
    key = (await new_key(cloud))["metadata"]
    keys = "/storage/v1/projects/demo-continuon/hmacKeys"
    path = f"{keys}/{key['accessId']}"

    assert (await cloud.http.delete(path)).status_code == 400
    stale = await cloud.http.put(path, json={"state": "INACTIVE", "etag": "other"})
    assert stale.status_code == 412
    assert (await cloud.http.put(path, json={"state": "GONE"})).status_code == 400
    assert (await cloud.http.put(path, json={"state": "INACTIVE"})).status_code == 200
    assert (await cloud.http.delete(path)).status_code == 204
    assert (await cloud.http.get(keys)).json()["items"] == []
    assert (await cloud.http.get(path)).json()["state"] == "DELETED"
    assert (await cloud.http.put(path, json={"state": "ACTIVE"})).status_code == 400
