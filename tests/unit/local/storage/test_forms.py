from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from google.cloud.storage import Client
from google.oauth2 import service_account

if TYPE_CHECKING:
    import httpx

    from unit.local.storage.harness import Cloud

SAFE = [["starts-with", "$content-type", "text/"], ["content-length-range", 0, 10]]


def form(cloud: Cloud, conditions: list[Any], **fields: str) -> dict[str, str]:
    """Return the fields of a form as the unmodified Google client signs them."""
    load = service_account.Credentials.from_service_account_file
    credentials = load(cloud.key_file)  # type: ignore[no-untyped-call]
    client = Client(project="demo-continuon", credentials=credentials)
    policy = client.generate_signed_post_policy_v4(
        "episodes",
        "dir/a.txt",
        expiration=datetime.now(UTC).replace(tzinfo=None) + timedelta(hours=1),
        conditions=[{"bucket": "episodes"}, *conditions],
        fields={"content-type": "text/plain", **fields},
    )
    signed: dict[str, str] = policy["fields"]
    return signed


async def send(cloud: Cloud, fields: dict[str, str], body: bytes = b"hello") -> httpx.Response:
    files = {"file": ("name.txt", body, "text/html")}
    return await cloud.http.post("/episodes", data=fields, files=files)


def code(answer: httpx.Response) -> str:
    return answer.text.partition("<Code>")[2].partition("</Code>")[0]


async def test_a_form_signed_by_the_google_client_is_stored(cloud: Cloud) -> None:
    answer = await send(cloud, form(cloud, SAFE, **{"x-goog-meta-robot": "r1"}))

    assert answer.status_code == 204, answer.text
    assert (await cloud.read("dir/a.txt")).content == b"hello"
    stored = (await cloud.http.get("/storage/v1/b/episodes/o/dir%2Fa.txt")).json()
    assert (stored["contentType"], stored["metadata"]) == ("text/plain", {"robot": "r1"})


async def test_the_form_says_how_to_answer(cloud: Cloud) -> None:
    created = await send(cloud, form(cloud, SAFE, success_action_status="201"))
    assert (created.status_code, "<Key>dir/a.txt</Key>" in created.text) == (201, True)
    sent = await send(cloud, form(cloud, SAFE, success_action_redirect="https://app.example/x"))
    assert sent.status_code == 303
    assert sent.headers["location"].startswith("https://app.example/x?bucket=episodes&key=dir%2F")
    evil = form(cloud, SAFE, success_action_redirect="javascript:alert(1)")
    assert (await send(cloud, evil)).status_code == 400


@pytest.mark.parametrize(
    ("changed", "status", "expected"),
    [
        ({"key": "other"}, 400, "InvalidPolicyDocument"),
        ({"content-type": "image/png"}, 400, "InvalidPolicyDocument"),
        ({"x-goog-meta-added": "1"}, 400, "InvalidPolicyDocument"),
        ({"x-goog-random": "1"}, 400, "InvalidArgument"),
        ({"x-goog-signature": "00"}, 403, "SignatureDoesNotMatch"),
        ({"x-goog-signature": ""}, 400, "InvalidPolicyDocument"),
        ({"x-goog-date": "20200101T000000Z"}, 400, "MalformedSecurityHeader"),
    ],
)
async def test_what_the_policy_does_not_cover_is_refused(
    changed: dict[str, str], status: int, expected: str, cloud: Cloud
) -> None:
    answer = await send(cloud, {**form(cloud, SAFE), **changed})

    assert (answer.status_code, code(answer)) == (status, expected), answer.text
    assert await cloud.names() == []
    assert cloud.body_files() == []


async def test_a_policy_of_ones_own_is_refused(cloud: Cloud) -> None:
    fields = form(cloud, SAFE)
    policy = json.loads(base64.b64decode(fields["policy"]))
    policy["conditions"].append({"x-goog-acl": "public-read"})
    fields["policy"] = base64.b64encode(json.dumps(policy).encode()).decode()

    assert code(await send(cloud, fields)) == "SignatureDoesNotMatch"
    del fields["policy"]
    assert (await send(cloud, fields)).status_code == 403


async def test_size_bucket_and_time_are_limits(cloud: Cloud) -> None:
    large = await send(cloud, form(cloud, SAFE), b"x" * 11)
    assert (large.status_code, code(large)) == (400, "EntityTooLarge")
    fields = form(cloud, SAFE)
    await cloud.http.post("/storage/v1/b", json={"name": "other-bucket"})
    files = {"file": ("a", b"x", "text/plain")}
    elsewhere = await cloud.http.post("/other-bucket", data=fields, files=files)
    assert code(elsewhere) == "InvalidPolicyDocument"
    cloud.engine.context.clock.advance(timedelta(hours=2))
    assert code(await send(cloud, fields)) == "ExpiredToken"
    assert await cloud.names() == []
