"""From a file on this machine to a reference that a callback may name, and back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from continuon.contracts.episodes import DownloadFile
from continuon.contracts.training import ArtifactRequest
from continuon_cloud.download import download_files
from continuon_cloud.errors import ApiProblem, DownloadError, UnreachableError
from continuon_cloud.training.uploads import file_sha256, file_size, store_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from continuon.contracts.training import ArtifactKind, AssignedCheckpoint
    from continuon_cloud.training.api import JobApi

__all__ = ["fetch_checkpoint", "store_artifact"]

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
    name = checkpoint.ref.rsplit("/", 1)[-1]

    async def renew() -> Sequence[DownloadFile]:
        renewed = (await api.assignment()).checkpoint
        return [] if renewed is None else [_file(renewed, name)]

    target = (await download_files(api.http, [_file(checkpoint, name)], folder, renew=renew))[0]
    if await asyncio.to_thread(file_sha256, target) != checkpoint.sha256:
        raise DownloadError(
            "the checkpoint is not the one that was reported (SHA-256 differs)",
            code="download.corrupt",
        )
    return target


def _file(checkpoint: AssignedCheckpoint, name: str) -> DownloadFile:
    return DownloadFile(path=name, url=checkpoint.url, size_bytes=checkpoint.size_bytes)
