from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from continuon_local.auth.tokens import encode_unsigned
from continuon_local.meter import Operation
from continuon_local.storage.app import create_app
from continuon_local.storage.firebase_rules import StorageRules
from rules_requests import Documents
from unit.local.storage.harness import HOST

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from unit.local.storage.harness import Cloud

RULES = """
rules_version = '2';
service firebase.storage {
  match /b/{bucket}/o {
    match /users/{uid}/{file=**} {
      allow get, list, delete: if request.auth.uid == uid;
      allow create: if request.auth.uid == uid && request.resource.size < 1000000
                    && request.resource.contentType == 'text/plain'
                    && (resource == null || resource.metadata.frozen != 'yes');
      allow update: if request.auth.uid == uid && request.resource.metadata.k != 'evil';
    }
    match /members/{group}/{file} {
      allow read: if firestore.get(/databases/(default)/documents/groups/$(group))
                     .data.members.hasAny([request.auth.uid]);
    }
    match /thirds/{file} {
      allow get: if firestore.exists(/databases/(default)/documents/open/a)
                 && firestore.exists(/databases/(default)/documents/open/b)
                 && firestore.exists(/databases/(default)/documents/open/$(file));
    }
    match /elsewhere/{file} {
      allow get: if firestore.exists(/databases/other/documents/open/a);
    }
    match /shared/{file} {
      allow get: if firestore.exists(/databases/(default)/documents/open/$(file));
      allow create: if !firestore.exists(/databases/(default)/documents/closed/$(file));
    }
  }
}
"""
COLLECTION = "/v0/b/episodes/o"
OBJECT = f"{COLLECTION}/users%2Fada%2Fa%20b.txt"
NAME = "users/ada/a b.txt"
UNIT = 256 << 10


def token(uid: str, **claims: Any) -> dict[str, str]:
    issuer = "https://securetoken.google.com/demo-continuon"
    standard = {"sub": uid, "aud": "demo-continuon", "iss": issuer, "iat": 0, "exp": 0}
    return {"authorization": f"Firebase {encode_unsigned({**standard, **claims})}"}


ADA, BOB = token("ada"), token("bob")
OWNER = {"authorization": "Bearer owner"}


@pytest.fixture
async def firebase(cloud: Cloud, tmp_path: Path) -> AsyncIterator[Cloud]:
    """The storage engine with rules in force."""
    rules = tmp_path / "storage.rules"
    rules.write_text(RULES)
    engine = replace(cloud.engine, rules=StorageRules(rules))
    transport = httpx.ASGITransport(app=create_app(engine))
    async with httpx.AsyncClient(transport=transport, base_url=HOST) as http:
        yield replace(cloud, engine=engine, http=http)


async def upload(
    cloud: Cloud,
    who: dict[str, str],
    name: str = NAME,
    body: bytes = b"hello",
    metadata: str = '{"contentType": "text/plain", "metadata": {"k": "v"}}',
) -> httpx.Response:
    content = (
        f"--x\r\nContent-Type: application/json; charset=utf-8\r\n\r\n{metadata}\r\n"
        "--x\r\nContent-Type: text/plain\r\n\r\n"
    )
    return await cloud.http.post(
        COLLECTION,
        params={"name": name},
        content=content.encode() + body + b"\r\n--x--",
        headers={
            "x-goog-upload-protocol": "multipart",
            "content-type": "multipart/related; boundary=x",
            **who,
        },
    )


