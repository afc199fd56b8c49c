"""The HTTP surface of models, versions and aliases."""

from __future__ import annotations

import re
import secrets
from datetime import timedelta
from functools import cache
from typing import Annotated, Final

from fastapi import APIRouter, FastAPI, Header, Path, Query

from continuon import limits
from continuon.contracts.base import Timestamp
from continuon.contracts.models import (
    ALIAS,
    MODEL_ID,
    VERSION,
    Alias,
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
    VersionStatus,
)
from continuon.errors import ProblemError
from continuon.identifiers import EPISODE_ID
from continuon.paging import decode_cursor, encode_cursor
from continuon.platform.http import create_app
from continuon.platform.identity import CurrentUser, Now
from continuon.platform.storage import url_signer
from continuon_models import service
from continuon_models.aliases import AliasStore
from continuon_models.completion import check_artifact, serve
from continuon_models.errors import (
    ALIAS_NOT_FOUND,
    MODEL_NOT_FOUND,
    QUERY_INCOMPLETE,
    VERSION_NOT_FOUND,
)
from continuon_models.records import AliasRecord, ModelRecord, VersionRecord
from continuon_models.settings import settings
from continuon_models.store import ModelStore

__all__ = ["app"]

_router = APIRouter(prefix="/api/v1/models", tags=["models"])

_MODEL_ID_FORM: Final = re.compile(MODEL_ID)
_VERSION_FORM: Final = re.compile(VERSION)
_REF_FORM: Final = re.compile(rf"{MODEL_ID.removesuffix('$')}@{VERSION.removeprefix('^')}")

_ModelId = Annotated[str, Path(pattern=MODEL_ID)]
_Version = Annotated[str, Path(pattern=VERSION)]
_Alias = Annotated[Alias, Path(pattern=ALIAS)]
_VersionOrAlias = Annotated[
    str, Path(pattern=rf"{VERSION}|{ALIAS}", description="A version number, or an alias.")
]
_PageSize = Annotated[int, Query(ge=1, le=limits.MAX_PAGE_SIZE)]
_PageToken = Annotated[str | None, Query(max_length=512)]
_IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[A-Za-z0-9_-]{8,128}$",
        description="Repeats a request safely: one key registers one version of a model.",
    ),
]


async def _owned(store: ModelStore, model_id: str, uid: str) -> ModelRecord:
    """Return the model if it is the caller's; 404 says nothing about others' models."""
    record = await store.model(model_id)
    if record is None or record.owner_id != uid:
        raise ProblemError(MODEL_NOT_FOUND)
    return record


async def _owned_version(
    store: ModelStore, model_id: str, version_or_alias: str, uid: str
) -> VersionRecord:
    """Return a version of one of the caller's models: one read, and one more for an alias."""
    if _VERSION_FORM.match(version_or_alias):
        number: int | None = int(version_or_alias)
    else:
        alias = await AliasStore().alias(model_id, version_or_alias)
        number = alias.version if alias and alias.owner_id == uid else None
    record = await store.version(model_id, number) if number else None
    if record is None or record.owner_id != uid:
        await _owned(store, model_id, uid)
        raise ProblemError(VERSION_NOT_FOUND if number else ALIAS_NOT_FOUND)
    return record


# --- Models -------------------------------------------------------------------------------------


@_router.post("", status_code=201)
async def create_model(request: CreateModelRequest, user: CurrentUser, now: Now) -> Model:
    """Make a model. Making the same one again changes nothing and answers with it."""
    wanted = service.new_model(request, owner_id=user.uid, now=now)
    existing = await ModelStore().create_model(wanted)
    if existing is not None:
        service.check_same_model(existing, wanted)
    return (existing or wanted).public()


@_router.get("")
async def list_models(
    user: CurrentUser,
    page_size: _PageSize = limits.DEFAULT_PAGE_SIZE,
    page_token: _PageToken = None,
) -> ModelPage:
    """List your models, newest first."""
    after = decode_cursor(page_token, _MODEL_ID_FORM) if page_token else None
    records = await ModelStore().models(user.uid, after=after, size=page_size)
    last = records[-1] if len(records) == page_size else None
    return ModelPage(
        models=[record.public() for record in records],
        next_page_token=encode_cursor(last.created_at, last.model_id) if last else None,
    )


@_router.get("/versions")
async def find_versions(
    user: CurrentUser,
    episode_id: Annotated[str | None, Query(pattern=EPISODE_ID.pattern)] = None,
    model_base: Annotated[str | None, Query(min_length=1, max_length=256)] = None,
    page_size: _PageSize = limits.DEFAULT_PAGE_SIZE,
    page_token: _PageToken = None,
) -> VersionPage:
    """Find the versions of all your models that used an episode, or were trained on a version.

    Newest first. Deleted versions are among them: what a robot once ran is still asked about.
    """
    if (episode_id is None) == (model_base is None):
        raise ProblemError(QUERY_INCOMPLETE)
    records = await ModelStore().search(
        user.uid,
        episode_id=episode_id,
        model_base=model_base,
        after=decode_cursor(page_token, _REF_FORM) if page_token else None,
        size=page_size,
    )
    last = records[-1] if len(records) == page_size else None
    token = encode_cursor(last.created_at, f"{last.model_id}@{last.version}") if last else None
    return VersionPage(versions=[record.summary() for record in records], next_page_token=token)


