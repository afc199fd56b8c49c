"""From a file on this machine to a reference that a callback may name, and back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from continuon.contracts.episodes import DownloadFile
from continuon.contracts.training import ArtifactRequest, AssignedBase
from continuon_cloud.download import download_files
from continuon_cloud.errors import ApiProblem, DownloadError, UnreachableError
from continuon_cloud.training.uploads import file_sha256, file_size, store_file

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from continuon.contracts.training import ArtifactKind, AssignedCheckpoint
    from continuon_cloud.training.api import JobApi

    _Assigned = AssignedCheckpoint | AssignedBase
    _Renew = Callable[[], Awaitable[_Assigned | None]]

__all__ = ["fetch_base", "fetch_checkpoint", "store_artifact"]

_REFUSALS: Final = 3
"""Times that a store may refuse a fresh URL: once may be a URL that expired on the way."""


async def store_artifact(
    api: JobApi, path: Path, *, kind: ArtifactKind, step: int | None = None
) -> str:
    """Store a file and return its reference.

    The object's name holds the digest, so that the same content is stored once, however often the
    answer was lost on the way.

    Raises:
        ApiProblem: Refused by the cloud or, three times, by the store.
        StoppedError: Told to stop.
        CloudLostError: No answer for too long.
    """
    sha256, size_bytes = await asyncio.to_thread(lambda: (file_sha256(path), file_size(path)))
    request = ArtifactRequest(
        kind=kind,
        name=f"{path.stem}-{sha256[:12]}{path.suffix}",
        size_bytes=size_bytes,
        sha256=sha256,
        step=step,
    )
    refusals = 0

    async def once() -> str:
        nonlocal refusals
        granted = await api.announce(request)
        try:
            await store_file(api.http, granted.upload, path)
        except ApiProblem as error:
            refusals += 1
            if refusals == _REFUSALS:
                raise
            raise UnreachableError(str(error)) from error
        return granted.ref

    return await api.patience.persist(once)


async def fetch_checkpoint(api: JobApi, checkpoint: AssignedCheckpoint, folder: Path) -> Path:
    """Download the state to go on from, whole and with the digest that was reported.

    Raises:
        DownloadError: It is not what was reported.
        UnreachableError: The network failed too often.
    """

    async def renew() -> AssignedCheckpoint | None:
        return (await api.assignment()).checkpoint

    name = checkpoint.ref.rsplit("/", 1)[-1]
    return await _fetch(api, checkpoint, folder / name, renew, what="the checkpoint")


async def fetch_base(api: JobApi, base: AssignedBase, folder: Path) -> Path:
    """Download the model to start from, whole and with the digest that is registered.

    Raises:
        DownloadError: It is not what is registered.
        UnreachableError: The network failed too often.
        StoppedError: It was deleted meanwhile, and the job failed.
    """

    async def renew() -> AssignedBase | None:
        renewed = (await api.assignment()).model_base
        return renewed if isinstance(renewed, AssignedBase) else None

    return await _fetch(api, base, folder / f"base.{base.format}", renew, what=base.ref)


async def _fetch(api: JobApi, wanted: _Assigned, target: Path, renew: _Renew, *, what: str) -> Path:
    async def files() -> Sequence[DownloadFile]:
        renewed = await renew()
        return [] if renewed is None else [_file(renewed, target.name)]

    first = [_file(wanted, target.name)]
    found = (await download_files(api.http, first, target.parent, renew=files))[0]
    if await asyncio.to_thread(file_sha256, found) != wanted.sha256:
        raise DownloadError(
            f"{what} is not the one that was reported (SHA-256 differs)",
            code="download.corrupt",
        )
    return found


def _file(assigned: _Assigned, name: str) -> DownloadFile:
    return DownloadFile(path=name, url=assigned.url, size_bytes=assigned.size_bytes)