async def test_a_user_uploads_reads_lists_changes_and_deletes(firebase: Cloud) -> None:
    http = firebase.http
    stored = await upload(firebase, ADA)
    assert stored.status_code == 200, stored.text
    view = stored.json()
    assert view["metadata"] == {"k": "v"}
    assert view["size"] == "5"
    assert view["contentDisposition"] == "inline; filename*=utf-8''a%20b.txt"

    assert (await http.get(OBJECT, headers=ADA)).json()["md5Hash"] == view["md5Hash"]
    assert (await http.get(OBJECT, params={"alt": "media"}, headers=ADA)).content == b"hello"
    listed = await http.get(
        COLLECTION, params={"prefix": "users/ada/", "delimiter": "/"}, headers=ADA
    )
    assert listed.json() == {"prefixes": [], "items": [{"name": NAME, "bucket": "episodes"}]}
    changed = await http.patch(OBJECT, json={"metadata": {"k": "w"}}, headers=ADA)
    assert changed.json()["metadata"] == {"k": "w"}
    assert changed.json()["downloadTokens"] == view["downloadTokens"]
    assert (await http.delete(OBJECT, headers=ADA)).status_code == 204
    assert (await http.get(OBJECT, headers=ADA)).status_code == 404


@pytest.mark.parametrize("who", [{}, BOB], ids=["anonymous", "another user"])
async def test_nobody_else_may_do_anything(who: dict[str, str], firebase: Cloud) -> None:
    http = firebase.http
    await upload(firebase, ADA)

    answers = [
        await upload(firebase, who, body=b"evil"),
        await http.get(OBJECT, headers=who),
        await http.get(OBJECT, params={"alt": "media"}, headers=who),
        await http.get(COLLECTION, params={"prefix": "users/ada/"}, headers=who),
        await http.get(COLLECTION, headers=who),
        await http.patch(OBJECT, json={"metadata": {"k": "x"}}, headers=who),
        await http.delete(OBJECT, headers=who),
        await http.get(f"{COLLECTION}/users%2Fada%2Fmissing", headers=who),
        await http.post(OBJECT, params={"create_token": "true"}, headers=who),
    ]

    assert [answer.status_code for answer in answers] == [403] * len(answers)
    assert answers[0].json()["error"]["code"] == 403
    assert (await firebase.read(NAME)).content == b"hello"
    assert len(firebase.body_files()) == 2  # the object and the rules


@pytest.mark.parametrize(
    "who",
    [
        {"authorization": "Firebase nonsense"},
        {"authorization": "Basic owner"},
        token("ada", aud="other"),
        token("ada", iss="https://securetoken.google.com/other"),
        token("ada", iat=1, exp=2),
        token(""),
    ],
)
async def test_tokens_that_are_no_good_are_refused(who: dict[str, str], firebase: Cloud) -> None:
    assert (await upload(firebase, who)).status_code == 401
    assert (await firebase.http.get(OBJECT, headers=who)).status_code == 401
    assert await firebase.names() == []


async def test_rules_see_the_object_as_it_would_be(firebase: Cloud) -> None:
    html = await upload(firebase, ADA, metadata='{"contentType": "text/html"}')
    large = await upload(firebase, ADA, body=b"x" * 1_000_000)

    assert (html.status_code, large.status_code) == (403, 403)
    assert await firebase.names() == []
    assert firebase.events() == []
    frozen = '{"contentType": "text/plain", "metadata": {"frozen": "yes"}}'
    assert (await upload(firebase, ADA, metadata=frozen)).status_code == 200
    assert (await upload(firebase, ADA)).status_code == 403
    evil = await firebase.http.patch(OBJECT, json={"metadata": {"k": "evil"}}, headers=ADA)
    assert evil.status_code == 403
    assert (await firebase.http.get(OBJECT, headers=ADA)).json()["metadata"] == {"frozen": "yes"}


async def test_documents_that_cannot_be_read_grant_nothing(firebase: Cloud) -> None:
    assert (await upload(firebase, ADA, "shared/a")).status_code == 403
    await firebase.created("shared/a")
    assert (await firebase.http.get(f"{COLLECTION}/shared%2Fa", headers=ADA)).status_code == 403


