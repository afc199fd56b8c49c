"""Models, and the search over all models' versions."""

from __future__ import annotations

import re
from typing import Annotated, Final

from fastapi import APIRouter, Query

from continuon import limits
from continuon.contracts.models import (
    MODEL_ID,
    VERSION,
    CreateModelRequest,
    Model,
    ModelPage,
    PatchModelRequest,
    VersionPage,
)
from continuon.errors import ProblemError
from continuon.identifiers import EPISODE_ID
from continuon.paging import decode_cursor, encode_cursor
from continuon.platform.identity import CurrentUser, Now
from continuon_models import service
from continuon_models.api.access import ModelIdPath, PageSize, PageToken, owned
from continuon_models.errors import QUERY_INCOMPLETE
from continuon_models.store import ModelStore

__all__ = ["router"]

_MODEL_ID_FORM: Final = re.compile(MODEL_ID)
_REF_FORM: Final = re.compile(rf"{MODEL_ID.removesuffix('$')}@{VERSION.removeprefix('^')}")

router = APIRouter(prefix="/api/v1/models", tags=["models"])


@router.post("", status_code=201)
async def create_model(request: CreateModelRequest, user: CurrentUser, now: Now) -> Model:
    """Make a model. Making the same one again changes nothing and answers with it."""
    wanted = service.new_model(request, owner_id=user.uid, now=now)
    existing = await ModelStore().create_model(wanted)
    if existing is not None:
        service.check_same_model(existing, wanted)
    return (existing or wanted).public()


@router.get("")
async def list_models(
    user: CurrentUser,
    page_size: PageSize = limits.DEFAULT_PAGE_SIZE,
    page_token: PageToken = None,
) -> ModelPage:
    """List your models, newest first."""
    after = decode_cursor(page_token, _MODEL_ID_FORM) if page_token else None
    records = await ModelStore().models(user.uid, after=after, size=page_size)
    last = records[-1] if len(records) == page_size else None
    return ModelPage(
        models=[record.public() for record in records],
        next_page_token=encode_cursor(last.created_at, last.model_id) if last else None,
    )


@router.get("/versions")
async def find_versions(
    user: CurrentUser,
    episode_id: Annotated[str | None, Query(pattern=EPISODE_ID.pattern)] = None,
    model_base: Annotated[str | None, Query(min_length=1, max_length=256)] = None,
    page_size: PageSize = limits.DEFAULT_PAGE_SIZE,
    page_token: PageToken = None,
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


@router.get("/{model_id}")
async def get_model(model_id: ModelIdPath, user: CurrentUser) -> Model:
    """Get one of your models."""
    return (await owned(ModelStore(), model_id, user.uid)).public()


@router.patch("/{model_id}")
async def patch_model(
    model_id: ModelIdPath, request: PatchModelRequest, user: CurrentUser, now: Now
) -> Model:
    """Rename a model."""
    store = ModelStore()
    record = await owned(store, model_id, user.uid)
    return (await store.rename(record, request.name, now)).public()
