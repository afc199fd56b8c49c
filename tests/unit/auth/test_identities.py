"""Keys, robot URIs and identifiers: one spelling each, and nothing else gets through."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from continuon.auth.keys import InvalidKeyError, public_jwk, public_key_from_jwk, thumbprint
from continuon.auth.ruri import InvalidRuriError, Ruri
from continuon.errors import ProblemError
from continuon.identifiers import EPISODE_ID, ROBOT_ID, mint_episode_id
from continuon.paging import decode_cursor, encode_cursor

NOW = datetime(2026, 1, 4, 12, 0, 0, tzinfo=UTC)

RFC_8037_A2 = {
    "kty": "OKP",
    "crv": "Ed25519",
    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
}


def test_the_thumbprint_is_that_of_rfc_8037_appendix_a3() -> None:
    assert thumbprint(RFC_8037_A2) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_the_thumbprint_ignores_further_members() -> None:
    assert thumbprint({**RFC_8037_A2, "kid": "x", "use": "sig"}) == thumbprint(RFC_8037_A2)


def test_the_public_key_of_rfc_8037_appendix_a1_is_read() -> None:
    secret = base64.urlsafe_b64decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")
    expected = Ed25519PrivateKey.from_private_bytes(secret).public_key()
    assert public_key_from_jwk(RFC_8037_A2) == expected
    assert public_jwk(expected) == RFC_8037_A2


@pytest.mark.parametrize(
    "changes",
    [
        {"kty": "RSA"},
        {"kty": "oct"},
        {"kty": None},
        {"crv": "X25519"},
        {"crv": "Ed448"},
        {"d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"},
        {"d": ""},
        {"x": None},
        {"x": 7},
        {"x": ""},
        {"x": "AAAA"},
        {"x": RFC_8037_A2["x"] + "="},
        {"x": RFC_8037_A2["x"] + "\n"},
        {"x": RFC_8037_A2["x"] + "AA"},
        # The last character carries two unused bits: another spelling of the same bytes.
        {"x": RFC_8037_A2["x"][:-1] + "p"},
        {"x": RFC_8037_A2["x"].replace("_", "/")},
        {"x": "\N{SNOWMAN}" * 43},
    ],
)
def test_any_other_key_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(InvalidKeyError):
        public_key_from_jwk({**RFC_8037_A2, **changes})


@pytest.mark.parametrize(
    "text",
    [
        "rcan://continuon.cloud/acme/arm/14d4b680",
        "rcan://localhost/acme/arm/14d4b680",
        "rcan://a-b.example.org/ac.me/arm_v2/ROBOT-1",
    ],
)
def test_a_robot_uri_is_read_and_written_back(text: str) -> None:
    assert str(Ruri.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "14d4b680",
        "RCAN://continuon.cloud/acme/arm/14d4b680",
        "http://continuon.cloud/acme/arm/14d4b680",
        "rcan:/continuon.cloud/acme/arm/14d4b680",
        "rcan://Continuon.cloud/acme/arm/14d4b680",
        "rcan://continuon.cloud:80/acme/arm/14d4b680",
        "rcan://user@continuon.cloud/acme/arm/14d4b680",
        "rcan:///acme/arm/14d4b680",
        "rcan://.cloud/acme/arm/14d4b680",
        "rcan://continuon..cloud/acme/arm/14d4b680",
        "rcan://continuon.cloud/acme/14d4b680",
        "rcan://continuon.cloud/acme/arm/x/14d4b680",
        "rcan://continuon.cloud/acme/arm/14d4b680/",
        "rcan://continuon.cloud//arm/14d4b680",
        "rcan://continuon.cloud/acme/arm/..",
        "rcan://continuon.cloud/../arm/14d4b680",
        "rcan://continuon.cloud/acme/./14d4b680",
        "rcan://continuon.cloud/acme/arm/14d4%62680",
        "rcan://continuon.cloud/acme/arm/%2e%2e",
        "rcan://continuon.cloud/acme/a%2Fb/14d4b680",
        "rcan://continuon.cloud/acme/arm/14d4b680?key=1",
        "rcan://continuon.cloud/acme/arm/14d4b680#x",
        "rcan://continuon.cloud/acme/arm/14d4b680\n",
        "rcan://continuon.cloud/acme/arm\n/14d4b680",
        " rcan://continuon.cloud/acme/arm/14d4b680",
        "rcan://continuon.cloud/acme/arm/__x__",
        "rcan://continuon.cloud/acme/arm/caf\u00e9",
        "rcan://continuon.cloud/acme/arm/\u0661\u0662",
        "rcan://continuon.cloud/acme/arm/" + "a" * 65,
        "rcan://" + "a." * 300 + "b/acme/arm/14d4b680",
    ],
)
def test_any_other_text_is_no_robot_uri(text: str) -> None:
    with pytest.raises(InvalidRuriError):
        Ruri.parse(text)


@pytest.mark.parametrize("text", ["", "_a", "-a", "a/b", "..", "a.b", "a b", "caf\u00e9", "a\n"])
def test_an_identifier_is_safe_in_paths_and_object_names(text: str) -> None:
    assert ROBOT_ID.fullmatch(text) is None
    assert EPISODE_ID.fullmatch(text) is None


def test_an_identifier_has_a_bounded_length() -> None:
    assert ROBOT_ID.fullmatch("a" * 64)
    assert not ROBOT_ID.fullmatch("a" * 65)
    assert EPISODE_ID.fullmatch("a" * 128)
    assert not EPISODE_ID.fullmatch("a" * 129)


def test_a_minted_episode_id_is_one_and_never_the_same_twice() -> None:
    first, second = mint_episode_id(NOW), mint_episode_id(NOW)
    assert first.startswith("ep_1767528000000_")
    assert EPISODE_ID.fullmatch(first)
    assert first != second


def test_a_page_token_says_where_the_list_went_on() -> None:
    assert decode_cursor(encode_cursor(NOW, "ep_1")) == (NOW, "ep_1")


def _token(document: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "token",
    [
        "",
        "x",
        "garbage!",
        "\N{SNOWMAN}",
        encode_cursor(NOW, "ep_1") + "!",
        encode_cursor(NOW, ""),
        encode_cursor(NOW, "a/b"),
        encode_cursor(NOW, "__x__"),
        encode_cursor(NOW, "."),
        encode_cursor(NOW, ".."),
        encode_cursor(NOW, "a" * 2000),
        _token({}),
        _token([]),
        _token(["2026-01-04T12:00:00+00:00"]),
        _token([7, "ep_1"]),
        _token(["today", "ep_1"]),
        _token(["0001-01-01T00:00:00+23:00", "ep_1"]),
        _token(["9999-12-31T23:59:59-23:00", "ep_1"]),
        _token([NOW.isoformat(), {"a": 1}]),
        _token([NOW.isoformat(), "\ud800"]),
        _token([NOW.replace(tzinfo=None).isoformat(), "ep_1"]),
        base64.urlsafe_b64encode(b"[" * 5000).decode().rstrip("="),
    ],
)
def test_a_forged_page_token_is_refused(token: str) -> None:
    with pytest.raises(ProblemError) as caught:
        decode_cursor(token)
    assert caught.value.type.code == "request.page_token_invalid"
    assert caught.value.errors[0].path == "page_token"