async def test_rules_read_the_documents_of_firestore(firebase: Cloud) -> None:
    documents = Documents({"groups/g": {"members": ["ada"]}, "open/a": {}, "open/b": {}})
    firebase.engine.rules.connect(documents)
    for name in ("members/g/f", "members/none/f", "shared/a", "shared/c", "elsewhere/a"):
        await firebase.created(name)

    async def status(name: str, who: dict[str, str]) -> int:
        path = f"{COLLECTION}/{name.replace('/', '%2F')}"
        return (await firebase.http.get(path, headers=who)).status_code

    assert await status("members/g/f", ADA) == 200
    assert await status("members/g/f", BOB) == 403
    assert await status("members/none/f", ADA) == 403
    assert await status("shared/a", ADA) == 200
    assert await status("shared/c", ADA) == 403
    assert await status("elsewhere/a", ADA) == 403
    assert (await upload(firebase, ADA, "shared/new")).status_code == 200
    assert set(documents.reads) == {
        *("groups/g", "groups/none", "open/a", "open/c", "closed/new"),
    }


async def test_a_request_reads_two_documents_and_each_is_billed(firebase: Cloud) -> None:
    documents = Documents({"open/a": {}, "open/b": {}, "open/c": {}})
    firebase.engine.rules.connect(documents)
    for name in ("thirds/a", "thirds/c"):
        await firebase.created(name)
    # The first document again is no third one.
    assert (await firebase.http.get(f"{COLLECTION}/thirds%2Fa", headers=ADA)).status_code == 200
    assert firebase.engine.meter.totals()[Operation.FIRESTORE_READ] == 2
    assert (await firebase.http.get(f"{COLLECTION}/thirds%2Fc", headers=ADA)).status_code == 403


async def test_without_rules_only_the_administrator_may(cloud: Cloud) -> None:
    assert (await upload(cloud, ADA)).status_code == 403
    assert (await upload(cloud, OWNER)).status_code == 200
    assert (await cloud.http.get(OBJECT, headers=ADA)).status_code == 403


async def test_a_download_token_reads_one_object_until_it_is_revoked(firebase: Cloud) -> None:
    http = firebase.http
    secret = (await upload(firebase, ADA)).json()["downloadTokens"]
    media = {"alt": "media", "token": secret}

    assert (await http.get(OBJECT, params=media)).content == b"hello"
    assert (await http.get(OBJECT, params={"token": secret})).status_code == 403
    assert (await http.get(OBJECT, params={**media, "token": "x"})).status_code == 403
    assert (await http.get(OBJECT, params={**media, "token": ""})).status_code == 403
    revoked = await http.post(OBJECT, params={"delete_token": secret}, headers=OWNER)
    assert revoked.json()["downloadTokens"] != secret
    assert (await http.get(OBJECT, params=media)).status_code == 403


async def test_a_client_cannot_choose_its_token(firebase: Cloud) -> None:
    chosen = '{"contentType": "text/plain", "metadata": {"firebaseStorageDownloadTokens": "mine"}}'
    first = (await upload(firebase, ADA, metadata=chosen)).json()["downloadTokens"]
    body = {"metadata": {"k": "v", "firebaseStorageDownloadTokens": "mine"}}
    changed = await firebase.http.patch(OBJECT, json=body, headers=ADA)

    assert first != "mine"
    assert changed.json()["downloadTokens"] == first


async def test_objects_of_other_clients_get_a_token_when_asked(firebase: Cloud) -> None:
    await firebase.created(NAME)

    first = (await firebase.http.get(OBJECT, headers=ADA)).json()["downloadTokens"]
    second = (await firebase.http.get(OBJECT, headers=ADA)).json()["downloadTokens"]

    assert first
    assert second == first


async def start(cloud: Cloud, who: dict[str, str], size: int) -> httpx.Response:
    return await cloud.http.post(
        COLLECTION,
        params={"name": NAME},
        json={"contentType": "text/plain"},
        headers={
            "x-goog-upload-protocol": "resumable",
            "x-goog-upload-command": "start",
            "x-goog-upload-header-content-length": str(size),
            "x-goog-upload-header-content-type": "text/plain",
            **who,
        },
    )


async def command(
    cloud: Cloud,
    url: str,
    who: dict[str, str],
    what: str,
    part: tuple[int, bytes] = (0, b""),
) -> httpx.Response:
    offset, body = part
    headers = {"x-goog-upload-command": what, "x-goog-upload-offset": str(offset), **who}
    return await cloud.http.post(url, content=body, headers=headers)


