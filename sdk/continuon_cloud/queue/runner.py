"""Driving queued items to their end."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from continuon.contracts.episodes import EpisodeStatus, FileSpec, SignedUrlRequest, UploadMetadata
from continuon_cloud.errors import ApiProblem, ClientError, QueueError
from continuon_cloud.queue.backoff import RateLimit, backoff_s, seconds_to_wait
from continuon_cloud.queue.failures import (
    Failure,
    GrantRefused,
    Halt,
    ObjectExists,
    PermanentFailure,
    TemporaryFailure,
    from_client_error,
)
from continuon_cloud.queue.faults import FaultPoint, reach
from continuon_cloud.queue.lock import Lock, QueueBusyError
from continuon_cloud.queue.records import Packaging, State
from continuon_cloud.queue.transfer import DEFAULT_CHUNK_BYTES, Transfer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import httpx

    from continuon.contracts.episodes import Episode
    from continuon_cloud.client import ContinuonClient
    from continuon_cloud.queue.records import FilePlan, FileTask, ItemPlan, QueueItem
    from continuon_cloud.queue.store import QueueStore

__all__ = ["Observer", "RunOptions", "Runner", "upload_request"]

_MAX_RENEWALS: Final = 2
"""New URLs asked for in one attempt before the store's refusal is believed."""

_EXPIRY_MARGIN_S: Final = 30.0
"""URLs are renewed this long before they end, so that none ends under way."""

_FIRST_POLL_S: Final = 0.25
_LAST_POLL_S: Final = 5.0
_POLL_GROWTH: Final = 1.6
"""Each poll costs an invocation and a few document operations, so their number stays small."""

_BUSY_POLL_S: Final = 0.2
_TO_UPLOAD: Final = frozenset({State.QUEUED, State.REQUESTED, State.UPLOADING})
_MANIFEST: Final = "metadata.json"
_SETTLED: Final = "episode.settled"
"""The service's code for an episode that was judged before."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a run behaves.

    Attributes:
        concurrency: Episodes at once, and requests at once.
        rate_bytes_per_s: Of all transfers together; None for no limit.
        chunk_bytes: Of a resumable upload; a multiple of 256 KiB.
        wait_for_verdict: Stay until the service has judged, not only stored.
        verdict_timeout_s: How long to wait for that.
        max_attempts: Failures in a row after which an item is left for a later run; None: never.
        max_wait_s: An item whose next attempt is further away is left for a later run.
    """

    concurrency: int = 4
    rate_bytes_per_s: float | None = None
    chunk_bytes: int = DEFAULT_CHUNK_BYTES
    wait_for_verdict: bool = True
    verdict_timeout_s: float = 60.0
    max_attempts: int | None = 6
    max_wait_s: float = 60.0


class Observer(Protocol):
    """Is told what happens; must not raise."""

    def progressed(self, item: QueueItem, file: FileTask, sent_bytes: int) -> None:
        """``sent_bytes`` of ``file`` are under way or confirmed; it may go back after a break."""

    def changed(self, item: QueueItem) -> None:
        """``item`` is in another state, or met a problem."""


