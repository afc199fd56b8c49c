"""The check that lets an uploaded version be served."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.api_core import exceptions

from continuon.errors import ProblemError
from continuon_models import service
from continuon_models.errors import UPLOAD_INCOMPLETE

if TYPE_CHECKING:
    from datetime import datetime

    from continuon.platform.objects import ObjectStore, StoredObject
    from continuon_models.records import VersionRecord
    from continuon_models.store import ModelStore

__all__ = ["check_artifact", "serve"]


async def check_artifact(objects: ObjectStore, record: VersionRecord) -> StoredObject:
    """Return the uploaded artifact once its size and its SHA-256 are proven by reading it.

    The store checks a CRC32C that was registered, and by its own word the SHA-256 that a URL is
    bound to; a session has neither, so what is served is what was read here.

    Raises:
        ProblemError: ``model.upload_incomplete``, ``model.upload_mismatch`` or
            ``model.checksum_mismatch``; a wrong object is removed, because the upload URL stores
            only where nothing is.
    """
    stored = await objects.stat(record.storage_ref)
    if stored is None:
        raise ProblemError(UPLOAD_INCOMPLETE)
    try:
        service.check_size(record, stored.size_bytes, stored.crc32c)
        service.check_checksum(record, await objects.sha256(stored))
    except exceptions.NotFound as error:
        raise ProblemError(UPLOAD_INCOMPLETE) from error
    except ProblemError:
        await objects.delete(stored)
        raise
    return stored


async def serve(
    store: ModelStore, record: VersionRecord, stored: StoredObject, now: datetime
) -> VersionRecord:
    """Let a version be served with the artifact that was checked.

    Raises:
        ProblemError: ``model.version_deleted``: it was deleted meanwhile, and so is the object.
    """
    try:
        return await store.make_ready(record, stored, now)
    except ProblemError:
        await store.objects.delete(stored)
        raise
