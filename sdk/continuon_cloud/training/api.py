"""What a trainer says to the cloud, with patience: a call is repeated until it is answered."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from continuon.contracts.training import (
    ArtifactRequest,
    ArtifactResponse,
    AssignedEpisodePage,
    Assignment,
    CallbackRequest,
    CallbackResponse,
    HeartbeatRequest,
    HeartbeatResponse,
    LogRequest,
    LogResponse,
    MetricsRequest,
    MetricsResponse,
    ReleaseRequest,
    ReleaseResponse,
    StopReason,
)
from continuon_cloud.errors import ApiProblem, UnreachableError
from continuon_cloud.training.errors import CloudLostError, StoppedError
from continuon_cloud.transport import Transport, token_prover

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import httpx

__all__ = ["GIVE_UP_S", "LOST", "JobApi", "Patience"]

GIVE_UP_S: Final = 900.0
"""How long a trainer goes on without an answer: a router restart or a deployment is over by then,
and a job that is this long unheard of has been given to another worker."""

LOST: Final = "lost"
"""The reason that is nobody's word: the cloud is silent."""

_FIRST_WAIT_S: Final = 0.5
_LONGEST_WAIT_S: Final = 15.0
"""Below the lease: a cloud that is back is told so before it gives the job away."""

_TEMPORARY: Final = frozenset({408, 425, 429})
_NOT_OURS: Final = frozenset({401, 403, 404, 410})
"""The token is of an attempt that was replaced, or of a job that ended or was deleted."""

_SUPERSEDED: Final = "job.superseded"
_CHANGED: Final = "job.changed"
"""Others wrote the job's document at the same moment; the same call succeeds a little later."""

_SERVER_ERROR: Final = 500

_Model = TypeVar("_Model", bound=BaseModel)
_Result = TypeVar("_Result")


class Patience:
    """Repeats what the network broke, until ``give_up_s`` have passed without an answer.

    Args:
        give_up_s: Seconds from the first attempt of a call.
    """

    def __init__(self, give_up_s: float = GIVE_UP_S) -> None:
        self.give_up_s = give_up_s
        self._stopped = asyncio.Event()
        self._reason = ""

    def stop(self, reason: str) -> None:
        """End every wait, now and later, with `StoppedError`. The first reason counts."""
        if not self._stopped.is_set():
            self._reason = reason
            self._stopped.set()

    @property
    def reason(self) -> str | None:
        """Why everything is to end; None while nothing is."""
        return self._reason if self._stopped.is_set() else None

    def check(self) -> None:
        """Go on only while nothing is to end.

        Raises:
            StoppedError: `stop` was called.
            CloudLostError: It was called because the cloud is silent.
        """
        if self.reason == LOST:
            raise _lost(f"no answer for {self.give_up_s:.0f} s")
        if self.reason is not None:
            raise StoppedError(self.reason)

    async def persist(self, call: Callable[[], Awaitable[_Result]]) -> _Result:
        """Return the answer of ``call``, repeated as long as it makes sense.

        Raises:
            ApiProblem: Refused; asking again cannot help.
            StoppedError: The token is no longer good, or `stop` was called.
            CloudLostError: No answer for ``give_up_s``.
        """
        started = time.monotonic()
        attempt = 0
        while True:
            self.check()
            try:
                return await call()
            except (ApiProblem, UnreachableError) as error:
                attempt += 1
                wait_s = _wait_s(error, attempt)
                if time.monotonic() + wait_s - started > self.give_up_s:
                    raise _lost(f"no answer for {self.give_up_s:.0f} s: {error}") from error
            await self.sleep(wait_s)

    async def sleep(self, seconds: float) -> None:
        """Wait, or less long when `stop` is called."""
        try:
            await asyncio.wait_for(self._stopped.wait(), seconds)
        except TimeoutError:
            return


