"""The upload queue of one home folder, as the rest of the client uses it."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final, Self

from pydantic import ValidationError

from continuon_cloud.client import ContinuonClient
from continuon_cloud.errors import (
    EpisodeSourceError,
    IdentityMissingError,
    QueueError,
    SettingsError,
)
from continuon_cloud.files import private_folder
from continuon_cloud.identity import RobotHome
from continuon_cloud.queue.faults import FaultPoint, reach
from continuon_cloud.queue.lock import Lock, QueueBusyError
from continuon_cloud.queue.packing import Spool
from continuon_cloud.queue.records import Added, FileTask, ItemPlan, Packaging, QueueItem, State
from continuon_cloud.queue.runner import Observer, Runner, RunOptions, upload_request
from continuon_cloud.queue.sources import read_source
from continuon_cloud.queue.store import QueueStore
from continuon_cloud.transport import new_http

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import httpx

    from continuon_cloud.queue.records import FilePlan
    from continuon_cloud.queue.sources import Source
    from continuon_cloud.settings import Settings

__all__ = ["DEFAULT_SPOOL_BYTES", "UploadQueue"]

DEFAULT_SPOOL_BYTES: Final = 20 * 1024**3
"""What packed archives may occupy while they wait: two episodes of the largest size."""

_ADD_TIMEOUT_S: Final = 600.0
"""Adding waits for another process that is packing; ten minutes is a very large episode."""


class UploadQueue:
    """Episodes on their way to the cloud. Safe to kill at any moment; use as a context manager."""

    def __init__(self, settings: Settings, *, spool_bytes: int | None = None) -> None:
        """Open the queue under ``settings.home``.

        Raises:
            QueueError: Its file cannot be used.
        """
        self._settings = settings
        self._folder = settings.home / "queue"
        self._store = QueueStore(self._folder)
        private_folder(self._folder / "locks")
        self._spool = Spool(
            self._folder / "spool",
            limit_bytes=spool_bytes if spool_bytes is not None else _spool_bytes(),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the queue's file."""
        self._store.close()

    def add(
        self,
        path: Path,
        *,
        robot_id: str | None = None,
        packaging: Packaging = Packaging.OBJECT,
        resumable: bool = False,
    ) -> Added:
        """Queue the episode at ``path``; content the queue has already is not added again.

        Args:
            path: A folder, an archive or a document.
            robot_id: Whose episode it is; left out, the robot its metadata names when that one
                lives in this home, else the only one here.
            packaging: How a folder travels.
            resumable: Ask for resumable sessions whatever the size.

        Raises:
            IdentityMissingError: No robot was named, and there is none or several.
            EpisodeSourceError: ``path`` is no episode, forbids its upload, changes, or does not fit
                the spool.
            QueueBusyError: Another process has been packing for ten minutes.
        """
        source = read_source(path)
        cloud = self._settings.base_url
        robot_id = robot_id or self._robot_of(source)
        with Lock(self._folder / "add.lock", timeout_s=_ADD_TIMEOUT_S):
            self._spool.collect(self._store.spools())
            present = self._store.find(cloud, robot_id, source.digest)
            if present is not None:
                return Added(present, duplicate=True)
            plan = self._plan(source, robot_id, packaging, resumable=resumable)
            item = self._store.add(plan)
        reach(FaultPoint.ITEM_ADDED)
        return Added(item, duplicate=False)

    def items(self) -> list[QueueItem]:
        """Return the items bound for this cloud, oldest first."""
        return self._store.items(self._settings.base_url)

    def item(self, item_id: str) -> QueueItem:
        """Return one item.

        Raises:
            QueueError: ``queue.not_found``.
        """
        return self._store.item(item_id)

    def files(self, item_id: str) -> list[FileTask]:
        """Return the files of one item and how far each is."""
        return self._store.files(item_id)

    def retry(self, item_id: str) -> QueueItem:
        """Have an item tried again that was set aside or waits for a later attempt.

        Raises:
            QueueError: There is no such item, or its upload is finished.
        """
        item = self._store.item(item_id)
        if item.state in {State.UPLOADED, State.VALIDATED, State.REJECTED}:
            raise QueueError(
                f"{item_id} is {item.state.value}: there is nothing to try again",
                hint="To send the same content anew: continuon queue forget, then upload.",
            )
        self._store.retry(item_id)
        return self._store.item(item_id)

    def forget(self, item_id: str) -> QueueItem:
        """Remove an item and its spooled archive; what the cloud has stays there.

        Raises:
            QueueError: There is no such item.
            QueueBusyError: It is being uploaded right now.
        """
        with self._lock_of(item_id):
            item = self._store.item(item_id)
            self._store.forget(item_id)
        if item.spool is not None:
            item.spool.unlink(missing_ok=True)
        self._lock_path(item_id).unlink(missing_ok=True)
        return item

    async def run(
        self,
        item_ids: Sequence[str] | None = None,
        *,
        options: RunOptions | None = None,
        observer: Observer | None = None,
    ) -> list[QueueItem]:
        """Upload these items (or all that are not finished) and return how they stand.

        Several processes may run at once: each item is with one of them at a time.
        """
        self._collect()
        chosen = list(item_ids) if item_ids is not None else self._unfinished()
        async with new_http() as http:
            runner = Runner(
                self._store,
                http=http,
                client_of=_Clients(self._settings, http),
                lock_of=self._lock_of,
                options=options or RunOptions(),
                observer=observer,
            )
            await runner.run(chosen)
        found = [self._store.find_item(item_id) for item_id in chosen]
        return [item for item in found if item is not None]

    def _collect(self) -> None:
        # Under the lock of adding: an archive that is being added is not in the queue yet.
        with contextlib.suppress(QueueBusyError), Lock(self._folder / "add.lock"):
            self._spool.collect(self._store.spools())
            for item in self._store.items():
                if item.state.is_final:
                    self._lock_path(item.item_id).unlink(missing_ok=True)

    def _lock_path(self, item_id: str) -> Path:
        return self._folder / "locks" / f"{item_id}.lock"

    def _lock_of(self, item_id: str) -> Lock:
        return Lock(self._lock_path(item_id))

    def _robot_of(self, source: Source) -> str:
        robots = RobotHome(self._settings.home)
        if source.robot_id in robots.ids():
            return source.robot_id
        return robots.load().robot_id

    def _unfinished(self) -> list[str]:
        return [item.item_id for item in self.items() if not item.state.is_final]

    def _plan(
        self, source: Source, robot_id: str, packaging: Packaging, *, resumable: bool
    ) -> ItemPlan:
        spool: Path | None = None
        files: tuple[FilePlan, ...] = source.files
        if packaging is Packaging.FILES and not source.is_folder:
            raise EpisodeSourceError(
                f"{source.path} is one file; only a folder can be sent as files",
                code="source.not_a_folder",
            )
        if source.is_folder and packaging is Packaging.OBJECT:
            files = (self._spool.pack(source),)
            spool = files[0].source
        plan = ItemPlan(
            cloud=self._settings.base_url,
            robot_id=robot_id,
            episode_id=source.episode_id,
            digest=source.digest,
            packaging=packaging,
            source=source.path,
            spool=spool,
            files=files,
            resumable=resumable,
            metadata=source.metadata,
        )
        _refuse_unsendable(plan)
        return plan


class _Clients:
    """One client for each robot: with its key where this home has it, else as its owner."""

    def __init__(self, settings: Settings, http: httpx.AsyncClient) -> None:
        self._settings = settings
        self._http = http
        self._robots = RobotHome(settings.home)
        self._made: dict[str, ContinuonClient] = {}

    def __call__(self, robot_id: str) -> ContinuonClient:
        if robot_id not in self._made:
            try:
                robot = self._robots.load(robot_id)
            except IdentityMissingError:
                robot = None
            self._made[robot_id] = ContinuonClient(self._settings, robot=robot, http=self._http)
        return self._made[robot_id]


def _refuse_unsendable(plan: ItemPlan) -> None:
    try:
        upload_request(plan, plan.files)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise EpisodeSourceError(
            f"{plan.source} cannot be sent {plan.packaging.value}: {where}: {first['msg']}",
            code="source.layout",
            hint="Use --as archive, or remove what does not belong to the episode.",
        ) from error


def _spool_bytes() -> int:
    text = os.environ.get("CONTINUON_SPOOL_BYTES")
    if not text:
        return DEFAULT_SPOOL_BYTES
    if not text.isdigit():
        raise SettingsError("CONTINUON_SPOOL_BYTES must be a number of bytes")
    return int(text)
