"""What a person can do about a refusal of the service, by its code."""

from __future__ import annotations

from typing import Final

from continuon.auth import problems

__all__ = ["hint_for"]

_SHARED = (
    problems.CLAIM_INVALID,
    problems.FORBIDDEN,
    problems.ROBOT_UNKNOWN,
    problems.SIGNATURE_EXPIRED,
)

_HINTS: Final = {problem.code: problem.remedy for problem in _SHARED} | {
    "auth.credentials_missing": "Sign in: continuon login --email YOU@EXAMPLE.COM",
    "auth.operator_required": "Ask for the claim `operator` on your account, then sign in again.",
    "auth.token_invalid": "Sign in again: continuon login --email YOU@EXAMPLE.COM",
    "bundle.exists": "A published version never changes. Give it a new one: --release.",
    "bundle.not_signed": "Publish it: continuon ota publish ...",
    "claim.device_not_provisioned": "Ask whoever runs this cloud to provision the device.",
    "claim.key_revoked": "This key was revoked. Make a new one: continuon robot init --rotate ...",
    "claim.replayed": "Run the command again; it signs a new proof.",
    "episode.id_taken": "Episode ids are unique in the cloud. Record under an id of your own.",
    "episode.in_progress": "Ask again in a moment.",
    "episode.not_found": "`continuon episode list` shows yours.",
    "episode.report_not_ready": "Ask again in a moment; see `continuon episode list`.",
    "episode.robot_mismatch": "Use the robot's own key, or sign in as its owner.",
    "episode.settled": "An episode of this id was judged before. Delete it first, or use a new id.",
    "model.alias_moved": "Look again: continuon models alias history MODEL ALIAS",
    "model.alias_not_found": "`continuon models show MODEL` lists its aliases.",
    "model.alias_points_here": "Point it elsewhere first: continuon models alias set ...",
    "model.checksum_mismatch": "The file changed while it was uploaded. Register it again.",
    "model.exists": "It is for another robot model. Choose another id.",
    "model.id_taken": "Model ids are unique in the cloud. Choose one of your own.",
    "model.not_found": "`continuon models list` shows yours. --robot-model makes a new one.",
    "model.version_deleted": "Use another version: continuon models versions MODEL",
    "model.version_not_found": "`continuon models versions MODEL` lists them.",
    "model.version_pending": "Its upload never ended. Register the same file again to finish it.",
    "budget.exhausted": "Raise it: continuon train budget --limit USD",
    "job.backend_label_required": "Name your workers: --backend-label LABEL",
    "job.model_base_not_found": "`continuon models list` shows yours: --model-base MODEL@ALIAS",
    "job.model_base_not_ready": "Name another one: continuon models versions MODEL",
    "job.model_base_required": "Name a version of yours: --model-base MODEL@ALIAS",
    "job.no_episodes": "`continuon episode list` shows robot models, quality and eligibility.",
    "job.not_found": "`continuon train list` shows yours.",
    "job.state": "`continuon train show JOB` says where it is; an ended one can be retried.",
    "metadata.conflict": "Somebody published meanwhile. Run the command again.",
    "metadata.no_key": "The cloud has no online key: docs/ota-trust.md says which variable.",
    "quota.robots": "Revoke a robot you no longer use, or raise the plan.",
    "robot.already_claimed": "Its owner must revoke it first.",
    "robot.not_found": "`continuon robot list` shows yours.",
    "service.unavailable": "Try again in a moment. Queued uploads are kept.",
    "slow_loop.not_found": "Set it up: continuon train slow-loop MODEL --on --backend BACKEND",
    "webhook.secret_missing": "Make one: continuon webhooks new-secret",
    "webhook.url_refused": "Use a public https address with a name that resolves.",
    "signature.invalid": "Is this the key that was claimed? Revoke the robot and claim it again.",
}


def hint_for(code: str) -> str:
    """Return a sentence, or nothing when there is none to give."""
    return _HINTS.get(code, "")
