"""The REST calls as a browser makes them, refusals above all."""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from conftest import local_services
from continuon_local.auth.tokens import decode_unsigned, encode_unsigned

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOOLKIT = "/identitytoolkit.googleapis.com/v1"
PROJECT = "demo-continuon"
ACCOUNT = {"email": "ada@example.com", "password": "correct horse"}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with local_services("auth") as ports:
        yield f"http://127.0.0.1:{ports['auth']}"


@pytest.fixture
def client(server: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server) as client:
        yield client
        client.delete(f"/emulator/v1/projects/{PROJECT}/accounts").raise_for_status()


def post(client: httpx.Client, name: str, **body: object) -> httpx.Response:
    return client.post(f"{TOOLKIT}/accounts:{name}?key=k", json=body)


def refused(answer: httpx.Response, status: int = 400) -> str:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["code"] == status
    assert error["errors"][0]["message"] == error["message"]
    return str(error["message"])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"email": "ada@example.com"}, "MISSING_PASSWORD"),
        ({"password": "correct horse"}, "MISSING_EMAIL"),
        ({"email": "no-address", "password": "correct horse"}, "INVALID_EMAIL"),
        (
            {"email": "ada@example.com", "password": "short"},
            "WEAK_PASSWORD : Password should be at least 6 characters",
        ),
        ({"email": 5, "password": "correct horse"}, "INVALID_ARGUMENT : email must be a string"),
    ],
)
def test_a_bad_sign_up_is_refused_and_leaves_no_account(
    client: httpx.Client, body: dict[str, Any], message: str
) -> None:
    assert refused(post(client, "signUp", **body)) == message
    assert count(client) == 0


def test_an_address_signs_up_once(client: httpx.Client) -> None:
    assert post(client, "signUp", **ACCOUNT).status_code == 200
    assert refused(post(client, "signUp", email="ADA@example.com", password="other one")) == (
        "EMAIL_EXISTS"
    )
    assert count(client) == 1


def test_a_wrong_password_and_an_unknown_address_look_the_same(client: httpx.Client) -> None:
    post(client, "signUp", **ACCOUNT)
    wrong = post(client, "signInWithPassword", email="ada@example.com", password="wrong one")
    unknown = post(client, "signInWithPassword", email="eve@example.com", password="wrong one")
    assert refused(wrong) == refused(unknown) == "INVALID_LOGIN_CREDENTIALS"


def test_an_anonymous_user_keeps_the_account_when_linking_a_password(client: httpx.Client) -> None:
    anonymous = post(client, "signUp", returnSecureToken=True).json()
    claims = decode_unsigned(anonymous["idToken"])
    assert claims["provider_id"] == "anonymous"
    assert claims["firebase"]["sign_in_provider"] == "anonymous"
    linked = post(client, "signUp", idToken=anonymous["idToken"], **ACCOUNT).json()
    assert linked["localId"] == anonymous["localId"]
    signed_in = post(client, "signInWithPassword", **ACCOUNT).json()
    assert signed_in["localId"] == anonymous["localId"]


def test_a_user_sees_changes_and_deletes_the_own_account(client: httpx.Client) -> None:
    token = post(client, "signUp", **ACCOUNT).json()["idToken"]
    changed = post(client, "update", idToken=token, displayName="Ada", password="new password")
    assert changed.json()["displayName"] == "Ada"
    assert refused(post(client, "signInWithPassword", **ACCOUNT)) == "INVALID_LOGIN_CREDENTIALS"
    fresh = post(client, "signInWithPassword", email=ACCOUNT["email"], password="new password")
    token = fresh.json()["idToken"]
    user = post(client, "lookup", idToken=token).json()["users"][0]
    assert user["displayName"] == "Ada"
    assert not [name for name in user if "Hash" in name or "salt" in name]
    assert post(client, "delete", idToken=token).status_code == 200
    assert refused(post(client, "lookup", idToken=token)) == "USER_NOT_FOUND"


@pytest.mark.parametrize(
    "field",
    [
        {"customAttributes": '{"admin": true}'},
        {"emailVerified": True},
        {"validSince": "1"},
        {"disableUser": False},
        {"localId": "somebody-else"},
    ],
)
def test_a_user_cannot_set_what_only_a_backend_may(
    client: httpx.Client, field: dict[str, object]
) -> None:
    token = post(client, "signUp", **ACCOUNT).json()["idToken"]
    before = post(client, "lookup", idToken=token).json()
    assert refused(post(client, "update", idToken=token, **field), 403) == "INSUFFICIENT_PERMISSION"
    assert post(client, "lookup", idToken=token).json() == before


def test_an_address_is_not_changed_without_verification(client: httpx.Client) -> None:
    token = post(client, "signUp", **ACCOUNT).json()["idToken"]
    message = refused(post(client, "update", idToken=token, email="eve@example.com"))
    assert message.startswith("OPERATION_NOT_ALLOWED")
    assert post(client, "signInWithPassword", **ACCOUNT).status_code == 200


def test_expired_signed_and_malformed_id_tokens_are_refused(client: httpx.Client) -> None:
    token = post(client, "signUp", **ACCOUNT).json()["idToken"]
    claims = decode_unsigned(token)
    expired = encode_unsigned({**claims, "exp": claims["iat"] - 1})
    stranger = encode_unsigned({**claims, "sub": "nobody"})
    assert refused(post(client, "lookup", idToken=expired)) == "TOKEN_EXPIRED"
    assert refused(post(client, "lookup", idToken=stranger)) == "USER_NOT_FOUND"
    for bad in (token + "c2ln", "a.b.c", "", token[:-20], encode_unsigned({**claims, "exp": "x"})):
        message = refused(post(client, "lookup", idToken=bad))
        assert message in {"INVALID_ID_TOKEN", "MISSING_ID_TOKEN"}


