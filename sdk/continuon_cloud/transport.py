"""Requests to the API: proven, timed out, and answered in types or typed errors."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

import httpx
from pydantic import ValidationError

from continuon.auth.problems import SIGNATURE_EXPIRED
from continuon.contracts.problems import Problem
from continuon.limits import SIGNATURE_WINDOW_S
from continuon_cloud.errors import ApiProblem, UnreachableError

if TYPE_CHECKING:
    from continuon_cloud.accounts import Accounts
    from continuon_cloud.identity import RobotIdentity

__all__ = [
    "Prover",
    "RobotProver",
    "Transport",
    "new_http",
    "seconds_until_retry",
    "token_prover",
    "user_prover",
]

TIMEOUT: Final = httpx.Timeout(30.0, connect=10.0)
"""Every request: ten seconds to connect, thirty without a byte. A cold start takes a few."""

MAX_RETRY_AFTER_S: Final = 3600.0
"""What a ``Retry-After`` is cut to: an hour; a server's mistake must not silence a robot."""

_GET_ATTEMPTS: Final = 3
_PATIENCE_S: Final = 5.0
"""A read waits at most this long before its next attempt; a person is watching."""

_MAX_SHOWN_BODY: Final = 200

Prover = Callable[[str, str, bytes, Mapping[str, str]], Awaitable[Mapping[str, str]]]
"""Makes the headers that prove who calls, from method, target, body and headers."""


def new_http() -> httpx.AsyncClient:
    """Return a client with this package's timeouts, which follows no redirect.

    A redirect would carry a proof to an address that nobody chose.
    """
    _keep_secrets_out_of_logs()
    return httpx.AsyncClient(timeout=TIMEOUT, follow_redirects=False)


class _WithoutSecrets(logging.Filter):
    """Keeps signed URLs and headers out of what the HTTP libraries log.

    At INFO, httpx logs whole URLs: a signed one is a key to the store for an hour. At DEBUG,
    httpcore logs headers, of which one is a session's address.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Shorten URLs to what is before the query; drop records that carry headers."""
        if isinstance(record.args, tuple):
            record.args = tuple(
                str(one.copy_with(query=None)) if isinstance(one, httpx.URL) else one
                for one in record.args
            )
        return not str(record.msg).startswith("receive_response_headers.complete")


_FILTER: Final = _WithoutSecrets()


def _keep_secrets_out_of_logs() -> None:
    for name in ("httpx", "httpcore.http11", "httpcore.http2"):
        # Adding the same filter again changes nothing.
        logging.getLogger(name).addFilter(_FILTER)


class RobotProver:
    """Proves the robot: every call signs anew, with the present time and a fresh nonce.

    A robot without a clock battery wakes up in the past and would be refused for ever. It learns
    the service's time from a refusal and signs by that; the service's window and its spent nonces
    stay what protects against replays.
    """

    def __init__(self, identity: RobotIdentity) -> None:
        self._identity = identity
        self._offset = timedelta(0)

    async def __call__(
        self, method: str, target: str, body: bytes, headers: Mapping[str, str]
    ) -> Mapping[str, str]:
        """Return the headers to add."""
        now = _now() + self._offset
        return self._identity.sign(method, target, body, headers=headers, now=now)

    def learn(self, error: ApiProblem) -> bool:
        """Correct the clock after a refusal for its sake; tell whether that changes anything."""
        if error.code != SIGNATURE_EXPIRED.code or error.server_time is None:
            return False
        offset = error.server_time - _now()
        changed = abs(offset - self._offset) > timedelta(seconds=SIGNATURE_WINDOW_S / 2)
        self._offset = offset
        return changed


def user_prover(accounts: Accounts) -> Prover:
    """Prove the signed-in person by an ID token, renewed when it is about to end."""

    async def prove(
        _method: str, _target: str, _body: bytes, _headers: Mapping[str, str]
    ) -> Mapping[str, str]:
        session = await accounts.current()
        return {"authorization": f"Bearer {session.id_token}"}

    return prove


def token_prover(token: str) -> Prover:
    """Prove by a bearer token that does not change, such as a training job's."""

    async def prove(
        _method: str, _target: str, _body: bytes, _headers: Mapping[str, str]
    ) -> Mapping[str, str]:
        return {"authorization": f"Bearer {token}"}

    return prove


