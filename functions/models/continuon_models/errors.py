"""Why this codebase refuses a request, or the result of a training job."""

from __future__ import annotations

from typing import Final

from continuon.errors import ProblemType

__all__ = [
    "ALIAS_MOVED",
    "ALIAS_NOT_FOUND",
    "ALIAS_POINTS_HERE",
    "ARTIFACT_MISSING",
    "ARTIFACT_UNSUITABLE",
    "CHECKSUM_MISMATCH",
    "KEY_REUSED",
    "MODEL_EXISTS",
    "MODEL_ID_TAKEN",
    "MODEL_NOT_FOUND",
    "QUERY_INCOMPLETE",
    "ROBOT_MODEL_MISMATCH",
    "UPLOAD_INCOMPLETE",
    "UPLOAD_MISMATCH",
    "VERSION_DELETED",
    "VERSION_NOT_FOUND",
    "VERSION_PENDING",
    "VERSION_READY",
]

MODEL_NOT_FOUND: Final = ProblemType(
    code="model.not_found",
    status=404,
    title="You have no such model.",
    remedy="`GET /api/v1/models` lists yours.",
)
MODEL_ID_TAKEN: Final = ProblemType(
    code="model.id_taken",
    status=409,
    title="This model id is another account's.",
    remedy="Choose an id that no other account has; they are unique in the cloud.",
)
MODEL_EXISTS: Final = ProblemType(
    code="model.exists",
    status=409,
    title="You have a model of this id already, and it is described differently.",
    remedy="Use that model, or choose another id.",
)
VERSION_NOT_FOUND: Final = ProblemType(
    code="model.version_not_found",
    status=404,
    title="The model has no such version.",
    remedy="`GET /api/v1/models/{model_id}/versions` lists them.",
)
VERSION_PENDING: Final = ProblemType(
    code="model.version_pending",
    status=409,
    title="The artifact of this version is not there yet.",
    remedy="Upload it, then `POST /api/v1/models/{model_id}/versions/{version}/complete`.",
)
VERSION_DELETED: Final = ProblemType(
    code="model.version_deleted",
    status=410,
    title="The artifact of this version was deleted.",
    remedy="Use another version; a number is never given out twice.",
)
VERSION_READY: Final = ProblemType(
    code="model.version_ready",
    status=409,
    title="This version is complete, and versions never change.",
    remedy="Register a new version.",
)
KEY_REUSED: Final = ProblemType(
    code="model.key_reused",
    status=409,
    title="This `Idempotency-Key` registered another version of this model.",
    remedy="Use a new key for a new version.",
)
UPLOAD_INCOMPLETE: Final = ProblemType(
    code="model.upload_incomplete",
    status=409,
    title="The artifact has not been uploaded.",
    remedy="`POST /api/v1/models/{model_id}/upload` gives a URL; upload and complete again.",
)
UPLOAD_MISMATCH: Final = ProblemType(
    code="model.upload_mismatch",
    status=422,
    title="The uploaded object is not of the registered size. It was removed.",
    remedy="Upload the registered artifact again, or register what you uploaded as a new version.",
)
CHECKSUM_MISMATCH: Final = ProblemType(
    code="model.checksum_mismatch",
    status=422,
    title="The uploaded object does not have the registered checksum. It was removed.",
    remedy="Upload the registered artifact again, or register what you uploaded as a new version.",
)
ALIAS_NOT_FOUND: Final = ProblemType(
    code="model.alias_not_found",
    status=404,
    title="The model has no such alias, or had none at that time.",
    remedy="`GET /api/v1/models/{model_id}/aliases` lists them; `/history` says since when.",
)
ALIAS_MOVED: Final = ProblemType(
    code="model.alias_moved",
    status=409,
    title="The alias does not point where you expect.",
    remedy="Read it again and decide anew.",
)
ALIAS_POINTS_HERE: Final = ProblemType(
    code="model.alias_points_here",
    status=409,
    title="An alias points at this version.",
    remedy="Point the aliases that `errors` names elsewhere, or remove them, then delete again.",
)
QUERY_INCOMPLETE: Final = ProblemType(
    code="model.query_incomplete",
    status=422,
    title="The search needs exactly one of `episode_id` and `model_base`.",
    remedy="Ask for the versions made of one episode, or for those trained on top of one version.",
)
ARTIFACT_MISSING: Final = ProblemType(
    code="model.artifact_missing",
    status=422,
    title="The job names no artifact, or the store has none of that name.",
    remedy="Let the trainer upload its model and name it in its last callback; retry the job.",
)
ARTIFACT_UNSUITABLE: Final = ProblemType(
    code="model.artifact_unsuitable",
    status=422,
    title="The job's artifact is not the one its trainer announced.",
    remedy="Compare size and SHA-256 with what the trainer wrote; retry the job.",
)
ROBOT_MODEL_MISMATCH: Final = ProblemType(
    code="model.robot_model_mismatch",
    status=422,
    title="The model is for another model of robot than the job.",
    remedy="Start the job with another `model_id`, or with none.",
)
