from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

import httpx
import pytest

from continuon.contracts.problems import Problem
from continuon_cloud.errors import ApiProblem, ClientError, NotSignedInError, UnreachableError
from continuon_cloud.queue.backoff import BACKOFF_CAP_S, RateLimit, backoff_s, seconds_to_wait
from continuon_cloud.queue.failures import (
    Failure,
    GrantRefused,
    Halt,
    ObjectExists,
    PermanentFailure,
    TemporaryFailure,
    from_client_error,
    from_store,
)
from continuon_cloud.transport import MAX_RETRY_AFTER_S, seconds_until_retry

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("Fri, 02 Jan 2026 03:04:15 GMT", 10.0),
        ("Fri, 02 Jan 2026 03:00:00 GMT", 0.0),
        ("Fri, 02 Jan 2026 03:04:15 -0000", 10.0),
        ("99999999999999999999999", MAX_RETRY_AFTER_S),
        ("Fri, 02 Jan 2099 03:04:15 GMT", MAX_RETRY_AFTER_S),
        ("-3", None),
        ("soon", None),
        ("", None),
        ("\u0661", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_date(text: str, seconds: float | None) -> None:
    assert seconds_until_retry({"retry-after": text}, NOW) == seconds


def test_backoff_grows_with_full_jitter_up_to_its_cap() -> None:
    draws = {n: [backoff_s(n) for _ in range(300)] for n in (1, 4, 60)}

    assert max(draws[1]) <= 0.5
    assert max(draws[4]) <= 4.0
    assert max(draws[4]) > 2.0
    assert min(draws[4]) < 1.0
    assert max(draws[60]) <= BACKOFF_CAP_S


def test_retry_after_is_a_floor_with_jitter_on_top() -> None:
    draws = [backoff_s(9, retry_after_s=10) for _ in range(100)]

    assert min(draws) >= 10
    assert max(draws) <= 10 + 0.1 * 128
    assert len(set(draws)) > 1


@pytest.mark.parametrize(
    ("next_attempt_at", "now", "seconds"),
    [(100.0, 90.0, 10.0), (90.0, 100.0, 0.0), (0.0, 1e9, 0.0), (1.8e9, 3600.0, 0.0)],
)
def test_clock_that_was_set_back_makes_no_endless_wait(
    next_attempt_at: float, now: float, seconds: float
) -> None:
    assert seconds_to_wait(next_attempt_at, now) == seconds


def test_rate_limit_spreads_bytes_over_time() -> None:
    async def take() -> float:
        limit = RateLimit(100_000)
        begun = time.monotonic()
        await asyncio.gather(*(limit.take(5_000) for _ in range(4)))
        return time.monotonic() - begun

    assert 0.19 <= asyncio.run(take()) < 1.0


def problem(status: int, code: str = "x.y", retry_after_s: float | None = None) -> ApiProblem:
    return ApiProblem(
        Problem(type="about:blank", title="No.", status=status, detail="d", code=code),
        retry_after_s=retry_after_s,
    )


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (problem(400), PermanentFailure),
        (problem(401), Halt),
        (problem(403), PermanentFailure),
        (problem(408), TemporaryFailure),
        (problem(409, "episode.id_taken"), PermanentFailure),
        (problem(409, "episode.in_progress"), TemporaryFailure),
        (problem(409, "any", retry_after_s=3), TemporaryFailure),
        (problem(422), PermanentFailure),
        (problem(429), TemporaryFailure),
        (problem(500), TemporaryFailure),
        (problem(503), TemporaryFailure),
        (UnreachableError("gone"), TemporaryFailure),
        (NotSignedInError("nobody"), Halt),
    ],
)
def test_refusals_of_the_service_are_sorted_by_what_helps(
    error: ClientError, kind: type[Failure]
) -> None:
    assert type(from_client_error(error)) is kind


@pytest.mark.parametrize(
    ("status", "word", "kind"),
    [
        (400, "ExpiredToken", GrantRefused),
        (400, "EntityTooLarge", GrantRefused),
        (403, "SignatureDoesNotMatch", GrantRefused),
        (404, "NoSuchBucket", PermanentFailure),
        (408, "RequestTimeout", TemporaryFailure),
        (412, "PreconditionFailed", ObjectExists),
        (429, "SlowDown", TemporaryFailure),
        (503, "ServiceUnavailable", TemporaryFailure),
    ],
)
def test_refusals_of_the_store_are_sorted_by_what_helps(
    status: int, word: str, kind: type[Failure]
) -> None:
    body = f"<?xml version='1.0'?><Error><Code>{word}</Code></Error>"
    failure = from_store(httpx.Response(status, text=body))

    assert type(failure) is kind
    assert failure.problem["status"] == status


def test_code_of_the_store_is_kept_in_our_spelling() -> None:
    body = "<Error><Code>SignatureDoesNotMatch</Code></Error>"

    assert from_store(httpx.Response(403, text=body)).problem["code"] == (
        "storage.signature_does_not_match"
    )