def test_bad_custom_tokens_are_refused(client: httpx.Client) -> None:
    bad_tokens = ["x", encode_unsigned({"uid": "u"}), encode_unsigned({"aud": PROJECT, "uid": 3})]
    for bad in bad_tokens:
        message = refused(post(client, "signInWithCustomToken", token=bad))
        assert message.startswith("INVALID_CUSTOM_TOKEN")
    assert count(client) == 0


def test_a_refresh_token_that_was_never_issued_is_refused(client: httpx.Client) -> None:
    url = "/securetoken.googleapis.com/v1/token?key=k"
    answer = client.post(url, data={"grant_type": "refresh_token", "refresh_token": "guess"})
    assert refused(answer) == "INVALID_REFRESH_TOKEN"
    assert refused(client.post(url, data={"grant_type": "password"})) == "INVALID_GRANT_TYPE"


@pytest.mark.parametrize("credential", ["", "Bearer owne", "Bearer owner2", "owner"])
def test_admin_calls_need_the_owner_credential(client: httpx.Client, credential: str) -> None:
    headers = {"Authorization": credential} if credential else {}
    answer = client.post(f"{TOOLKIT}/projects/{PROJECT}/accounts?key=k", json={}, headers=headers)
    assert refused(answer, 401).startswith("UNAUTHENTICATED")
    assert count(client) == 0


def test_client_calls_need_a_key(client: httpx.Client) -> None:
    answer = client.post(f"{TOOLKIT}/accounts:signUp", json=ACCOUNT)
    assert refused(answer, 403).startswith("PERMISSION_DENIED")


def test_bodies_that_are_no_json_object_are_refused(client: httpx.Client) -> None:
    for raw in (b"{", b"[]", b'"x"', b"\xff\xfe", b'{"email": "\\ud800@x"}', b"[" * 100_000):
        answer = client.post(f"{TOOLKIT}/accounts:signUp?key=k", content=raw)
        assert refused(answer).startswith("INVALID_ARGUMENT")


def test_unknown_calls_are_named_in_a_501(client: httpx.Client) -> None:
    for path in ("accounts:sendOobCode", "accounts:createAuthUri", "accounts:signInWithIdp"):
        answer = client.post(f"{TOOLKIT}/{path}?key=k", json={})
        assert path in refused(answer, 501)


@pytest.mark.parametrize("field", ["tenantId", "oobCode", "mfaInfo"])
def test_fields_that_would_be_lost_are_named_in_a_501(client: httpx.Client, field: str) -> None:
    answer = post(client, "signUp", **ACCOUNT, **{field: "x"})
    assert field in refused(answer, 501)
    assert count(client) == 0


def test_a_body_beyond_the_limit_is_refused_while_it_streams(client: httpx.Client) -> None:
    chunks = (b" " * 1024 * 1024 for _ in range(12))
    answer = client.post(f"{TOOLKIT}/accounts:signUp?key=k", content=chunks)
    assert refused(answer, 413).startswith("INVALID_ARGUMENT")


def test_a_query_counts_filters_and_pages(client: httpx.Client) -> None:
    for name in ("a", "b", "c"):
        post(client, "signUp", email=f"{name}@example.com", password="correct horse")
    owner = {"Authorization": "Bearer owner"}
    url = f"{TOOLKIT}/projects/{PROJECT}/accounts:query"
    page = client.post(
        url, json={"sortBy": "USER_EMAIL", "order": "DESC", "limit": "2"}, headers=owner
    ).json()
    assert [user["email"] for user in page["userInfo"]] == ["c@example.com", "b@example.com"]
    one = {"expression": [{"email": "B@example.com"}]}
    found = client.post(url, json=one, headers=owner).json()
    assert [user["email"] for user in found["userInfo"]] == ["b@example.com"]


def test_a_browser_on_another_port_may_call(client: httpx.Client) -> None:
    headers = {
        "Origin": "http://127.0.0.1:5000",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,x-client-version",
    }
    answer = client.options(f"{TOOLKIT}/accounts:signUp?key=k", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "*"


def test_accounts_and_sessions_survive_a_restart_and_no_password_is_stored(tmp_path: Path) -> None:
    with (
        local_services("auth", data_dir=tmp_path) as ports,
        httpx.Client(base_url=f"http://127.0.0.1:{ports['auth']}") as client,
    ):
        before = post(client, "signUp", **ACCOUNT).json()
    stored = dump(tmp_path / "auth.db")
    assert before["localId"] in stored
    assert ACCOUNT["password"] not in stored
    assert before["refreshToken"] not in stored
    with (
        local_services("auth", data_dir=tmp_path) as ports,
        httpx.Client(base_url=f"http://127.0.0.1:{ports['auth']}") as client,
    ):
        assert post(client, "signInWithPassword", **ACCOUNT).json()["localId"] == before["localId"]
        token = {"grant_type": "refresh_token", "refresh_token": before["refreshToken"]}
        answer = client.post("/securetoken.googleapis.com/v1/token?key=k", json=token).json()
        assert answer["user_id"] == before["localId"]


def count(client: httpx.Client) -> int:
    answer = client.post(
        f"{TOOLKIT}/projects/{PROJECT}/accounts:query",
        json={"returnUserInfo": False},
        headers={"Authorization": "Bearer owner"},
    )
    return int(answer.json()["recordsCount"])


def dump(path: Path) -> str:
    connection = sqlite3.connect(path)
    try:
        return json.dumps("\n".join(connection.iterdump()))
    finally:
        connection.close()