class Runner:
    """Takes items from one state to the next until they are final, or left for later."""

    def __init__(
        self,
        store: QueueStore,
        *,
        http: httpx.AsyncClient,
        client_of: Callable[[str], ContinuonClient],
        lock_of: Callable[[str], Lock],
        options: RunOptions,
        observer: Observer | None = None,
    ) -> None:
        self._store = store
        self._http = http
        self._client_of = client_of
        self._lock_of = lock_of
        self._options = options
        self._observer = observer
        self._limit = RateLimit(options.rate_bytes_per_s)
        self._items = asyncio.Semaphore(options.concurrency)
        self._requests = asyncio.Semaphore(options.concurrency)

    async def run(self, item_ids: Sequence[str]) -> None:
        """Work on these items until each is final or left for a later run."""
        await asyncio.gather(*(self._drive(item_id) for item_id in item_ids))

    async def _drive(self, item_id: str) -> None:
        while True:
            item = self._store.find_item(item_id)
            if item is None or item.state.is_final:
                return
            if item.state is State.UPLOADED:
                await self._await_verdict(item)
                return
            wait_s = seconds_to_wait(item.next_attempt_at, time.time())
            if wait_s > self._options.max_wait_s:
                return
            await asyncio.sleep(wait_s)
            if not await self._take_turn(item_id):
                return

    async def _take_turn(self, item_id: str) -> bool:
        """Try once, unless another process is at it; tell whether this run goes on."""
        try:
            async with self._items:
                with self._lock_of(item_id):
                    item = self._store.find_item(item_id)
                    if item is None or item.state not in _TO_UPLOAD:
                        return True
                    return await self._attempt(item)
        except QueueBusyError:
            await asyncio.sleep(_BUSY_POLL_S)
            return True

    async def _attempt(self, item: QueueItem) -> bool:
        """Try to upload; tell whether this run goes on with the item."""
        try:
            await self._upload(item)
        except (PermanentFailure, GrantRefused, ObjectExists) as failure:
            self._store.set_aside(item.item_id, failure.problem)
        except Halt as failure:
            self._postpone(item.item_id, failure, delay_s=0.0)
            self._tell(item.item_id)
            return False
        except TemporaryFailure as failure:
            attempts = self._store.item(item.item_id).attempts + 1
            self._postpone(
                item.item_id,
                failure,
                delay_s=backoff_s(attempts, retry_after_s=failure.retry_after_s),
            )
            self._tell(item.item_id)
            most = self._options.max_attempts
            return most is None or attempts < most
        self._tell(item.item_id)
        return True

    def _postpone(self, item_id: str, failure: Failure, *, delay_s: float) -> None:
        self._store.postponed(
            item_id,
            attempts=self._store.item(item_id).attempts + 1,
            next_attempt_at=time.time() + delay_s,
            problem=failure.problem,
        )

    async def _upload(self, item: QueueItem) -> None:
        if self._must_ask(item) and await self._ask(item):
            self._complete(item)
            return
        for renewal in range(_MAX_RENEWALS + 1):
            try:
                await self._send_all(item)
                break
            except (GrantRefused, ObjectExists) as failure:
                # After a crash the store may have the object and the queue not know it: the
                # service looks, and says so in its answer.
                if renewal == _MAX_RENEWALS:
                    raise _believed(failure) from failure
                if await self._ask(item):
                    break
        self._complete(item)

    def _must_ask(self, item: QueueItem) -> bool:
        if item.state is State.QUEUED or item.urls_expire_at < time.time() + _EXPIRY_MARGIN_S:
            return True
        # A request that broke may have been complete: asking costs less than sending again. A
        # session answers that itself.
        files = self._store.files(item.item_id)
        return item.state is State.UPLOADING and any(
            not file.done and file.session_uri is None for file in files
        )

    def _complete(self, item: QueueItem) -> None:
        spool = item.spool
        self._store.uploaded(item.item_id)
        reach(FaultPoint.UPLOAD_SAVED)
        if spool is not None:
            spool.unlink(missing_ok=True)
        reach(FaultPoint.SPOOL_FREED)

    async def _ask(self, item: QueueItem) -> bool:
        """Ask for URLs; True when the service has this very episode already."""
        files = self._store.files(item.item_id)
        try:
            async with self._requests:
                answer = await self._client_of(item.robot_id).signed_url(
                    upload_request(item, files)
                )
        except ApiProblem as error:
            if error.code == _SETTLED and await self._is_ours(item, files):
                return True
            raise from_client_error(error) from error
        except ClientError as error:
            raise from_client_error(error) from error
        try:
            reach(FaultPoint.URLS_GRANTED)
            self._store.granted(item, answer)
        except QueueError as error:
            raise PermanentFailure(
                {
                    "code": error.code,
                    "title": str(error),
                    "detail": "",
                    "status": None,
                    "errors": [],
                }
            ) from error
        reach(FaultPoint.URLS_SAVED)
        self._tell(item.item_id)
        return False

    async def _is_ours(self, item: QueueItem, files: Sequence[FileTask]) -> bool:
        """Tell whether the settled episode of this id has this content.

        It does when the queue died between the last byte and noting it, or lost its file.
        """
        episode, failure = await self._poll(item)
        if failure is not None:
            raise failure
        expected = item.digest if item.packaging is Packaging.FILES else files[0].sha256
        return (
            episode is not None and episode.robot_id == item.robot_id and episode.sha256 == expected
        )

    async def _send_all(self, item: QueueItem) -> None:
        files = [file for file in self._store.files(item.item_id) if not file.done]
        if not files:
            return
        self._store.move(item.item_id, State.UPLOADING)
        transfer = Transfer(
            item.item_id,
            store=self._store,
            http=self._http,
            limit=self._limit,
            chunk_bytes=self._options.chunk_bytes,
            on_progress=lambda file, sent: self._progress(item, file, sent),
        )
        # The manifest last: whoever sees it sees the whole episode.
        await self._send_some(transfer, [file for file in files if file.path != _MANIFEST])
        await self._send_some(transfer, [file for file in files if file.path == _MANIFEST])

    async def _send_some(self, transfer: Transfer, files: Sequence[FileTask]) -> None:
        async def send(file: FileTask) -> None:
            async with self._requests:
                await transfer.send(file)

        # All are heard out: cancelling the others would throw away bytes under way.
        results = await asyncio.gather(*(send(file) for file in files), return_exceptions=True)
        errors = [result for result in results if isinstance(result, BaseException)]
        if errors:
            raise min(errors, key=_severity)

    async def _await_verdict(self, item: QueueItem) -> None:
        if not self._options.wait_for_verdict:
            return
        deadline = time.monotonic() + self._options.verdict_timeout_s
        pause_s = _FIRST_POLL_S
        while True:
            episode, failure = await self._poll(item)
            if episode is not None and episode.status is not EpisodeStatus.RAW:
                self._keep_verdict(item, episode)
                return
            if isinstance(failure, Halt) or time.monotonic() + pause_s > deadline:
                break
            await asyncio.sleep(pause_s)
            pause_s = min(_LAST_POLL_S, pause_s * _POLL_GROWTH)
        if failure is not None:
            self._postpone(item.item_id, failure, delay_s=0.0)
        self._tell(item.item_id)

    async def _poll(self, item: QueueItem) -> tuple[Episode | None, Failure | None]:
        # No refusal sets an uploaded item aside: its verdict can be asked for at any later time.
        try:
            async with self._requests:
                return await self._client_of(item.robot_id).episode(item.episode_id), None
        except ClientError as error:
            return None, from_client_error(error)

    def _keep_verdict(self, item: QueueItem, episode: Episode) -> None:
        reach(FaultPoint.VERDICT_KNOWN)
        rejected = episode.status is EpisodeStatus.REJECTED
        self._store.verdict(
            item.item_id,
            State.REJECTED if rejected else State.VALIDATED,
            training_eligible=episode.training_eligible,
            quality=episode.quality,
            findings=episode.problems,
        )
        reach(FaultPoint.VERDICT_SAVED)
        self._tell(item.item_id)

    def _tell(self, item_id: str) -> None:
        if self._observer is not None:
            self._observer.changed(self._store.item(item_id))

    def _progress(self, item: QueueItem, file: FileTask, sent_bytes: int) -> None:
        if self._observer is not None:
            self._observer.progressed(item, file, sent_bytes)


