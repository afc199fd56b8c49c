"""Why this codebase refuses a request."""

from __future__ import annotations

from typing import Final

from continuon.errors import ProblemType

__all__ = [
    "ARTIFACT_INCOMPLETE",
    "ARTIFACT_MISMATCH",
    "ARTIFACT_UNKNOWN",
    "BACKEND_DISABLED",
    "BACKEND_LABEL_REQUIRED",
    "BUDGET_EXHAUSTED",
    "EPISODES_CHANGED",
    "EPISODES_TOO_LARGE",
    "EPISODE_NOT_ELIGIBLE",
    "IDEMPOTENCY_MISMATCH",
    "JOB_CHANGED",
    "JOB_NOT_FOUND",
    "JOB_STATE",
    "JOB_SUPERSEDED",
    "JOB_TOKEN_INVALID",
    "MODEL_BASE_NOT_FOUND",
    "MODEL_BASE_NOT_READY",
    "MODEL_BASE_REQUIRED",
    "NO_EPISODES",
    "SLOW_LOOP_NOT_FOUND",
]

JOB_NOT_FOUND: Final = ProblemType(
    code="job.not_found",
    status=404,
    title="You have no such training job.",
    remedy="`GET /api/v1/training/jobs` lists yours.",
)
JOB_STATE: Final = ProblemType(
    code="job.state",
    status=409,
    title="The job is in a state that does not allow this.",
    remedy="`detail` names the present state; a job that ended can be retried, not changed.",
)
JOB_CHANGED: Final = ProblemType(
    code="job.changed",
    status=409,
    title="The job was changed by other requests at the same time.",
    remedy="Send the request again.",
)
JOB_TOKEN_INVALID: Final = ProblemType(
    code="job.token_invalid",
    status=401,
    title="This is not the token of this job.",
    remedy="Use the token that came with the job; it works for that job only, until the job ends.",
)
JOB_SUPERSEDED: Final = ProblemType(
    code="job.superseded",
    status=409,
    title="This token belongs to work that is over: the job ended or is done by another worker.",
    remedy="Stop. Nothing this worker does counts any more.",
)
IDEMPOTENCY_MISMATCH: Final = ProblemType(
    code="job.idempotency_mismatch",
    status=409,
    title="This Idempotency-Key was used for another request.",
    remedy="Use a new key for a new job; repeat a request unchanged.",
)
BACKEND_DISABLED: Final = ProblemType(
    code="job.backend_disabled",
    status=422,
    title="This deployment has no such backend.",
    remedy="Choose one that `detail` names, or enable it: docs/executors.md.",
)
BACKEND_LABEL_REQUIRED: Final = ProblemType(
    code="job.backend_label_required",
    status=422,
    title="A job for your own workers must say which of them may lease it.",
    remedy="Set `backend_label` to what your workers ask for, such as `colab`.",
)
NO_EPISODES: Final = ProblemType(
    code="job.no_episodes",
    status=422,
    title="No episode fits.",
    remedy="Only validated, training-eligible episodes of that robot model count; lower "
    "`min_quality`, or look at `GET /api/v1/episodes`.",
)
EPISODE_NOT_ELIGIBLE: Final = ProblemType(
    code="job.episode_not_eligible",
    status=422,
    title="An episode that was listed cannot be trained on.",
    remedy="`errors` says which and why; leave it out or validate it first.",
)
EPISODES_TOO_LARGE: Final = ProblemType(
    code="job.episodes_too_large",
    status=422,
    title="The ids of the episodes do not fit into one job.",
    remedy="Split the job: at most 10,000 episodes, whose ids take at most 600 KiB.",
)
EPISODES_CHANGED: Final = ProblemType(
    code="job.episodes_changed",
    status=409,
    title="Episodes of this job were deleted or rejected since it started.",
    remedy="Retry the job: it starts without them.",
)
MODEL_BASE_REQUIRED: Final = ProblemType(
    code="job.model_base_required",
    status=422,
    title="A fine-tuning must say which model it starts from.",
    remedy="Set `model_base` to one of your versions: `models/ID/versions/N`, `ID@VERSION` or "
    "`ID@ALIAS`; or start a job of the type `seed`.",
)
MODEL_BASE_NOT_FOUND: Final = ProblemType(
    code="job.model_base_not_found",
    status=422,
    title="You have no such version of a model to start from.",
    remedy="Name it as `models/ID/versions/N`, `ID@VERSION` or `ID@ALIAS`; `GET /api/v1/models` "
    "lists your models.",
)
MODEL_BASE_NOT_READY: Final = ProblemType(
    code="job.model_base_not_ready",
    status=422,
    title="The version to start from has no artifact: it is pending or was deleted.",
    remedy="Complete its upload, or name another version.",
)
BUDGET_EXHAUSTED: Final = ProblemType(
    code="budget.exhausted",
    status=403,
    title="Your training budget of this month is used up.",
    remedy="Raise it with `PUT /api/v1/training/budget`, or use a backend that costs nothing.",
)
ARTIFACT_UNKNOWN: Final = ProblemType(
    code="artifact.unknown",
    status=422,
    title="The callback names an object that was not announced for this job.",
    remedy="Ask for its upload first: `POST .../artifacts`; name the `ref` of the answer.",
)
ARTIFACT_INCOMPLETE: Final = ProblemType(
    code="artifact.incomplete",
    status=422,
    title="The object that the callback names is not stored as it was announced.",
    remedy="Finish its upload, or announce and upload it under another name.",
)
ARTIFACT_MISMATCH: Final = ProblemType(
    code="artifact.mismatch",
    status=409,
    title="An object of this name was announced with other content.",
    remedy="Use another name: nothing that is stored is replaced.",
)
SLOW_LOOP_NOT_FOUND: Final = ProblemType(
    code="slow_loop.not_found",
    status=404,
    title="You have no slow loop for this robot model.",
    remedy="`PUT /api/v1/training/slow-loops/{robot_model}` sets one up.",
)