@_router.get("/{model_id}")
async def get_model(model_id: _ModelId, user: CurrentUser) -> Model:
    """Get one of your models."""
    return (await _owned(ModelStore(), model_id, user.uid)).public()


@_router.patch("/{model_id}")
async def patch_model(
    model_id: _ModelId, request: PatchModelRequest, user: CurrentUser, now: Now
) -> Model:
    """Rename a model."""
    store = ModelStore()
    record = await _owned(store, model_id, user.uid)
    return (await store.rename(record, request.name, now)).public()


# --- Versions -----------------------------------------------------------------------------------


@_router.post("/{model_id}/versions", status_code=201)
async def create_version(
    model_id: _ModelId,
    request: CreateVersionRequest,
    user: CurrentUser,
    now: Now,
    idempotency_key: _IdempotencyKey = None,
) -> ModelVersion:
    """Register a version that you made. It is `pending` until its artifact is there and checked.

    Next: `POST /{model_id}/upload`, the upload, `POST /{model_id}/versions/{version}/complete`.
    """
    store = ModelStore()
    model = await _owned(store, model_id, user.uid)
    record = await store.register(
        model.model_id,
        service.request_key(user.uid, idempotency_key or secrets.token_hex()),
        service.request_fingerprint(request),
        lambda present, version: service.version_of_request(
            request, present, version, by=user.uid, now=now
        ),
    )
    return record.public()


@_router.get("/{model_id}/versions")
async def list_versions(
    model_id: _ModelId,
    user: CurrentUser,
    page_size: _PageSize = limits.DEFAULT_PAGE_SIZE,
    page_token: _PageToken = None,
) -> VersionPage:
    """List a model's versions, newest first, with how often each was downloaded."""
    store = ModelStore()
    await _owned(store, model_id, user.uid)
    before = int(decode_cursor(page_token, _VERSION_FORM)[1]) if page_token else None
    records = await store.versions(model_id, before=before, size=page_size)
    counts = await store.download_counts(records)
    last = records[-1] if len(records) == page_size else None
    return VersionPage(
        versions=[r.summary(count) for r, count in zip(records, counts, strict=True)],
        next_page_token=encode_cursor(last.created_at, str(last.version)) if last else None,
    )


@_router.get("/{model_id}/versions/{version}")
async def get_version(
    model_id: _ModelId, version: _VersionOrAlias, user: CurrentUser
) -> ModelVersion:
    """Get a version with its lineage: the episodes, the job and the version it was made of."""
    store = ModelStore()
    record = await _owned_version(store, model_id, version, user.uid)
    [count] = await store.download_counts([record])
    return record.public(count)


@_router.patch("/{model_id}/versions/{version}")
async def patch_version(
    model_id: _ModelId, version: _Version, request: PatchVersionRequest, user: CurrentUser
) -> ModelVersion:
    """Write the release notes; everything else about a version is fixed."""
    store = ModelStore()
    record = await _owned_version(store, model_id, version, user.uid)
    return (await store.set_notes(record, request.release_notes)).public()


@_router.delete("/{model_id}/versions/{version}", status_code=204)
async def delete_version(
    model_id: _ModelId, version: _Version, user: CurrentUser, now: Now
) -> None:
    """Delete a version's artifact; 409 while an alias points at it.

    Its number stays taken and its lineage can still be read. Repeating it finishes a deletion that
    was interrupted.
    """
    store = ModelStore()
    record = await _owned_version(store, model_id, version, user.uid)
    deleted = await store.delete_version(record, actor=user.uid, now=now)
    stored = await store.objects.stat(deleted.storage_ref)
    if stored is not None:
        await store.objects.delete(stored)


@_router.post("/{model_id}/upload")
async def upload_version(
    model_id: _ModelId, request: ModelUploadRequest, user: CurrentUser, now: Now
) -> ModelUpload:
    """Ask for the right to upload a pending version's artifact; asking again renews it.

    The URL stores the artifact once: it is bound to length, checksum and generation 0.
    """
    store = ModelStore()
    record = await _owned_version(store, model_id, str(request.version), user.uid)
    service.check_uploadable(record)
    present = await store.objects.stat(record.storage_ref)
    grant = service.upload_grant(record, force_resumable=request.resumable)
    lifetime = timedelta(seconds=limits.UPLOAD_URL_TTL_S)
    url = url_signer(settings().continuon_rlds_bucket).sign(
        record.storage_ref, method=grant.method, lifetime=lifetime, headers=grant.headers
    )
    return ModelUpload(
        model_id=model_id,
        version=record.version,
        url=url,
        method=grant.method,
        headers=dict(grant.headers),
        resumable=grant.resumable,
        already_uploaded=present is not None,
        expires_at=now + lifetime,
    )


