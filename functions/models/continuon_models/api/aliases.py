"""Aliases: where they point, where they pointed, and moving them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from continuon import limits
from continuon.contracts.base import Timestamp
from continuon.contracts.models import (
    AliasHistory,
    AliasList,
    ModelAlias,
    Reason,
    SetAliasRequest,
)
from continuon.errors import ProblemError
from continuon.paging import decode_cursor, encode_cursor
from continuon.platform.identity import CurrentUser, Now
from continuon_models import service
from continuon_models.aliases import AliasStore
from continuon_models.api.access import (
    VERSION_FORM,
    AliasPath,
    ModelIdPath,
    PageSize,
    PageToken,
    owned,
)
from continuon_models.errors import ALIAS_NOT_FOUND, VERSION_NOT_FOUND
from continuon_models.records import AliasRecord, VersionRecord
from continuon_models.store import ModelStore

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/models", tags=["models"])


@router.get("/{model_id}/aliases")
async def list_aliases(model_id: ModelIdPath, user: CurrentUser) -> AliasList:
    """List where a model's aliases point."""
    await owned(ModelStore(), model_id, user.uid)
    records = await AliasStore().aliases(model_id)
    return AliasList(aliases=[record.public() for record in records])


@router.put("/{model_id}/aliases/{alias}")
async def set_alias(
    model_id: ModelIdPath, alias: AliasPath, request: SetAliasRequest, user: CurrentUser, now: Now
) -> ModelAlias:
    """Point an alias at a version. Pointing it where it points already adds nothing."""
    await owned(ModelStore(), model_id, user.uid)

    def decide(present: AliasRecord | None, target: VersionRecord | None) -> AliasRecord | None:
        if target is None:
            raise ProblemError(VERSION_NOT_FOUND)
        return service.alias_set(present, alias, target, request, by=user.uid, now=now)

    moved = await AliasStore().move_alias(model_id, alias, request.version, decide, now=now)
    return moved.public()


@router.get("/{model_id}/aliases/{alias}")
async def get_alias(
    model_id: ModelIdPath,
    alias: AliasPath,
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
        await owned(ModelStore(), model_id, user.uid)
        raise ProblemError(ALIAS_NOT_FOUND)
    return record.public()


@router.delete("/{model_id}/aliases/{alias}")
async def remove_alias(
    model_id: ModelIdPath,
    alias: AliasPath,
    user: CurrentUser,
    now: Now,
    reason: Annotated[Reason, Query()],
) -> ModelAlias:
    """Let an alias point nowhere. Its history stays, and this is the newest entry of it."""
    await owned(ModelStore(), model_id, user.uid)

    def decide(present: AliasRecord | None, _target: VersionRecord | None) -> AliasRecord | None:
        if present is None or present.version is None:
            return None
        return service.alias_removed(present, by=user.uid, reason=reason, now=now)

    return (await AliasStore().move_alias(model_id, alias, None, decide, now=now)).public()


@router.get("/{model_id}/aliases/{alias}/history")
async def alias_history(
    model_id: ModelIdPath,
    alias: AliasPath,
    user: CurrentUser,
    page_size: PageSize = limits.DEFAULT_PAGE_SIZE,
    page_token: PageToken = None,
) -> AliasHistory:
    """List every change of an alias, newest first."""
    await owned(ModelStore(), model_id, user.uid)
    before = int(decode_cursor(page_token, VERSION_FORM)[1]) if page_token else None
    records = await AliasStore().alias_history(model_id, alias, before=before, size=page_size)
    last = records[-1] if len(records) == page_size else None
    return AliasHistory(
        model_id=model_id,
        alias=alias,
        changes=[record.change() for record in records],
        next_page_token=encode_cursor(last.at, str(last.revision)) if last else None,
    )