def _lost(message: str) -> CloudLostError:
    return CloudLostError(
        message, hint="The job goes on from its last checkpoint when a worker has it again."
    )


def _wait_s(error: ApiProblem | UnreachableError, attempt: int) -> float:
    """Return how long to wait before the next attempt.

    Raises:
        ApiProblem: There is no sense in one.
        StoppedError: The cloud does not know this attempt any more.
    """
    bound = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2.0 ** min(attempt - 1, 16))
    drawn = random.uniform(bound / 2, bound)  # noqa: S311 - jitter, not a secret
    if isinstance(error, UnreachableError):
        return drawn
    if error.code == _SUPERSEDED:
        raise StoppedError(StopReason.SUPERSEDED.value) from error
    if error.status in _NOT_OURS and not error.code.startswith("http."):
        raise StoppedError("unauthorised") from error
    # A proxy's own 404 or 403, which is no problem document, is an outage like any other.
    temporary = error.status in _TEMPORARY | _NOT_OURS or error.code == _CHANGED
    if temporary or error.status >= _SERVER_ERROR:
        return max(drawn, min(error.retry_after_s or 0.0, _LONGEST_WAIT_S * 4))
    raise error


class JobApi:
    """The calls of one attempt of one job; every one may be repeated without harm.

    Args:
        http: Its own client, or one that others use too.
        api_url: Of the cloud.
        job_id: The job.
        token: The job's.
        patience: How long calls are repeated.
    """

    def __init__(
        self, http: httpx.AsyncClient, api_url: str, job_id: str, token: str, patience: Patience
    ) -> None:
        self.http = http
        self.patience = patience
        self._path = f"/api/v1/training/jobs/{job_id}"
        self._transport = Transport(http, api_url, token_prover(token))

    async def assignment(self) -> Assignment:
        """Return what is to be done."""
        return await self._get("assignment", Assignment)

    async def episodes(self, page_token: str | None = None) -> AssignedEpisodePage:
        """Return a page of the episodes, with URLs that read them."""
        return await self._get("episodes", AssignedEpisodePage, page_token=page_token)

    async def announce(self, request: ArtifactRequest) -> ArtifactResponse:
        """Ask for the right to store one object."""
        return await self._post("artifacts", request, ArtifactResponse)

    async def callback(self, request: CallbackRequest) -> CallbackResponse:
        """Report; a sequence number is applied once."""
        return await self._post("callback", request, CallbackResponse)

    async def heartbeat(self, request: HeartbeatRequest) -> HeartbeatResponse:
        """Say that the worker lives."""
        return await self._post("heartbeat", request, HeartbeatResponse)

    async def metrics(self, request: MetricsRequest) -> MetricsResponse:
        """Store rows of metrics."""
        return await self._post("metrics", request, MetricsResponse)

    async def logs(self, request: LogRequest) -> LogResponse:
        """Store a chunk of the log."""
        return await self._post("logs", request, LogResponse)

    async def release(self, request: ReleaseRequest) -> ReleaseResponse:
        """Give the job back."""
        return await self._post("release", request, ReleaseResponse)

    async def _get(self, name: str, model: type[_Model], **query: str | None) -> _Model:
        async def call() -> _Model:
            path = f"{self._path}/{name}"
            return _read(model, await self._transport.call("GET", path, query=query))

        return await self.patience.persist(call)

    async def _post(self, name: str, body: BaseModel, model: type[_Model]) -> _Model:
        sent = body.model_dump(mode="json", exclude_none=True)

        async def call() -> _Model:
            return _read(
                model, await self._transport.call("POST", f"{self._path}/{name}", body=sent)
            )

        return await self.patience.persist(call)


def _read(model: type[_Model], answer: Any) -> _Model:
    try:
        return model.model_validate(answer)
    except ValidationError as error:
        # A captive portal answers 200 too: not the cloud's word, so asked again.
        raise UnreachableError(
            "the answer has not the promised form", code="api.malformed"
        ) from error
