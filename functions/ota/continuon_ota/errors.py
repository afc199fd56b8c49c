"""Why this codebase refuses a request."""

from __future__ import annotations

from typing import Final

from continuon.errors import ProblemType

__all__ = [
    "BUNDLE_EXISTS",
    "BUNDLE_NOT_FOUND",
    "BUNDLE_NOT_SIGNED",
    "BUNDLE_NOT_UPLOADED",
    "DEPLOYMENT_NOT_OFFERED",
    "METADATA_CONFLICT",
    "METADATA_INVALID",
    "METADATA_NOT_FOUND",
    "METADATA_NO_KEY",
    "OPERATOR_REQUIRED",
    "ROLLOUT_CHANGED",
    "ROLLOUT_CONFLICT",
    "ROLLOUT_NOT_NEWER",
    "ROLLOUT_PLAN_UNEXPECTED",
    "ROLLOUT_REFUSED",
    "ROLLOUT_STATUS_UNEXPECTED",
    "TARGET_NOT_FOUND",
    "UPDATES_NOT_FOUND",
]

OPERATOR_REQUIRED: Final = ProblemType(
    code="auth.operator_required",
    status=403,
    title="This route is for operators.",
    remedy="Use an account with the custom claim `operator` or `admin`; sign in again after it "
    "was granted.",
)
BUNDLE_NOT_FOUND: Final = ProblemType(
    code="bundle.not_found",
    status=404,
    title="There is no such bundle.",
    remedy="`GET /api/ota/bundles` lists them.",
)
BUNDLE_EXISTS: Final = ProblemType(
    code="bundle.exists",
    status=409,
    title="This version of this robot model exists with other content.",
    remedy="A version never changes. Publish the new content under a new version.",
)
BUNDLE_NOT_UPLOADED: Final = ProblemType(
    code="bundle.not_uploaded",
    status=409,
    title="The archive of this bundle is not in the store, or has another size.",
    remedy="Upload it with the URL of `POST /api/ota/bundles`; asking again renews the URL.",
)
BUNDLE_NOT_SIGNED: Final = ProblemType(
    code="bundle.not_signed",
    status=409,
    title="The published metadata does not list this archive, so every robot would refuse it.",
    remedy="Sign and publish it: `continuon ota publish`.",
)
ROLLOUT_REFUSED: Final = ProblemType(
    code="rollout.refused",
    status=409,
    title="The rollout is in a state in which this cannot be done.",
    remedy="`detail` names the state; `GET /api/ota/bundles/{id}/rollout` shows it.",
)
ROLLOUT_STATUS_UNEXPECTED: Final = ProblemType(
    code="rollout.status_unexpected",
    status=409,
    title="The rollout is not in the state that the request expects.",
    remedy="Somebody, or the gate, was first. Read the rollout and decide anew.",
)
ROLLOUT_CHANGED: Final = ProblemType(
    code="rollout.changed",
    status=409,
    title="The rollout was changed by somebody else at the same time.",
    remedy="Read the rollout again and decide anew.",
)
ROLLOUT_CONFLICT: Final = ProblemType(
    code="rollout.conflict",
    status=409,
    title="Another rollout is on its way to the same robots.",
    remedy="Pause, halt or roll that one back first, or target other groups.",
)
ROLLOUT_NOT_NEWER: Final = ProblemType(
    code="rollout.not_newer",
    status=409,
    title="These robots have a version in production that is not older.",
    remedy="Publish under a higher version. To go back, roll the newer bundle back.",
)
ROLLOUT_PLAN_UNEXPECTED: Final = ProblemType(
    code="rollout.plan_unexpected",
    status=422,
    title="Only `start` takes a plan.",
    remedy="Leave `plan` out. A plan that has begun does not change; roll back and publish anew.",
)
DEPLOYMENT_NOT_OFFERED: Final = ProblemType(
    code="deployment.not_offered",
    status=409,
    title="This bundle was never offered to this robot.",
    remedy="Check first: `POST /api/ota/check`. A bundle that was installed by other means is "
    "reported as `healthy`.",
)
METADATA_NOT_FOUND: Final = ProblemType(
    code="metadata.not_found",
    status=404,
    title="There is no such metadata file.",
    remedy="Ask for versions one after the other; the first that is missing ends the search.",
)
METADATA_INVALID: Final = ProblemType(
    code="metadata.invalid",
    status=422,
    title="The signed metadata cannot be published.",
    remedy="`detail` says what is wrong: a signature, an expiry, or a version that goes back.",
)
METADATA_CONFLICT: Final = ProblemType(
    code="metadata.conflict",
    status=409,
    title="This version of the signed metadata is taken, or goes back.",
    remedy="Download what is published, sign the next version and publish again.",
)
METADATA_NO_KEY: Final = ProblemType(
    code="metadata.no_key",
    status=503,
    title="This deployment has no online keys, so nothing can be published.",
    remedy="Set CONTINUON_OTA_SNAPSHOT_KEY (and CONTINUON_OTA_TIMESTAMP_KEY) to key URIs.",
)
TARGET_NOT_FOUND: Final = ProblemType(
    code="target.not_found",
    status=404,
    title="There is no such target for this robot.",
    remedy="Targets are `{robot_model}/{version}.bundle`, with or without the hash prefix.",
)
UPDATES_NOT_FOUND: Final = ProblemType(
    code="robot.not_found",
    status=404,
    title="You have no such robot.",
    remedy="`GET /api/v1/robots` lists yours.",
)
