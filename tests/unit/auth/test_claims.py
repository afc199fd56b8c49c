"""Claim proofs, one test for each attack on them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from continuon import limits
from continuon.auth.claims import AUDIENCE, verify_claim
from continuon.auth.keys import public_jwk, thumbprint
from continuon.errors import ProblemError
from devices import Device

NOW = datetime(2026, 1, 4, 12, 0, 0, tzinfo=UTC)
DEVICE = Device()
USER = "user-1"
_LIFETIME_S = 600


def _jwk() -> dict[str, str]:
    return public_jwk(DEVICE.key.public_key())


def claims(**changes: Any) -> dict[str, Any]:
    """Return honest claims with ``changes``; a value of None leaves a claim out."""
    present = int(NOW.timestamp())
    honest = {
        "iss": str(DEVICE.ruri),
        "sub": USER,
        "aud": AUDIENCE,
        "iat": present,
        "exp": present + _LIFETIME_S,
        "jti": "j" * 24,
    }
    return {name: value for name, value in {**honest, **changes}.items() if value is not None}


def proof(payload: dict[str, Any] | None = None, **header: Any) -> str:
    """Sign ``payload`` with the device key under an honest header changed by ``header``."""
    headers = {"typ": "continuon-claim+jwt", "jwk": _jwk(), **header}
    return jwt.encode(payload or claims(), DEVICE.key, algorithm="EdDSA", headers=headers)


def _segment(document: object) -> str:
    text = document if isinstance(document, str) else json.dumps(document)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def refusal(text: str, *, user_id: str = USER, now: datetime = NOW) -> str:
    """Return the path of the field at fault."""
    with pytest.raises(ProblemError) as caught:
        verify_claim(text, user_id=user_id, now=now)
    problem = caught.value
    assert (problem.type.code, problem.type.status) == ("claim.invalid", 400)
    return problem.errors[0].path


def test_an_honest_proof_binds_robot_key_and_user() -> None:
    found = verify_claim(DEVICE.claim(USER, NOW), user_id=USER, now=NOW)
    assert found.ruri == DEVICE.ruri
    assert found.user_id == USER
    assert found.jwk == _jwk()
    assert found.key_thumbprint == thumbprint(_jwk())
    assert found.expires_at == NOW + timedelta(seconds=limits.CLAIM_MAX_AGE_S)


def test_two_proofs_never_share_their_jti() -> None:
    first, second = (verify_claim(DEVICE.claim(USER, NOW), user_id=USER, now=NOW) for _ in "ab")
    assert first.jti != second.jti


def test_alg_none_is_refused() -> None:
    header = {"alg": "none", "typ": "continuon-claim+jwt", "jwk": _jwk()}
    assert refusal(f"{_segment(header)}.{_segment(claims())}.") == "proof"


def test_alg_eddsa_without_a_signature_is_refused() -> None:
    header = {"alg": "EdDSA", "typ": "continuon-claim+jwt", "jwk": _jwk()}
    assert refusal(f"{_segment(header)}.{_segment(claims())}.") == "proof"


@pytest.mark.parametrize("form", ["raw", "pem", "x"])
def test_hs256_with_the_public_key_as_secret_is_refused(form: str) -> None:
    public = DEVICE.key.public_key()
    secret = {
        "raw": public.public_bytes_raw(),
        "pem": public.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
        "x": _jwk()["x"].encode(),
    }[form]
    header = {"alg": "HS256", "typ": "continuon-claim+jwt", "jwk": _jwk()}
    signed = f"{_segment(header)}.{_segment(claims())}"
    mac = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
    forged = f"{signed}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"
    assert refusal(forged) == "proof"


def test_another_keys_jwk_in_the_header_is_refused() -> None:
    other = public_jwk(Ed25519PrivateKey.generate().public_key())
    assert refusal(proof(jwk=other)) == "proof"


def test_changed_claims_under_an_old_signature_are_refused() -> None:
    header, _, signature = proof().split(".")
    assert refusal(f"{header}.{_segment(claims(sub='thief'))}.{signature}") == "proof"


@pytest.mark.parametrize("typ", ["JWT", "", "at+jwt", "continuon-claim", 7])
def test_another_type_is_refused(typ: object) -> None:
    header = {"alg": "EdDSA", "typ": typ, "jwk": _jwk()}
    signed = f"{_segment(header)}.{_segment(claims())}"
    signature = base64.urlsafe_b64encode(DEVICE.key.sign(signed.encode())).decode().rstrip("=")
    assert refusal(f"{signed}.{signature}") == "proof"


def test_a_private_key_in_the_header_is_refused() -> None:
    private = base64.urlsafe_b64encode(DEVICE.key.private_bytes_raw()).decode().rstrip("=")
    assert refusal(proof(jwk={**_jwk(), "d": private})) == "proof"


@pytest.mark.parametrize("jwk", [None, "key", [], {}, {"kty": "RSA"}])
def test_a_header_without_a_device_key_is_refused(jwk: object) -> None:
    assert refusal(proof(jwk=jwk)) == "proof"


def test_a_proof_that_expires_now_is_refused() -> None:
    assert refusal(proof(), now=NOW + timedelta(seconds=_LIFETIME_S)) == "proof.exp"


def test_a_proof_of_the_future_is_refused() -> None:
    ahead = NOW - timedelta(seconds=limits.CLAIM_CLOCK_SKEW_S + 1)
    assert refusal(proof(), now=ahead) == "proof.iat"


def test_a_clock_that_is_a_little_ahead_is_forgiven() -> None:
    ahead = NOW - timedelta(seconds=limits.CLAIM_CLOCK_SKEW_S)
    assert verify_claim(proof(), user_id=USER, now=ahead).user_id == USER


def test_a_proof_that_lives_too_long_is_refused() -> None:
    expires = int(NOW.timestamp()) + limits.CLAIM_MAX_AGE_S + 1
    assert refusal(proof(claims(exp=expires))) == "proof.exp"


@pytest.mark.parametrize("value", [1.5, True, "soon", 10**400])
def test_times_that_are_no_whole_seconds_are_refused(value: object) -> None:
    assert refusal(proof(claims(exp=value))).startswith("proof")


@pytest.mark.parametrize("audience", ["continuon.example", "", ["a", "b"], 7])
def test_another_audience_is_refused(audience: object) -> None:
    assert refusal(proof(claims(aud=audience))) == "proof"


@pytest.mark.parametrize("name", ["iss", "sub", "aud", "iat", "exp", "jti"])
def test_a_missing_claim_is_refused(name: str) -> None:
    assert refusal(proof(claims(**{name: None}))) == "proof"


def test_another_users_proof_is_refused() -> None:
    assert refusal(proof(), user_id="user-2") == "proof.sub"


@pytest.mark.parametrize(
    "jti", ["", "j" * (limits.MAX_NONCE_CHARS + 1), "\ud800", "\N{SNOWMAN}", "a b\n"]
)
def test_a_jti_that_is_no_plain_text_is_refused(jti: str) -> None:
    assert refusal(proof(claims(jti=jti))).startswith("proof")


@pytest.mark.parametrize(
    "ruri",
    [
        "https://continuon.cloud/acme/arm/14d4b680",
        "rcan://continuon.cloud/acme/arm/../14d4b680",
        "rcan://continuon.cloud/acme/arm/14d4b680?x",
        "rcan://continuon.cloud/acme/arm/14d4b680\n",
        "",
    ],
)
def test_a_bad_robot_uri_is_refused(ruri: str) -> None:
    assert refusal(proof(claims(iss=ruri))) == "proof.iss"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "....",
        "a.b.c",
        "\N{SNOWMAN}" * 20,
        f"{_segment('[')}.{_segment('[')}.",
        f"{_segment([])}.{_segment([])}.",
        # Deep enough to exhaust a recursive reader, short enough for the request's limit.
        f"{_segment('[' * 5000)}.e30.",
        f"{_segment({'alg': 'EdDSA', 'typ': 'continuon-claim+jwt', 'crit': ['b64']})}.e30.",
    ],
)
def test_garbage_is_refused_without_a_traceback(text: str) -> None:
    assert refusal(text) == "proof"


def test_claims_nested_beyond_any_reader_are_refused_without_a_traceback() -> None:
    header = {"alg": "EdDSA", "typ": "continuon-claim+jwt", "jwk": _jwk()}
    signed = f"{_segment(header)}.{_segment('[' * 5000)}"
    signature = base64.urlsafe_b64encode(DEVICE.key.sign(signed.encode())).decode().rstrip("=")
    assert refusal(f"{signed}.{signature}") == "proof"
