"""The unmodified firebase-admin against the local Auth service."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import firebase_admin
import httpx
import pytest
from firebase_admin import auth

from conftest import local_services

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT = "demo-continuon"


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    with local_services("auth") as ports:
        yield f"http://127.0.0.1:{ports['auth']}"


@pytest.fixture
def app(base: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("FIREBASE_AUTH_EMULATOR_HOST", base.removeprefix("http://"))
    created = firebase_admin.initialize_app(options={"projectId": PROJECT}, name="auth-tests")
    yield created
    httpx.delete(f"{base}/emulator/v1/projects/{PROJECT}/accounts").raise_for_status()
    firebase_admin.delete_app(created)


def call(base: str, name: str, **body: object) -> dict[str, Any]:
    url = f"{base}/identitytoolkit.googleapis.com/v1/accounts:{name}?key=any"
    answer: dict[str, Any] = httpx.post(url, json=body).raise_for_status().json()
    return answer


def sign_up(base: str, email: str = "ada@example.com") -> dict[str, Any]:
    return call(base, "signUp", email=email, password="correct horse", returnSecureToken=True)


def test_an_id_token_of_a_sign_up_is_accepted(base: str, app: Any) -> None:
    signed_up = sign_up(base)
    claims = auth.verify_id_token(signed_up["idToken"], app=app, check_revoked=True)
    assert claims["uid"] == signed_up["localId"]
    assert claims["email"] == "ada@example.com"
    assert claims["email_verified"] is False
    assert claims["firebase"] == {
        "identities": {"email": ["ada@example.com"]},
        "sign_in_provider": "password",
    }
    assert claims["exp"] - claims["iat"] == 3600


def test_an_id_token_is_refused_in_another_project(base: str, app: Any) -> None:
    other = firebase_admin.initialize_app(options={"projectId": "demo-other"}, name="other")
    token = sign_up(base)["idToken"]
    with pytest.raises(auth.InvalidIdTokenError):
        auth.verify_id_token(token, app=other)
    firebase_admin.delete_app(other)
    assert auth.verify_id_token(token, app=app)["aud"] == PROJECT


def test_a_user_made_by_the_backend_signs_in_with_the_password(base: str, app: Any) -> None:
    created = auth.create_user(
        uid="grace",
        email="Grace@Example.com",
        password="compiler!",
        display_name="Grace",
        phone_number="+4917000000",
        email_verified=True,
        app=app,
    )
    assert created.uid == "grace"
    assert created.email == "grace@example.com"
    signed_in = call(base, "signInWithPassword", email="grace@example.com", password="compiler!")
    claims = auth.verify_id_token(signed_in["idToken"], app=app)
    assert (claims["uid"], claims["name"], claims["email_verified"]) == ("grace", "Grace", True)
    assert auth.get_user_by_phone_number("+4917000000", app=app).uid == "grace"


def test_a_taken_address_or_uid_is_refused(app: Any) -> None:
    auth.create_user(uid="one", email="one@example.com", app=app)
    with pytest.raises(auth.EmailAlreadyExistsError):
        auth.create_user(uid="two", email="ONE@example.com", app=app)
    with pytest.raises(auth.UidAlreadyExistsError):
        auth.create_user(uid="one", app=app)
    assert [user.uid for user in auth.list_users(app=app).iterate_all()] == ["one"]


def test_custom_claims_reach_the_next_id_token(base: str, app: Any) -> None:
    signed_up = sign_up(base)
    auth.set_custom_user_claims(signed_up["localId"], {"operator": True, "fleet": "a"}, app=app)
    assert auth.get_user(signed_up["localId"], app=app).custom_claims == {
        "operator": True,
        "fleet": "a",
    }
    refreshed = refresh(base, signed_up["refreshToken"]).raise_for_status().json()
    claims = auth.verify_id_token(refreshed["id_token"], app=app)
    assert (claims["operator"], claims["fleet"]) == (True, "a")
    auth.set_custom_user_claims(signed_up["localId"], None, app=app)
    assert auth.get_user(signed_up["localId"], app=app).custom_claims is None


def test_reserved_claims_are_refused_by_the_server_too(base: str, app: Any) -> None:
    auth.create_user(uid="u", app=app)
    answer = httpx.post(
        f"{base}/identitytoolkit.googleapis.com/v1/projects/{PROJECT}/accounts:update",
        json={"localId": "u", "customAttributes": '{"sub": "admin"}'},
        headers={"Authorization": "Bearer owner"},
    )
    assert answer.json()["error"]["message"] == "FORBIDDEN_CLAIM : sub"
    assert auth.get_user("u", app=app).custom_claims is None


def test_a_disabled_user_cannot_sign_in_refresh_or_pass_a_revocation_check(
    base: str, app: Any
) -> None:
    signed_up = sign_up(base)
    assert auth.update_user(signed_up["localId"], disabled=True, app=app).disabled
    with pytest.raises(auth.UserDisabledError):
        auth.verify_id_token(signed_up["idToken"], app=app, check_revoked=True)
    assert error_of(refresh(base, signed_up["refreshToken"])) == "USER_DISABLED"
    with pytest.raises(httpx.HTTPStatusError) as failure:
        call(base, "signInWithPassword", email="ada@example.com", password="correct horse")
    assert error_of(failure.value.response) == "USER_DISABLED"
    auth.update_user(signed_up["localId"], disabled=False, app=app)
    call(base, "signInWithPassword", email="ada@example.com", password="correct horse")


def test_revoked_sessions_end_and_later_ones_live(base: str, app: Any) -> None:
    signed_up = sign_up(base)
    wait_for_the_next_second()
    auth.revoke_refresh_tokens(signed_up["localId"], app=app)
    with pytest.raises(auth.RevokedIdTokenError):
        auth.verify_id_token(signed_up["idToken"], app=app, check_revoked=True)
    assert error_of(refresh(base, signed_up["refreshToken"])) == "TOKEN_EXPIRED"
    again = call(base, "signInWithPassword", email="ada@example.com", password="correct horse")
    auth.verify_id_token(again["idToken"], app=app, check_revoked=True)
    refresh(base, again["refreshToken"]).raise_for_status()


def test_a_custom_token_signs_in_a_new_and_then_a_known_user(base: str, app: Any) -> None:
    token = auth.create_custom_token("robot-owner", {"tier": "lab"}, app=app).decode()
    first = call(base, "signInWithCustomToken", token=token, returnSecureToken=True)
    claims = auth.verify_id_token(first["idToken"], app=app, check_revoked=True)
    assert (claims["uid"], claims["tier"]) == ("robot-owner", "lab")
    assert claims["firebase"]["sign_in_provider"] == "custom"
    assert first["isNewUser"] is True
    assert call(base, "signInWithCustomToken", token=token)["isNewUser"] is False
    refreshed = refresh(base, first["refreshToken"]).raise_for_status().json()
    assert auth.verify_id_token(refreshed["id_token"], app=app)["tier"] == "lab"


def test_deleted_users_are_gone(base: str, app: Any) -> None:
    signed_up = sign_up(base)
    auth.delete_user(signed_up["localId"], app=app)
    with pytest.raises(auth.UserNotFoundError):
        auth.get_user_by_email("ada@example.com", app=app)
    with pytest.raises(auth.UserNotFoundError):
        auth.delete_user(signed_up["localId"], app=app)
    assert error_of(refresh(base, signed_up["refreshToken"])) == "INVALID_REFRESH_TOKEN"


def test_listing_pages_through_every_user_once(app: Any) -> None:
    names = [f"user-{number:02d}" for number in range(7)]
    for name in reversed(names):
        auth.create_user(uid=name, app=app)
    page = auth.list_users(max_results=3, app=app)
    assert [user.uid for user in page.users] == names[:3]
    assert [user.uid for user in page.iterate_all()] == names


def test_batch_deletion_spares_enabled_users_unless_forced(base: str, app: Any) -> None:
    auth.create_user(uid="off", disabled=True, app=app)
    auth.create_user(uid="on", app=app)
    url = f"{base}/identitytoolkit.googleapis.com/v1/projects/{PROJECT}/accounts:batchDelete"
    owner = {"Authorization": "Bearer owner"}
    answer = httpx.post(url, json={"localIds": ["off", "on"]}, headers=owner).json()
    assert [error["localId"] for error in answer["errors"]] == ["on"]
    assert [user.uid for user in auth.list_users(app=app).users] == ["on"]
    assert auth.delete_users(["on"], app=app).failure_count == 0
    assert not auth.list_users(app=app).users


def test_users_are_imported_and_found_together(app: Any) -> None:
    records = [auth.ImportUserRecord(uid=f"i{number}") for number in range(3)]
    assert auth.import_users(records, app=app).success_count == 3
    found = auth.get_users([auth.UidIdentifier("i1"), auth.UidIdentifier("missing")], app=app)
    assert [user.uid for user in found.users] == ["i1"]
    assert len(found.not_found) == 1


def test_action_links_are_not_implemented_and_say_so(app: Any) -> None:
    with pytest.raises(firebase_admin.exceptions.FirebaseError, match="UNIMPLEMENTED") as failure:
        auth.generate_password_reset_link("ada@example.com", app=app)
    assert failure.value.http_response is not None
    assert failure.value.http_response.status_code == 501


def refresh(base: str, token: str) -> httpx.Response:
    return httpx.post(
        f"{base}/securetoken.googleapis.com/v1/token?key=any",
        data={"grant_type": "refresh_token", "refresh_token": token},
    )


def error_of(answer: httpx.Response) -> str:
    assert answer.status_code == 400
    return str(answer.json()["error"]["message"])


def wait_for_the_next_second() -> None:
    """Token times have whole seconds: what happens in the same one is not yet revoked."""
    time.sleep(1.05 - time.time() % 1)
