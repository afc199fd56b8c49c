"""What the routes share: the forms of paths and pages, and whose a model is."""

from __future__ import annotations

import re
from typing import Annotated, Final

from fastapi import Path, Query

from continuon import limits
from continuon.contracts.models import ALIAS, MODEL_ID, VERSION, Alias
from continuon.errors import ProblemError
from continuon_models.aliases import AliasStore
from continuon_models.errors import ALIAS_NOT_FOUND, MODEL_NOT_FOUND, VERSION_NOT_FOUND
from continuon_models.records import ModelRecord, VersionRecord
from continuon_models.store import ModelStore

__all__ = [
    "VERSION_FORM",
    "AliasPath",
    "ModelIdPath",
    "PageSize",
    "PageToken",
    "VersionOrAlias",
    "VersionPath",
    "owned",
    "owned_version",
]

VERSION_FORM: Final = re.compile(VERSION)

ModelIdPath = Annotated[str, Path(pattern=MODEL_ID)]
VersionPath = Annotated[str, Path(pattern=VERSION)]
AliasPath = Annotated[Alias, Path(pattern=ALIAS)]
VersionOrAlias = Annotated[
    str, Path(pattern=rf"{VERSION}|{ALIAS}", description="A version number, or an alias.")
]
PageSize = Annotated[int, Query(ge=1, le=limits.MAX_PAGE_SIZE)]
PageToken = Annotated[str | None, Query(max_length=512)]


async def owned(store: ModelStore, model_id: str, uid: str) -> ModelRecord:
    """Return the model if it is the caller's; 404 says nothing about others' models."""
    record = await store.model(model_id)
    if record is None or record.owner_id != uid:
        raise ProblemError(MODEL_NOT_FOUND)
    return record


async def owned_version(
    store: ModelStore, model_id: str, version_or_alias: str, uid: str
) -> VersionRecord:
    """Return a version of one of the caller's models: one read, and one more for an alias."""
    if VERSION_FORM.match(version_or_alias):
        number: int | None = int(version_or_alias)
    else:
        alias = await AliasStore().alias(model_id, version_or_alias)
        number = alias.version if alias and alias.owner_id == uid else None
    record = await store.version(model_id, number) if number else None
    if record is None or record.owner_id != uid:
        await owned(store, model_id, uid)
        raise ProblemError(VERSION_NOT_FOUND if number else ALIAS_NOT_FOUND)
    return record
