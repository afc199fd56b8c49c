"""Where a callback may go: judged by its text, and again by its address."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from continuon import limits
from continuon.errors import ProblemError
from continuon_training.webhooks.records import SecretsRecord
from continuon_training.webhooks.rules import (
    Target,
    check_url,
    is_public,
    next_attempt,
    refused_addresses,
)
from continuon_training.webhooks.secrets_of import rotated, valid

NOW = datetime(2026, 11, 21, 20, 0, tzinfo=UTC)
ALLOWED = frozenset({"127.0.0.1", "receiver.lab.local"})


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://example.com", Target("example.com", 443, is_tls=True, is_allowed=False)),
        ("https://Example.com/a?b=c", Target("example.com", 443, is_tls=True, is_allowed=False)),
        ("https://example.com.:8443/", Target("example.com", 8443, is_tls=True, is_allowed=False)),
        ("https://93.184.216.34/", Target("93.184.216.34", 443, is_tls=True, is_allowed=False)),
        ("http://127.0.0.1:9000/x", Target("127.0.0.1", 9000, is_tls=False, is_allowed=True)),
        (
            "https://receiver.lab.local/x",
            Target("receiver.lab.local", 443, is_tls=True, is_allowed=True),
        ),
    ],
)
def test_a_usable_address_is_taken_apart(url: str, target: Target) -> None:
    assert check_url(url, ALLOWED) == target


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "https://",
        "https:///path",
        "https://user@example.com/",
        "https://user:secret@example.com/",
        "https://example.com/#fragment",
        "https://example.com:22/",
        "https://example.com:99999/",
        "https://example.com:x/",
        "https://exa mple.com/",
        "https://example.com\\@127.0.0.1/",
        "https://example.com/\r\nHost: other",
        "https://exämple.com/",
        "https://[::1/",
        "https://localhost/",
        "https://LOCALHOST./",
        "https://metadata.google.internal/computeMetadata/v1/",
        "https://printer.local/",
        "https://intranet/",
        "https://127.0.0.1:443@example.com:22/",
        "https://127.0.0.2/",
        "https://10.0.0.1/",
        "https://172.16.0.1/",
        "https://192.168.1.1/",
        "https://169.254.169.254/latest/meta-data/",
        "https://100.64.0.1/",
        "https://0.0.0.0/",
        "https://255.255.255.255/",
        "https://224.0.0.1/",
        "https://[::1]/",
        "https://[::]/",
        "https://[fe80::1]/",
        "https://[fd00:ec2::254]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::ffff:a9fe:a9fe]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[2002:7f00:1::]/",
    ],
)
def test_an_address_that_must_not_be_called_is_refused(url: str) -> None:
    with pytest.raises(ProblemError) as caught:
        check_url(url, ALLOWED)
    assert caught.value.type.code == "webhook.url_refused"
    assert [one.path for one in caught.value.errors] == ["callback_url"]


@pytest.mark.parametrize("text", ["8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8"])
def test_addresses_of_the_open_internet_are_public(text: str) -> None:
    assert is_public(text)


@pytest.mark.parametrize(
    "text",
    ["", "example.com", "127.0.0.1", "fe80::1%eth0", "::ffff:10.0.0.1", "2001:0:7f00:1::80ff:fffe"],
)
def test_everything_else_is_not(text: str) -> None:
    assert not is_public(text)


def test_one_private_address_among_public_ones_is_enough_to_refuse() -> None:
    target = check_url("https://example.com/", ALLOWED)
    assert refused_addresses(["8.8.8.8", "10.0.0.1"], target) == ["10.0.0.1"]
    assert refused_addresses(["8.8.8.8"], target) == []


def test_an_allowed_host_may_be_private_but_never_the_metadata_server() -> None:
    target = check_url("https://receiver.lab.local/", ALLOWED)
    assert refused_addresses(["10.0.0.1", "127.0.0.1", "::1"], target) == []
    hidden = ["169.254.169.254", "::ffff:169.254.169.254", "fe80::1", "nonsense"]
    assert refused_addresses(hidden, target) == hidden


def test_pauses_grow_until_the_delivery_is_given_up() -> None:
    pauses = []
    attempts = 1
    while (again := next_attempt(attempts, NOW)) is not None:
        pauses.append((again - NOW).total_seconds())
        attempts += 1
    assert pauses == sorted(pauses)
    assert attempts == len(limits.WEBHOOK_BACKOFF_S) + 1
    assert timedelta(hours=20) < timedelta(seconds=sum(pauses)) < timedelta(days=2)


# --- Secrets ------------------------------------------------------------------------------------


def test_a_replaced_secret_signs_for_a_day_next_to_the_new_one() -> None:
    first = rotated(SecretsRecord(owner_id="olivia"), NOW)
    second = rotated(first, NOW)
    assert [key.secret for key in valid(second, NOW)] == [
        second.keys[0].secret,
        first.keys[0].secret,
    ]
    later = NOW + timedelta(seconds=limits.WEBHOOK_SECRET_OVERLAP_S)
    assert valid(second, later) == [second.keys[0]]


def test_replacing_twice_does_not_give_the_first_secret_more_time() -> None:
    first = rotated(SecretsRecord(owner_id="olivia"), NOW)
    second = rotated(first, NOW)
    third = rotated(second, NOW + timedelta(hours=1))
    ends = [key.expires_at for key in third.keys]
    assert ends == [None, NOW + timedelta(hours=25), NOW + timedelta(hours=24)]


def test_secrets_do_not_pile_up_and_are_all_different() -> None:
    record = SecretsRecord(owner_id="olivia")
    seen = set()
    for _ in range(6):
        record = rotated(record, NOW)
        seen.add(record.keys[0].secret)
    assert len(record.keys) == limits.WEBHOOK_MAX_SECRETS
    assert len(seen) == 6