def upload_request(
    item: QueueItem | ItemPlan, files: Sequence[FileTask | FilePlan]
) -> SignedUrlRequest:
    """Build the request for an item's URLs.

    Raises:
        pydantic.ValidationError: A file's name is not in the episode layout, or there are too many.
    """
    metadata = UploadMetadata.model_validate(item.metadata)
    if item.packaging is Packaging.FILES:
        specs = [
            FileSpec(
                path=file.path,
                size_bytes=file.size_bytes,
                sha256=file.sha256,
                content_type=file.content_type,
            )
            for file in files
        ]
        return SignedUrlRequest(
            robot_id=item.robot_id,
            episode_id=item.episode_id,
            metadata=metadata,
            files=specs,
            resumable=item.resumable,
        )
    (file,) = files
    return SignedUrlRequest(
        robot_id=item.robot_id,
        episode_id=item.episode_id,
        metadata=metadata,
        content_type=file.content_type,
        size_bytes=file.size_bytes,
        sha256=file.sha256,
        resumable=item.resumable,
    )


def _believed(failure: Failure) -> Failure:
    if isinstance(failure, GrantRefused) and failure.expired:
        # Fresh URLs that are old on arrival: a clock is wrong somewhere, and clocks get set.
        return TemporaryFailure(failure.problem)
    return PermanentFailure(failure.problem)


def _severity(error: BaseException) -> int:
    order = (Halt, PermanentFailure, ObjectExists, GrantRefused, TemporaryFailure)
    return order.index(type(error)) if type(error) in order else -1