@_router.post("/{model_id}/versions/{version}/complete")
async def complete_version(
    model_id: _ModelId, version: _Version, user: CurrentUser, now: Now
) -> ModelVersion:
    """Check the uploaded artifact and serve the version from now on. May be repeated.

    409 while nothing is uploaded. 422 when size or checksum differ; the object is removed then, so
    that the right one can be uploaded.
    """
    store = ModelStore()
    record = await _owned_version(store, model_id, version, user.uid)
    if record.status is VersionStatus.READY:
        return record.public()
    service.check_uploadable(record)
    stored = await check_artifact(store.objects, record)
    return (await serve(store, record, stored, now)).public()


# --- Aliases ------------------------------------------------------------------------------------


@_router.get("/{model_id}/aliases")
async def list_aliases(model_id: _ModelId, user: CurrentUser) -> AliasList:
    """List where a model's aliases point."""
    await _owned(ModelStore(), model_id, user.uid)
    records = await AliasStore().aliases(model_id)
    return AliasList(aliases=[record.public() for record in records])


@_router.put("/{model_id}/aliases/{alias}")
async def set_alias(
    model_id: _ModelId, alias: _Alias, request: SetAliasRequest, user: CurrentUser, now: Now
) -> ModelAlias:
    """Point an alias at a version. Pointing it where it points already adds nothing."""
    await _owned(ModelStore(), model_id, user.uid)

    def decide(present: AliasRecord | None, target: VersionRecord | None) -> AliasRecord | None:
        if target is None:
            raise ProblemError(VERSION_NOT_FOUND)
        return service.alias_set(present, alias, target, request, by=user.uid, now=now)

    moved = await AliasStore().move_alias(model_id, alias, request.version, decide, now=now)
    return moved.public()


@_router.get("/{model_id}/aliases/{alias}")
async def get_alias(
    model_id: _ModelId,
    alias: _Alias,
    user: CurrentUser,
    at: Annotated[
        Timestamp | None, Query(description="A moment, RFC 3339 with its zone; now if left out.")
    ] = None,
) -> ModelAlias:
    """Say where an alias points, or pointed at a moment, since when, and who decided why."""
    store = AliasStore()
    if at is None:
        record = await store.alias(model_id, alias)
    else:
        record = await store.alias_at(model_id, alias, at)
    if record is None or record.owner_id != user.uid:
        await _owned(ModelStore(), model_id, user.uid)
        raise ProblemError(ALIAS_NOT_FOUND)
    return record.public()


@_router.delete("/{model_id}/aliases/{alias}")
async def remove_alias(
    model_id: _ModelId,
    alias: _Alias,
    user: CurrentUser,
    now: Now,
    reason: Annotated[str, Query(min_length=1, max_length=limits.MODEL_MAX_REASON)],
) -> ModelAlias:
    """Let an alias point nowhere. Its history stays, and this is the newest entry of it."""
    await _owned(ModelStore(), model_id, user.uid)

    def decide(present: AliasRecord | None, _target: VersionRecord | None) -> AliasRecord | None:
        if present is None or present.version is None:
            return None
        return service.alias_removed(present, by=user.uid, reason=reason, now=now)

    return (await AliasStore().move_alias(model_id, alias, None, decide, now=now)).public()


@_router.get("/{model_id}/aliases/{alias}/history")
async def alias_history(
    model_id: _ModelId,
    alias: _Alias,
    user: CurrentUser,
    page_size: _PageSize = limits.DEFAULT_PAGE_SIZE,
    page_token: _PageToken = None,
) -> AliasHistory:
    """List every change of an alias, newest first."""
    await _owned(ModelStore(), model_id, user.uid)
    before = int(decode_cursor(page_token, _VERSION_FORM)[1]) if page_token else None
    records = await AliasStore().alias_history(model_id, alias, before=before, size=page_size)
    last = records[-1] if len(records) == page_size else None
    return AliasHistory(
        model_id=model_id,
        alias=alias,
        changes=[record.change() for record in records],
        next_page_token=encode_cursor(last.at, str(last.revision)) if last else None,
    )


# Last, because its path fits others' as well: an alias may be called `download`.
@_router.get("/{model_id}/{version}/download")
async def download_version(
    model_id: _ModelId, version: _VersionOrAlias, user: CurrentUser, now: Now
) -> ModelDownload:
    """Get a signed URL that reads the artifact; it honours `Range`. Counted once for each call."""
    store = ModelStore()
    record = await _owned_version(store, model_id, version, user.uid)
    service.check_served(record)
    lifetime = timedelta(seconds=limits.DOWNLOAD_URL_TTL_S)
    # The generation keeps the URL on what was checked, whatever happens to the name.
    url = url_signer(settings().continuon_rlds_bucket).sign(
        record.storage_ref,
        method="GET",
        lifetime=lifetime,
        query={"generation": str(record.generation)},
    )
    await store.count_download(record)
    fields = {**record.model_dump(), "url": url, "expires_at": now + lifetime}
    return ModelDownload.model_validate(fields)


@cache
def app() -> FastAPI:
    """Return the application of the `models_api` function."""
    return create_app("Models", _router, project_id=settings().google_cloud_project)
