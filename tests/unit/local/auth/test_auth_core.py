"""Tokens, passwords and field rules of the Auth service, without a server."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from continuon_local.auth.errors import AuthError
from continuon_local.auth.model import (
    Account,
    Session,
    check_custom_attributes,
    check_email,
    check_local_id,
)
from continuon_local.auth.passwords import check_strength, hash_password, verify_password
from continuon_local.auth.requests import Body
from continuon_local.auth.tokens import (
    decode_unsigned,
    encode_unsigned,
    id_token_claims,
    read_id_token,
)

NOW_S = 1_800_000_000


def account(**changes: Any) -> Account:
    values: dict[str, Any] = {
        "project": "p",
        "local_id": "u",
        "created_at_ms": 0,
        "valid_since_s": 0,
        **changes,
    }
    return Account(**values)


def session(provider: str = "password", **claims: object) -> Session:
    return Session(project="p", local_id="u", auth_time_s=NOW_S, provider=provider, claims=claims)


def test_custom_claims_never_displace_the_claims_of_the_token() -> None:
    forged = account(custom_attributes='{"sub": "admin", "role": "operator"}')
    claims = id_token_claims(forged, session(aud="other", exp=0), NOW_S)
    assert (claims["sub"], claims["aud"], claims["exp"]) == ("u", "p", NOW_S + 3600)
    assert claims["role"] == "operator"


def test_a_token_expires_in_the_second_it_names() -> None:
    token = encode_unsigned(id_token_claims(account(), session(), NOW_S))
    assert read_id_token(token, NOW_S + 3599)["sub"] == "u"
    with pytest.raises(AuthError, match="TOKEN_EXPIRED"):
        read_id_token(token, NOW_S + 3600)


def test_a_signed_token_is_refused_because_nobody_can_check_it() -> None:
    header = base64.urlsafe_b64encode(json.dumps({"alg": "RS256"}).encode()).decode().rstrip("=")
    payload = encode_unsigned({"sub": "u"}).split(".")[1]
    with pytest.raises(ValueError, match="unsigned"):
        decode_unsigned(f"{header}.{payload}.c2ln")


@pytest.mark.parametrize("cut", range(0, 60, 7))
def test_a_cut_token_is_bad_data_and_no_crash(cut: int) -> None:
    token = encode_unsigned({"sub": "u", "name": "é"})
    with pytest.raises(ValueError, match=r"segment|unsigned"):
        decode_unsigned(token[:cut])


def test_a_password_is_verified_against_its_own_salt() -> None:
    first, second = hash_password("correct horse"), hash_password("correct horse")
    assert first != second
    assert verify_password("correct horse", first)
    assert not verify_password("correct horsf", first)


def test_weak_and_oversized_passwords_are_refused() -> None:
    check_strength("123456")
    with pytest.raises(AuthError, match="WEAK_PASSWORD"):
        check_strength("12345")
    with pytest.raises(AuthError, match="PASSWORD_DOES_NOT_MEET_REQUIREMENTS"):
        check_strength("x" * 4097)


@pytest.mark.parametrize("email", ["", "a", "a@", "@b", "a b@c", "a@b@c", "a@b..c", "x" * 300])
def test_what_is_no_address_is_refused(email: str) -> None:
    with pytest.raises(AuthError, match="INVALID_EMAIL"):
        check_email(email)


@pytest.mark.parametrize(
    ("attributes", "code"),
    [
        ("[]", "INVALID_CLAIMS"),
        ("{", "INVALID_CLAIMS"),
        ('{"firebase": 1}', "FORBIDDEN_CLAIM"),
        (json.dumps({"x": "y" * 1000}), "CLAIMS_TOO_LARGE"),
    ],
)
def test_bad_custom_attributes_are_refused(attributes: str, code: str) -> None:
    with pytest.raises(AuthError) as refusal:
        check_custom_attributes(attributes)
    assert refusal.value.code == code


def test_a_user_id_has_a_length() -> None:
    assert check_local_id("x" * 128)
    for bad in ("", "x" * 129):
        with pytest.raises(AuthError, match="INVALID_LOCAL_ID"):
            check_local_id(bad)


def test_fields_of_another_type_are_refused_by_name() -> None:
    body = Body({"email": 1, "flag": "yes", "number": 1.5, "list": [1], "objects": ["x"]})
    reads = [
        (body.text, "email"),
        (body.flag, "flag"),
        (body.integer, "number"),
        (body.texts, "list"),
        (body.objects, "objects"),
    ]
    for read, name in reads:
        with pytest.raises(AuthError, match=name):
            read(name)


def test_integers_come_as_numbers_or_text_within_reason() -> None:
    body = Body({"a": "12", "b": 12, "c": str(10**30), "d": True})
    assert body.integer("a") == body.integer("b") == 12
    for name in "cd":
        with pytest.raises(AuthError, match="INVALID_ARGUMENT"):
            body.integer(name)


def test_the_wire_form_never_holds_the_password_hash() -> None:
    stored = account(email="a@b.c", password_hash="scrypt$00$ff")
    assert "scrypt" not in json.dumps(stored.to_wire())
