"""The calls about models, typed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from pydantic import BaseModel

from continuon.contracts.models import (
    AliasHistory,
    AliasList,
    CreateModelRequest,
    CreateVersionRequest,
    Model,
    ModelAlias,
    ModelDownload,
    ModelPage,
    ModelUpload,
    ModelUploadRequest,
    ModelVersion,
    PatchModelRequest,
    PatchVersionRequest,
    SetAliasRequest,
    VersionPage,
    VersionSummary,
)
from continuon_cloud.answers import read, segment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from datetime import datetime

    from continuon_cloud.transport import Transport

__all__ = ["ModelClient"]

_ROOT: Final = "/api/v1/models"
_Body = TypeVar("_Body", bound=BaseModel)


class ModelClient:
    """The signed-in person's models; `ContinuonClient.models` is one.

    Every method raises :class:`~continuon_cloud.errors.ApiProblem` when the service refuses and
    :class:`~continuon_cloud.errors.UnreachableError` when there is no answer. ``version`` is a
    number or, where a version is only read, an alias such as ``production``.

    Args:
        transport: Of the client.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    # --- Models ----------------------------------------------------------------------------------

    async def create(self, request: CreateModelRequest) -> Model:
        """Make a model. Making the same one again changes nothing."""
        return await self._send("POST", "", Model, request)

    async def get(self, model_id: str) -> Model:
        """Return one model."""
        return await self._get(_of(model_id), Model)

    async def rename(self, model_id: str, name: str) -> Model:
        """Give a model another name."""
        return await self._send("PATCH", _of(model_id), Model, PatchModelRequest(name=name))

    async def owned(self) -> AsyncIterator[Model]:
        """Yield the caller's models, newest first, a page at a time."""
        token: str | None = None
        while True:
            page = await self._get("", ModelPage, page_size=100, page_token=token)
            for model in page.models:
                yield model
            token = page.next_page_token
            if token is None:
                return

    # --- Versions --------------------------------------------------------------------------------

    async def announce(
        self, model_id: str, request: CreateVersionRequest, *, idempotency_key: str | None = None
    ) -> ModelVersion:
        """Register a version, pending until its artifact is uploaded and completed."""
        headers = {"idempotency-key": idempotency_key} if idempotency_key else {}
        return await self._send("POST", f"{_of(model_id)}/versions", ModelVersion, request, headers)

    async def upload_url(
        self, model_id: str, version: int, *, resumable: bool = False
    ) -> ModelUpload:
        """Ask for the right to upload a pending version's artifact."""
        request = ModelUploadRequest(version=version, resumable=resumable)
        return await self._send("POST", f"{_of(model_id)}/upload", ModelUpload, request)

    async def complete(self, model_id: str, version: int) -> ModelVersion:
        """Have an uploaded artifact checked; the version is served from then on."""
        return await self._send("POST", f"{_of(model_id, version)}/complete", ModelVersion)

    async def version(self, model_id: str, version: int | str) -> ModelVersion:
        """Return one version with its lineage."""
        return await self._get(_of(model_id, version), ModelVersion)

    async def versions(self, model_id: str) -> AsyncIterator[VersionSummary]:
        """Yield a model's versions, newest first, a page at a time."""
        async for version in self._versions(f"{_of(model_id)}/versions"):
            yield version

    async def find(
        self, *, episode_id: str | None = None, model_base: str | None = None
    ) -> AsyncIterator[VersionSummary]:
        """Yield versions of all models that used an episode, or build on another version."""
        async for version in self._versions(
            "/versions", episode_id=episode_id, model_base=model_base
        ):
            yield version

    async def write_notes(self, model_id: str, version: int, notes: str) -> ModelVersion:
        """Replace a version's release notes."""
        body = PatchVersionRequest(release_notes=notes)
        return await self._send("PATCH", _of(model_id, version), ModelVersion, body)

    async def delete(self, model_id: str, version: int) -> None:
        """Delete a version's artifact; its number and lineage stay."""
        await self._transport.call("DELETE", _ROOT + _of(model_id, version))

    async def download_url(self, model_id: str, version: int | str) -> ModelDownload:
        """Return a URL that reads the artifact for some minutes. It counts as a download."""
        path = f"{_of(model_id)}/{segment(str(version))}/download"
        return await self._get(path, ModelDownload)

    # --- Aliases ---------------------------------------------------------------------------------

    async def aliases(self, model_id: str) -> AliasList:
        """Return where a model's aliases point."""
        return await self._get(f"{_of(model_id)}/aliases", AliasList)

    async def alias(self, model_id: str, alias: str, *, at: datetime | None = None) -> ModelAlias:
        """Return where an alias points, or pointed at a moment."""
        moment = at.isoformat() if at else None
        return await self._get(_alias(model_id, alias), ModelAlias, at=moment)

    async def set_alias(self, model_id: str, alias: str, request: SetAliasRequest) -> ModelAlias:
        """Point an alias at a version."""
        return await self._send("PUT", _alias(model_id, alias), ModelAlias, request)

    async def remove_alias(self, model_id: str, alias: str, reason: str) -> ModelAlias:
        """Let an alias point nowhere."""
        path, query = _ROOT + _alias(model_id, alias), {"reason": reason}
        return read(ModelAlias, await self._transport.call("DELETE", path, query=query))

    async def alias_history(
        self, model_id: str, alias: str, *, page_token: str | None = None
    ) -> AliasHistory:
        """Return a page of an alias's changes, newest first."""
        path = f"{_alias(model_id, alias)}/history"
        return await self._get(path, AliasHistory, page_size=100, page_token=page_token)

    # ---------------------------------------------------------------------------------------------

    async def _versions(self, path: str, **query: str | None) -> AsyncIterator[VersionSummary]:
        token: str | None = None
        while True:
            page = await self._get(path, VersionPage, page_size=100, page_token=token, **query)
            for version in page.versions:
                yield version
            token = page.next_page_token
            if token is None:
                return

    async def _get(self, path: str, model: type[_Body], **query: str | int | None) -> _Body:
        return read(model, await self._transport.call("GET", _ROOT + path, query=query))

    async def _send(
        self,
        method: str,
        path: str,
        model: type[_Body],
        body: BaseModel | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> _Body:
        sent = None if body is None else body.model_dump(mode="json", exclude_none=True)
        answer = await self._transport.call(method, _ROOT + path, body=sent, headers=headers)
        return read(model, answer)


def _of(model_id: str, version: int | str | None = None) -> str:
    path = f"/{segment(model_id)}"
    return path if version is None else f"{path}/versions/{segment(str(version))}"


def _alias(model_id: str, alias: str) -> str:
    return f"{_of(model_id)}/aliases/{segment(alias)}"
