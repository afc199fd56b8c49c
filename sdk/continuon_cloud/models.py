"""Models from the client's side: registering a version and downloading one."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import httpx

from continuon.contracts.episodes import DownloadFile, SignedUpload
from continuon.contracts.models import (
    CreateModelRequest,
    CreateVersionRequest,
    Lineage,
    VersionStage,
    VersionStatus,
)
from continuon_cloud.download import download_files
from continuon_cloud.errors import (
    ApiProblem,
    DownloadError,
    ModelSourceError,
    UnreachableError,
)
from continuon_cloud.queue.backoff import backoff_s
from continuon_cloud.training.uploads import file_sha256, file_size, store_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from continuon.contracts.models import ModelDownload, ModelVersion, VersionSummary
    from continuon_cloud.client import ContinuonClient
    from continuon_cloud.model_client import ModelClient

__all__ = [
    "DownloadedModel",
    "download_model",
    "model_versions_of_episode",
    "register_model",
]

_UPLOAD_ATTEMPTS: Final = 5
"""New upload URLs for one artifact before a registration gives up."""


async def register_model(
    client: ContinuonClient,
    model_id: str,
    path: Path,
    *,
    robot_model: str | None = None,
    format: str | None = None,  # noqa: A002 - what the API calls it
    stage: VersionStage = VersionStage.PRODUCTION,
    metrics: Mapping[str, float] | None = None,
    requirements: Mapping[str, str] | None = None,
    episode_ids: Sequence[str] = (),
    model_base: str | None = None,
    release_notes: str = "",
    idempotency_key: str | None = None,
) -> ModelVersion:
    """Upload a file as the next version of a model, and return it once the cloud has checked it.

    Calling it again with the same file and the same words finishes what was interrupted, or
    returns the version that was made: no second one appears.

    Args:
        client: Signed in as a person.
        model_id: Of which model it is a version.
        path: One file; pack several into an archive.
        robot_model: Given, the model is made when there is none.
        format: Left out: the file's extension.
        stage: What kind of artifact it is.
        metrics: Named numbers.
        requirements: What is needed to run it.
        episode_ids: What it was trained on.
        model_base: What it was trained on top of: ``models/ID/versions/N``.
        release_notes: For those who choose a version.
        idempotency_key: Left out: derived from everything above.

    Raises:
        ModelSourceError: The file is missing, empty, or of no known format.
        ApiProblem: The service or the store refused.
        UnreachableError: The network failed too often.
    """
    facts = await asyncio.to_thread(_facts, path, format)
    request = CreateVersionRequest.model_validate(
        facts
        | {
            "stage": stage,
            "metrics": dict(metrics or {}),
            "requirements": dict(requirements or {}),
            "lineage": Lineage(episode_ids=list(episode_ids), model_base=model_base),
            "release_notes": release_notes,
        }
    )
    if robot_model is not None:
        await _ensure(client.models, model_id, robot_model)
    key = idempotency_key or hashlib.sha256(request.model_dump_json().encode()).hexdigest()
    version = await client.models.announce(model_id, request, idempotency_key=key)
    if version.status is not VersionStatus.PENDING:
        return version
    return await _uploaded(client, version, path)


def _facts(path: Path, format_: str | None) -> dict[str, Any]:
    if not path.is_file():
        raise ModelSourceError(f"{path} is no file", code="source.missing")
    size_bytes = file_size(path)
    if size_bytes == 0:
        raise ModelSourceError(f"{path} is empty")
    extension = "tar.gz" if path.name.endswith(".tar.gz") else path.suffix[1:].lower()
    if not (format_ or extension):
        raise ModelSourceError(f"{path.name} has no extension", hint="Name its format.")
    return {
        "file_name": path.name,
        "format": format_ or extension,
        "size_bytes": size_bytes,
        "checksum": f"sha256:{file_sha256(path)}",
    }


async def _ensure(models: ModelClient, model_id: str, robot_model: str) -> None:
    try:
        await models.get(model_id)
    except ApiProblem as problem:
        if problem.status != httpx.codes.NOT_FOUND:
            raise
        await models.create(CreateModelRequest(model_id=model_id, robot_model=robot_model))


async def _uploaded(client: ContinuonClient, version: ModelVersion, path: Path) -> ModelVersion:
    for attempt in range(1, _UPLOAD_ATTEMPTS + 1):
        try:
            granted = await client.models.upload_url(version.model_id, version.version)
            upload = SignedUpload.model_validate({**granted.model_dump(), "path": path.name})
            await store_file(client.http, upload, path)
            return await client.models.complete(version.model_id, version.version)
        except UnreachableError:
            if attempt == _UPLOAD_ATTEMPTS:
                raise
        await asyncio.sleep(backoff_s(attempt))
    raise AssertionError("the loop returns or raises")


# --- Downloading --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DownloadedModel:
    """A model's artifact on this machine; its SHA-256 was compared."""

    model_id: str
    version: int
    path: Path
    size_bytes: int
    checksum: str


async def download_model(
    client: ContinuonClient,
    model_id: str,
    version: int | str,
    folder: Path,
    *,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> DownloadedModel:
    """Download a version into ``folder``; a download that broke goes on where it stopped.

    Args:
        client: The owner's.
        model_id: Of which model.
        version: A number, or an alias such as ``production``.
        folder: Made when missing.
        on_progress: Called with file name, bytes so far, bytes in all.

    Raises:
        DownloadError: The file is not what was promised; it is removed.
        ApiProblem: The service refused.
        UnreachableError: The network failed too often.
    """
    granted = await client.models.download_url(model_id, version)

    async def renew() -> list[DownloadFile]:
        # The number and not the alias, which may have moved since.
        again = await client.models.download_url(model_id, granted.version)
        return [_file(again)]

    [path] = await download_files(
        client.http, [_file(granted)], folder, renew=renew, on_progress=on_progress
    )
    found = await asyncio.to_thread(file_sha256, path)
    if f"sha256:{found}" != granted.checksum:
        path.unlink()
        raise DownloadError(
            f"{path.name} is not what was registered (SHA-256 differs)", code="download.corrupt"
        )
    return DownloadedModel(
        model_id=granted.model_id,
        version=granted.version,
        path=path,
        size_bytes=granted.size_bytes,
        checksum=granted.checksum,
    )


def _file(granted: ModelDownload) -> DownloadFile:
    return DownloadFile(
        path=granted.file_name,
        url=granted.url,
        size_bytes=granted.size_bytes,
        crc32c=granted.crc32c,
    )


async def model_versions_of_episode(
    client: ContinuonClient, episode_id: str
) -> list[VersionSummary]:
    """Return every version, of all models, that used an episode, newest first."""
    return [version async for version in client.models.find(episode_id=episode_id)]