async def test_a_resumable_upload_in_the_protocol_of_the_sdk(firebase: Cloud) -> None:
    body = b"a" * UNIT + b"rest"
    started = await start(firebase, ADA, len(body))
    url = started.headers["x-goog-upload-url"]
    assert started.headers["x-goog-upload-status"] == "active"

    sent = await command(firebase, url, ADA, "upload", (0, body[:UNIT]))
    asked = await command(firebase, url, ADA, "query")
    wrong = await command(firebase, url, ADA, "upload", (7, b"x"))
    final = await command(firebase, url, ADA, "upload, finalize", (UNIT, body[UNIT:]))
    again = await command(firebase, url, ADA, "query")

    for answer in (sent, asked):
        assert answer.headers["x-goog-upload-status"] == "active"
        assert answer.headers["x-goog-upload-size-received"] == str(UNIT)
    assert wrong.status_code == 400
    assert final.headers["x-goog-upload-status"] == "final"
    assert final.json()["size"] == str(len(body))
    assert again.headers["x-goog-upload-status"] == "final"
    assert (await firebase.read(NAME)).content == body


async def test_a_resumable_upload_is_judged_at_its_end_on_every_path(firebase: Cloud) -> None:
    url = (await start(firebase, BOB, 5)).headers["x-goog-upload-url"]
    session = url.partition("upload_id=")[2].partition("&")[0]
    for path in ("/upload/storage/v1/b/episodes/o", "/episodes/users/ada/x"):
        sneaked = await firebase.http.put(path, params={"upload_id": session}, content=b"hello")
        assert sneaked.status_code == 404

    refused = await command(firebase, url, BOB, "upload, finalize", (0, b"hello"))

    assert refused.status_code == 403
    assert await firebase.names() == []
    assert firebase.events() == []


async def test_sessions_of_other_apis_are_not_finished_here(firebase: Cloud) -> None:
    begun = await firebase.http.post(
        "/upload/storage/v1/b/episodes/o", params={"uploadType": "resumable", "name": "a"}
    )
    session = begun.headers["location"].partition("upload_id=")[2]

    answer = await command(firebase, f"{COLLECTION}?upload_id={session}", ADA, "query")

    assert answer.status_code == 404


async def test_a_cancelled_upload_is_over(firebase: Cloud) -> None:
    url = (await start(firebase, ADA, 5)).headers["x-goog-upload-url"]

    cancelled = await command(firebase, url, ADA, "cancel")

    assert cancelled.headers["x-goog-upload-status"] == "cancelled"
    assert (await command(firebase, url, ADA, "upload, finalize", (0, b"hello"))).status_code == 499


async def test_pages_of_any_origin_may_ask(firebase: Cloud) -> None:
    asked = {"origin": "https://app.example", "access-control-request-headers": "authorization"}

    preflight = await firebase.http.options(OBJECT, headers=asked)
    refused = await firebase.http.get(OBJECT, headers={"origin": "https://app.example"})

    assert preflight.headers["access-control-allow-headers"] == "authorization"
    assert refused.status_code == 403
    assert refused.headers["access-control-allow-origin"] == "*"
    assert "X-Goog-Upload-URL" in refused.headers["access-control-expose-headers"]


@pytest.mark.parametrize(
    ("method", "path"), [("POST", COLLECTION), ("PUT", OBJECT), ("DELETE", COLLECTION)]
)
async def test_other_uploads_say_they_are_missing(method: str, path: str, firebase: Cloud) -> None:
    answer = await firebase.http.request(method, path, headers=OWNER, params={"name": "a"})

    assert answer.status_code == 501


async def test_changed_rules_count_at_once_and_broken_ones_allow_nothing(
    firebase: Cloud, tmp_path: Path
) -> None:
    rules = tmp_path / "storage.rules"
    rules.write_text(RULES.replace("request.auth.uid == uid", "true"))
    assert (await upload(firebase, {})).status_code == 200

    rules.write_text("nonsense")
    assert (await firebase.http.get(OBJECT, headers=ADA)).status_code == 403
