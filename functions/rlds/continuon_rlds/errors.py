"""Why this codebase refuses a request."""

from __future__ import annotations

from typing import Final

from continuon.errors import ProblemType

__all__ = [
    "CHECKSUM_MISMATCH",
    "CONTENT_TYPE_UNSUPPORTED",
    "EPISODE_ID_TAKEN",
    "EPISODE_IN_PROGRESS",
    "EPISODE_NOT_FOUND",
    "EPISODE_SETTLED",
    "REPORT_NOT_READY",
    "ROBOT_MISMATCH",
    "ROBOT_REQUIRED",
    "UPLOAD_INCOMPLETE",
    "UPLOAD_MISMATCH",
]

ROBOT_MISMATCH: Final = ProblemType(
    code="episode.robot_mismatch",
    status=403,
    title="The request names a robot that the caller may not upload for.",
    remedy="Leave `robot_id` out, sign with that robot's key, or sign in as its owner.",
)
ROBOT_REQUIRED: Final = ProblemType(
    code="episode.robot_required",
    status=422,
    title="A person's request must say for which robot.",
    remedy="Set `robot_id` to one of your robots.",
)
EPISODE_ID_TAKEN: Final = ProblemType(
    code="episode.id_taken",
    status=409,
    title="This episode id belongs to another robot.",
    remedy="Use ids that no other robot can have, or leave `episode_id` out.",
)
EPISODE_SETTLED: Final = ProblemType(
    code="episode.settled",
    status=409,
    title="This episode was already validated or rejected.",
    remedy="Upload under a new episode id, or delete the episode first.",
)
EPISODE_IN_PROGRESS: Final = ProblemType(
    code="episode.in_progress",
    status=409,
    title="This episode is being validated right now.",
    remedy="Ask again after `Retry-After` seconds.",
)
EPISODE_NOT_FOUND: Final = ProblemType(
    code="episode.not_found",
    status=404,
    title="You have no such episode.",
    remedy="`GET /api/v1/episodes` lists yours.",
)
CONTENT_TYPE_UNSUPPORTED: Final = ProblemType(
    code="episode.content_type_unsupported",
    status=422,
    title="An episode is uploaded as gzip, tar, zip or JSON.",
    remedy="Use `application/gzip`, `application/x-tar`, `application/zip` or `application/json`.",
)
UPLOAD_INCOMPLETE: Final = ProblemType(
    code="episode.upload_incomplete",
    status=409,
    title="Not everything of this episode has been uploaded.",
    remedy="Upload the files that `errors` names; ask for a signed URL again if theirs expired.",
)
UPLOAD_MISMATCH: Final = ProblemType(
    code="episode.upload_mismatch",
    status=409,
    title="The episode was announced in another form before.",
    remedy="Announce the same files again, or use a new episode id.",
)
CHECKSUM_MISMATCH: Final = ProblemType(
    code="episode.checksum_mismatch",
    status=409,
    title="The stored object is not the one the checksum was made of.",
    remedy="Compare with the robot's copy and upload it under a new episode id.",
)
REPORT_NOT_READY: Final = ProblemType(
    code="episode.report_not_ready",
    status=409,
    title="The episode has not been validated yet.",
    remedy="Upload it completely; its report follows within seconds.",
)
