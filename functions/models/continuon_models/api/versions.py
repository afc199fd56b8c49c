"""Versions: registering, uploading, completing, reading, downloading and deleting them."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Header

from continuon import limits
from continuon.contracts.models import (
    CreateVersionRequest,
    ModelDownload,
    ModelUpload,
    ModelUploadRequest,
    ModelVersion,
    PatchVersionRequest,
    VersionPage,
    VersionStatus,
)
from continuon.paging import decode_cursor, encode_cursor
from continuon.platform.identity import CurrentUser, Now
from continuon.platform.storage import url_signer
from continuon_models import service
from continuon_models.api.access import (
    VERSION_FORM,
    ModelIdPath,
    PageSize,
    PageToken,
    VersionOrAlias,
    VersionPath,
    owned,
    owned_version,
)
from continuon_models.completion import check_artifact, serve
from continuon_models.settings import settings
from continuon_models.store import ModelStore

__all__ = ["downloads", "router"]

router = APIRouter(prefix="/api/v1/models", tags=["models"])
downloads = APIRouter(prefix="/api/v1/models", tags=["models"])
"""Comes after every other router, because its path fits theirs as well."""

_IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[A-Za-z0-9_-]{8,128}$",
        description="Repeats a request safely: one key registers one version of a model.",
    ),
]


@router.post("/{model_id}/versions", status_code=201)
async def create_version(
    model_id: ModelIdPath,
    request: CreateVersionRequest,
    user: CurrentUser,
    now: Now,
    idempotency_key: _IdempotencyKey = None,
) -> ModelVersion:
    """Register a version that you made. It is `pending` until its artifact is there and checked.

    Next: `POST /{model_id}/upload`, the upload, `POST /{model_id}/versions/{version}/complete`.
    """
    store = ModelStore()
    model = await owned(store, model_id, user.uid)
    record = await store.register(
        model.model_id,
        service.request_key(user.uid, idempotency_key or secrets.token_hex()),
        service.request_fingerprint(request),
        lambda present, version: service.version_of_request(
            request, present, version, by=user.uid, now=now
        ),
    )
    return record.public()


@router.get("/{model_id}/versions")
async def list_versions(
    model_id: ModelIdPath,
    user: CurrentUser,
    page_size: PageSize = limits.DEFAULT_PAGE_SIZE,
    page_token: PageToken = None,
) -> VersionPage:
    """List a model's versions, newest first, with how often each was downloaded."""
    store = ModelStore()
    await owned(store, model_id, user.uid)
    before = int(decode_cursor(page_token, VERSION_FORM)[1]) if page_token else None
    records = await store.versions(model_id, before=before, size=page_size)
    counts = await store.download_counts(records)
    last = records[-1] if len(records) == page_size else None
    return VersionPage(
        versions=[r.summary(count) for r, count in zip(records, counts, strict=True)],
        next_page_token=encode_cursor(last.created_at, str(last.version)) if last else None,
    )


@router.get("/{model_id}/versions/{version}")
async def get_version(
    model_id: ModelIdPath, version: VersionOrAlias, user: CurrentUser
) -> ModelVersion:
    """Get a version with its lineage: the episodes, the job and the version it was made of."""
    store = ModelStore()
    record = await owned_version(store, model_id, version, user.uid)
    [count] = await store.download_counts([record])
    return record.public(count)


@router.patch("/{model_id}/versions/{version}")
async def patch_version(
    model_id: ModelIdPath, version: VersionPath, request: PatchVersionRequest, user: CurrentUser
) -> ModelVersion:
    """Write the release notes; everything else about a version is fixed."""
    store = ModelStore()
    record = await owned_version(store, model_id, version, user.uid)
    return (await store.set_notes(record, request.release_notes)).public()


@router.delete("/{model_id}/versions/{version}", status_code=204)
async def delete_version(
    model_id: ModelIdPath, version: VersionPath, user: CurrentUser, now: Now
) -> None:
    """Delete a version's artifact; 409 while an alias points at it.

    Its number stays taken and its lineage can still be read. Repeating it finishes a deletion that
    was interrupted.
    """
    store = ModelStore()
    record = await owned_version(store, model_id, version, user.uid)
    deleted = await store.delete_version(record, actor=user.uid, now=now)
    stored = await store.objects.stat(deleted.storage_ref)
    if stored is not None:
        await store.objects.delete(stored)


@router.post("/{model_id}/upload")
async def upload_version(
    model_id: ModelIdPath, request: ModelUploadRequest, user: CurrentUser, now: Now
) -> ModelUpload:
    """Ask for the right to upload a pending version's artifact; asking again renews it.

    The URL stores the artifact once: it is bound to length, checksum and generation 0.
    """
    store = ModelStore()
    record = await owned_version(store, model_id, str(request.version), user.uid)
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


@router.post("/{model_id}/versions/{version}/complete")
async def complete_version(
    model_id: ModelIdPath, version: VersionPath, user: CurrentUser, now: Now
) -> ModelVersion:
    """Check the uploaded artifact and serve the version from now on. May be repeated.

    409 while nothing is uploaded. 422 when size or checksum differ; the object is removed then, so
    that the right one can be uploaded.
    """
    store = ModelStore()
    record = await owned_version(store, model_id, version, user.uid)
    if record.status is VersionStatus.READY:
        return record.public()
    service.check_uploadable(record)
    stored = await check_artifact(store.objects, record)
    return (await serve(store, record, stored, now)).public()


@downloads.get("/{model_id}/{version}/download")
async def download_version(
    model_id: ModelIdPath, version: VersionOrAlias, user: CurrentUser, now: Now
) -> ModelDownload:
    """Get a signed URL that reads the artifact; it honours `Range`. Counted once for each call."""
    store = ModelStore()
    record = await owned_version(store, model_id, version, user.uid)
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
