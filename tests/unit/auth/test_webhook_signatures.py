"""Callbacks that are to be believed, and everything that is made to look like one."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime, timedelta

import pytest

from continuon.auth.webhooks import WebhookError, sign_webhook
from continuon_cloud import verify_webhook

NOW = datetime(2026, 11, 21, 20, 0, tzinfo=UTC)
BODY = b'{"job":{"job_id":"job_1"}}'
SECRET = "whsec_one"
OTHER = "whsec_two"


def signed(*secrets: str, body: bytes = BODY, at: datetime = NOW) -> dict[str, str]:
    return sign_webhook(
        secrets or (SECRET,),
        timestamp=int(at.timestamp()),
        delivery_id="dlv_1",
        event="training.job.completed",
        body=body,
    )


def refusal(headers: dict[str, str], body: bytes = BODY) -> str:
    with pytest.raises(WebhookError) as caught:
        verify_webhook(headers, body, SECRET, now=NOW)
    return caught.value.code


def test_a_callback_of_the_cloud_is_believed_and_names_its_delivery() -> None:
    assert verify_webhook(signed(), BODY, SECRET, now=NOW) == "dlv_1"


def test_the_signature_is_the_documented_one() -> None:
    text = f"{int(NOW.timestamp())}.dlv_1.".encode() + BODY
    expected = hmac.new(SECRET.encode(), text, hashlib.sha256).hexdigest()
    assert signed()["Continuon-Signature"] == f"v1={expected}"


def test_case_of_header_names_does_not_matter() -> None:
    headers = {name.lower(): value for name, value in signed().items()}
    assert verify_webhook(headers, BODY, SECRET, now=NOW) == "dlv_1"


@pytest.mark.parametrize("secret", [SECRET, OTHER])
def test_both_secrets_work_while_one_is_being_replaced(secret: str) -> None:
    assert verify_webhook(signed(OTHER, SECRET), BODY, secret, now=NOW) == "dlv_1"


def test_a_changed_body_is_refused() -> None:
    assert refusal(signed(), BODY.replace(b"job_1", b"job_2")) == "webhook.signature_invalid"


def test_a_signature_under_another_secret_is_refused() -> None:
    assert refusal(signed(OTHER)) == "webhook.signature_invalid"


@pytest.mark.parametrize("name", ["Continuon-Timestamp", "Continuon-Delivery"])
def test_what_is_signed_cannot_be_replaced(name: str) -> None:
    changed = {"Continuon-Timestamp": str(int(NOW.timestamp()) + 1), "Continuon-Delivery": "dlv_2"}
    assert refusal(signed() | {name: changed[name]}) == "webhook.signature_invalid"


def test_delivery_and_timestamp_cannot_be_shifted_into_each_other() -> None:
    headers = signed()
    moved = {"Continuon-Timestamp": "1", "Continuon-Delivery": "7.dlv_1"}
    assert refusal(headers | moved) == "webhook.malformed"


@pytest.mark.parametrize("seconds", [-301, 301])
def test_a_replay_of_an_old_callback_is_refused(seconds: int) -> None:
    headers = signed(at=NOW + timedelta(seconds=seconds))
    assert refusal(headers) == "webhook.too_old"


@pytest.mark.parametrize("seconds", [-300, 0, 300])
def test_clocks_may_differ_by_five_minutes(seconds: int) -> None:
    headers = signed(at=NOW + timedelta(seconds=seconds))
    assert verify_webhook(headers, BODY, SECRET, now=NOW) == "dlv_1"


@pytest.mark.parametrize("value", ["", "v1=", "v1", "v2=abc", ",,,", "v1=é", "x" * 10_000])
def test_no_signature_is_no_signature(value: str) -> None:
    assert refusal(signed() | {"Continuon-Signature": value}) == "webhook.signature_invalid"


@pytest.mark.parametrize("value", ["", "-1", "1e3", "9" * 40, "٣", "12 "])
def test_a_malformed_timestamp_is_refused(value: str) -> None:
    assert refusal(signed() | {"Continuon-Timestamp": value}) == "webhook.malformed"


def test_a_request_without_any_header_is_refused() -> None:
    assert refusal({}) == "webhook.malformed"