class Transport:
    """Sends API requests for one principal."""

    def __init__(self, http: httpx.AsyncClient, base_url: str, prove: Prover) -> None:
        self._http = http
        self._base_url = base_url
        self._prove = prove

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int | None] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Send one request and return the decoded JSON answer (None for 204).

        Reads are tried up to three times when the service is out of reach or asks for patience;
        anything that changes something is sent once, and its caller decides.

        Args:
            method: Of HTTP.
            path: Below the cloud's address.
            query: Parameters; those that are None are left out.
            body: Sent as JSON.
            headers: Added to the request's own, such as ``idempotency-key``.

        Raises:
            ApiProblem: The service refused.
            UnreachableError: No answer, or none that makes sense.
        """
        attempts = _GET_ATTEMPTS if method == "GET" else 1
        for attempt in range(1, attempts + 1):
            try:
                return await self._with_the_right_time(method, path, query, body, headers or {})
            except (ApiProblem, UnreachableError) as error:
                delay = _retry_delay(error, attempt)
                if attempt == attempts or delay is None:
                    raise
            await asyncio.sleep(delay)
        raise AssertionError("the loop returns or raises")

    async def _with_the_right_time(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | int | None] | None,
        body: Any,
        headers: Mapping[str, str],
    ) -> Any:
        try:
            return await self._once(method, path, query, body, headers)
        except ApiProblem as error:
            if not (isinstance(self._prove, RobotProver) and self._prove.learn(error)):
                raise
        return await self._once(method, path, query, body, headers)

    async def _once(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | int | None] | None,
        body: Any,
        extra: Mapping[str, str],
    ) -> Any:
        params = {name: value for name, value in (query or {}).items() if value is not None}
        content = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
        headers = {"accept": "application/json", **extra}
        if content:
            headers["content-type"] = "application/json"
        request = self._http.build_request(
            method, self._base_url + path, params=params or None, headers=headers, content=content
        )
        target = request.url.raw_path.decode("ascii")
        request.headers.update(await self._prove(method, target, content, headers))
        try:
            response = await self._http.send(request)
        except httpx.TransportError as error:
            raise UnreachableError(
                f"{self._base_url} does not answer ({type(error).__name__})",
                hint="Check the address (--url) and the network, then try again.",
            ) from error
        return _decoded(response)


def seconds_until_retry(headers: Mapping[str, str], now: datetime) -> float | None:
    """Read ``Retry-After`` (RFC 9110 section 10.2.3): seconds or a date; None when unreadable."""
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit():
        # A longer number than this is past the cut anyway, and int() has a limit of its own.
        return min(float(text[:12]), MAX_RETRY_AFTER_S)
    moment = _http_date(text)
    if moment is None:
        return None
    return min(max((moment - now).total_seconds(), 0.0), MAX_RETRY_AFTER_S)


def _http_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _now() -> datetime:
    return datetime.now(UTC)


def _decoded(response: httpx.Response) -> Any:
    if response.is_success:
        if not response.content:
            return None
        try:
            return response.json()
        except ValueError as error:
            raise UnreachableError(
                "the answer is not JSON", code="api.malformed", hint="Is --url right?"
            ) from error
    raise ApiProblem(
        _problem(response),
        retry_after_s=seconds_until_retry(response.headers, _now()),
        server_time=_http_date(response.headers.get("date", "")),
    )


def _problem(response: httpx.Response) -> Problem:
    try:
        return Problem.model_validate_json(response.content)
    except ValidationError:
        # A proxy or the platform answered, not the service.
        kind = response.headers.get("content-type", "no type").split(";")[0]
        detail = f"HTTP {response.status_code} with a body of {kind}"
        if kind == "text/plain":
            detail += f": {response.text[:_MAX_SHOWN_BODY]}"
        return Problem(
            type="about:blank",
            title=response.reason_phrase or "The service refused.",
            status=response.status_code,
            detail=detail,
            code=f"http.{response.status_code}",
        )


def _retry_delay(error: ApiProblem | UnreachableError, attempt: int) -> float | None:
    if isinstance(error, ApiProblem):
        if error.status not in {429, 502, 503, 504}:
            return None
        if error.retry_after_s is not None:
            return error.retry_after_s if error.retry_after_s <= _PATIENCE_S else None
    return random.uniform(0, min(_PATIENCE_S, 0.25 * 2**attempt))  # noqa: S311 - jitter
