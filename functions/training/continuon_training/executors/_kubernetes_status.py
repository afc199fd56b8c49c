"""What a Job and its Pod say about the work. Pure: takes the client's objects, calls nothing.

Reasons as in the Kubernetes sources: ``batch/v1`` JobReason*, and the kubelet's Pod reasons.
"""

from __future__ import annotations

from typing import Any, Final

from continuon_training.executors.base import WorkState, WorkStatus

__all__ = ["log_is_missing", "status_of_job", "status_of_pod"]

_PREEMPTED: Final = frozenset(
    {"Evicted", "Preempting", "NodeShutdown", "Shutdown", "Terminated", "NodeLost"}
    | {"NodeAffinity", "OutOfcpu", "OutOfmemory", "UnexpectedAdmissionError"}
)
"""Reasons of a failed Pod that are its node's, not the trainer's."""

_NEVER_STARTS: Final = frozenset({"InvalidImageName"})
"""Reasons of waiting that no waiting mends."""

_MISSING_LOG: Final = frozenset({400, 404})
"""Answers while a container has not started, or when its Pod is gone."""


def log_is_missing(status: int | None) -> bool:
    """Whether this answer to a request for a log means that there is none."""
    return status in _MISSING_LOG


def status_of_job(job: Any) -> WorkStatus | None:
    """Return how the work is if the Job alone says so, or None: then its Pod does."""
    if job.metadata.deletion_timestamp is not None:
        # Foreground deletion: the Job stays until its Pod has ended.
        return WorkStatus(state=WorkState.RUNNING, message="It is being removed.")
    for condition in (job.status and job.status.conditions) or ():
        if condition.status != "True":
            continue
        if condition.type == "Complete":
            return WorkStatus(state=WorkState.SUCCEEDED, exit_code=0)
        if condition.type == "Failed" and condition.reason == "DeadlineExceeded":
            return _failed("It ran into its time limit.", timed_out=True)
        if condition.type == "Failed" and condition.reason == "PodFailurePolicy":
            return _failed(condition.message, preempted=True)
    if job.spec.suspend:
        return _failed("The Job was suspended in the cluster.", preempted=True)
    return None


def status_of_pod(job: Any, pod: Any | None) -> WorkStatus:
    """Return how the work is when the Job has not ended for a reason of its own."""
    failure = next((c for c in _conditions(job) if c.type == "Failed" and c.status == "True"), None)
    if pod is None:
        if failure is not None:  # the Pod was deleted, or its node was
            return _failed(failure.message)
        return WorkStatus(state=WorkState.PENDING, message="The cluster made no Pod yet.")
    if failure is not None:
        return _failed_pod(pod)
    if pod.status.phase == "Pending":
        return _pending_pod(pod)
    # Succeeded and Failed: the Job follows in a moment.
    return WorkStatus(state=WorkState.RUNNING)


def _conditions(thing: Any) -> list[Any]:
    return list((thing.status and thing.status.conditions) or ())


def _pending_pod(pod: Any) -> WorkStatus:
    waiting = _container_state(pod, "waiting")
    if waiting is not None and waiting.reason in _NEVER_STARTS:
        return _failed(f"{waiting.reason}: {waiting.message}")
    if waiting is not None and waiting.reason != "ContainerCreating":
        message = f"{waiting.reason}: {waiting.message}"
        return WorkStatus(state=WorkState.PENDING, message=message)
    for condition in _conditions(pod):
        if condition.type == "PodScheduled" and condition.status == "False":
            return WorkStatus(state=WorkState.PENDING, message=condition.message)
    return WorkStatus(state=WorkState.PENDING)


def _failed_pod(pod: Any) -> WorkStatus:
    if pod.status.reason == "DeadlineExceeded":
        return _failed("It ran into its time limit.", timed_out=True)
    disrupted = any(c.type == "DisruptionTarget" and c.status == "True" for c in _conditions(pod))
    if disrupted or pod.status.reason in _PREEMPTED:
        return _failed(pod.status.message or pod.status.reason, preempted=True)
    ended = _container_state(pod, "terminated")
    if ended is None:
        return _failed(pod.status.message)
    said = f": {ended.message.strip()[-500:]}" if ended.message else "."
    message = f"{ended.reason}, exit status {ended.exit_code}{said}"
    return _failed(message, exit_code=ended.exit_code)


def _container_state(pod: Any, name: str) -> Any | None:
    statuses = pod.status.container_statuses or ()
    return getattr(statuses[0].state, name) if statuses else None


def _failed(
    message: str | None,
    *,
    exit_code: int | None = None,
    preempted: bool = False,
    timed_out: bool = False,
) -> WorkStatus:
    return WorkStatus(
        state=WorkState.FAILED,
        exit_code=exit_code,
        message=message,
        preempted=preempted,
        timed_out=timed_out,
    )
