"""The version that a fine-tuning starts from: read from the models' documents, never written."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from continuon.contracts.base import Contract
from continuon.contracts.models import VersionStatus
from continuon.contracts.training import JobType
from continuon.errors import FieldProblem, ProblemError
from continuon.platform.firestore import RPC, firestore_client, firestore_errors
from continuon_training.errors import (
    MODEL_BASE_NOT_FOUND,
    MODEL_BASE_NOT_READY,
    MODEL_BASE_REQUIRED,
)

if TYPE_CHECKING:
    from typing import Any

    from continuon.errors import ProblemType
    from continuon_training.records import JobRecord

__all__ = ["BaseVersion", "check", "resolve"]

_FIELD: Final = "model_base"
_MODEL: Final = r"(?P<model>[a-z0-9][a-z0-9._-]{0,62})"
_VERSION: Final = r"(?P<version>[1-9][0-9]{0,8})"
_REF: Final = re.compile(rf"models/{_MODEL}/versions/{_VERSION}")
_AT_VERSION: Final = re.compile(rf"{_MODEL}@{_VERSION}")
_AT_ALIAS: Final = re.compile(rf"{_MODEL}@(?P<alias>[a-z][a-z0-9._-]{{0,62}})")


class BaseVersion(Contract):
    """``models/{model_id}/versions/{version}``, as far as a trainer needs it."""

    model_id: str
    version: int
    owner_id: str
    status: VersionStatus
    format: str
    size_bytes: int
    checksum: str
    storage_ref: str
    generation: int | None = None

    @property
    def ref(self) -> str:
        """How documents name it, which is also its own path."""
        return f"models/{self.model_id}/versions/{self.version}"

    @property
    def sha256(self) -> str:
        """The hex digest of the artifact."""
        return self.checksum.partition(":")[2]


class _Alias(Contract):
    """``models/{model_id}/aliases/{alias}``: where it points; None once it was removed."""

    owner_id: str
    version: int | None = None


async def resolve(kind: JobType, model_base: str | None, owner_id: str) -> str | None:
    """Return ``model_base`` as a fine-tuning stores it: ``models/{id}/versions/{n}``.

    An alias is followed now: what it points at later is not what the job was asked for. For the
    other types of jobs the reference is a word to the trainer, and stays as it is.

    Args:
        kind: The type of the job.
        model_base: The same form, ``MODEL@VERSION`` or ``MODEL@ALIAS``.
        owner_id: Whose version it has to be.

    Raises:
        ProblemError: ``job.model_base_required``, ``job.model_base_not_found`` (another's too) or
            ``job.model_base_not_ready``.
    """
    if kind is not JobType.FINETUNE:
        return model_base
    ref = await _ref(_given(model_base), owner_id)
    await _ready(ref, owner_id)
    return ref


async def check(record: JobRecord) -> BaseVersion | None:
    """Return the version that a fine-tuning starts from; None for the other types of jobs.

    Raises:
        ProblemError: As of `resolve`.
    """
    if record.type is not JobType.FINETUNE:
        return None
    return await _ready(_given(record.config.model_base), record.owner_id)


def _given(model_base: str | None) -> str:
    if model_base is None:
        raise _problem(MODEL_BASE_REQUIRED, "is missing")
    return model_base


async def _ref(named: str, owner_id: str) -> str:
    found = _REF.fullmatch(named) or _AT_VERSION.fullmatch(named)
    if found is not None:
        return f"models/{found['model']}/versions/{found['version']}"
    found = _AT_ALIAS.fullmatch(named)
    if found is None:
        raise _problem(
            MODEL_BASE_NOT_FOUND,
            f"{named} is neither models/ID/versions/N nor ID@VERSION or @ALIAS",
        )
    data = await _document(f"models/{found['model']}/aliases/{found['alias']}")
    alias = _Alias.model_validate(data) if data else None
    if alias is None or alias.owner_id != owner_id or alias.version is None:
        raise _problem(MODEL_BASE_NOT_FOUND, f"{named} is no alias of yours")
    return f"models/{found['model']}/versions/{alias.version}"


async def _ready(ref: str, owner_id: str) -> BaseVersion:
    data = await _document(ref) if _REF.fullmatch(ref) else None
    version = BaseVersion.model_validate(data) if data else None
    if version is None or version.owner_id != owner_id:
        raise _problem(MODEL_BASE_NOT_FOUND, f"{ref} is no version of yours")
    if version.status is not VersionStatus.READY:
        raise _problem(MODEL_BASE_NOT_READY, f"{ref} is {version.status.value}")
    return version


async def _document(path: str) -> dict[str, Any] | None:
    with firestore_errors():
        snapshot = await firestore_client().document(path).get(**RPC)
    found: dict[str, Any] | None = snapshot.to_dict()
    return found


def _problem(kind: ProblemType, message: str) -> ProblemError:
    return ProblemError(
        kind, f"`{_FIELD}`: {message}.", errors=[FieldProblem(kind.code, _FIELD, message)]
    )
