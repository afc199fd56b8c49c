"""The objects that one work is in a Kubernetes cluster, as documents. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from continuon_training.executors.base import check_image

if TYPE_CHECKING:
    from continuon_training.executors.base import Work

__all__ = ["ARMED", "CONTAINER", "PodOptions", "job", "secret"]

ARMED: Final = "continuon.cloud/armed"
"""Annotation of a Job whose Secret is there: it was started, and never is again."""

CONTAINER: Final = "trainer"

_SCRATCH: Final = "/scratch"


@dataclass(frozen=True, slots=True, kw_only=True)
class PodOptions:
    """What a cluster wants of every trainer's Pod.

    Attributes:
        image: The image by digest where a work names none.
        service_account: The Pod's; its token is not mounted. None for the namespace's default.
        run_as_user: A uid other than 0, where the namespace demands one; None for the image's.
        gpu_resource: The extended resource of a GPU.
        gpu_label: The node label whose value is the type of a node's GPUs.
        grace_s: Seconds between SIGTERM and SIGKILL.
        pending_s: How long a work may wait for a node, in seconds.
        keep_s: How long a finished Job is kept, in seconds.
        labels: Labels for every object, besides a work's own.
    """

    image: str | None = None
    service_account: str | None = None
    run_as_user: int | None = None
    gpu_resource: str = "nvidia.com/gpu"
    gpu_label: str = "cloud.google.com/gke-accelerator"
    grace_s: int = 30
    pending_s: int = 24 * 3600
    keep_s: int = 24 * 3600
    labels: dict[str, str] = field(default_factory=dict)


def job(work: Work, options: PodOptions) -> dict[str, Any]:
    """Return the Job, suspended: it starts when its Secret is there.

    The Job is the name that is taken once. It never runs a second Pod: no backoff, and a
    disruption of the Pod ends it with a reason of its own instead of replacing the Pod.
    """
    labels = _labels(work, options)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": work.name, "labels": labels},
        "spec": {
            "suspend": True,
            "backoffLimit": 0,
            "completions": 1,
            "parallelism": 1,
            # Counts from the Job's start, so the wait for a node is in it; the Pod's own limit
            # counts from when it has one.
            "activeDeadlineSeconds": work.timeout_s + options.pending_s,
            "ttlSecondsAfterFinished": options.keep_s,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {
                "rules": [
                    {
                        "action": "FailJob",
                        "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
                    }
                ]
            },
            "template": {"metadata": {"labels": labels}, "spec": _pod(work, options)},
        },
    }


def secret(work: Work, options: PodOptions, *, job_uid: str) -> dict[str, Any]:
    """Return the Secret; it belongs to the Job and is collected with it."""
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": work.name, "uid": job_uid}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {
            "name": work.name,
            "labels": _labels(work, options),
            "ownerReferences": [owner],
        },
        "stringData": dict(work.secrets),
    }


def _labels(work: Work, options: PodOptions) -> dict[str, str]:
    fixed = {"app.kubernetes.io/managed-by": "continuon", "continuon.cloud/work": work.name}
    return options.labels | dict(work.labels) | fixed


def _pod(work: Work, options: PodOptions) -> dict[str, Any]:
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "activeDeadlineSeconds": work.timeout_s,
        "terminationGracePeriodSeconds": options.grace_s,
        # A trainer never holds credentials of the place it runs in.
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": _security(options),
        "containers": [_container(work, options)],
        "volumes": [{"name": "scratch", "emptyDir": {}}],
    }
    if options.service_account:
        pod["serviceAccountName"] = options.service_account
    if work.resources.gpu_count:
        pod["tolerations"] = [
            {"key": options.gpu_resource, "operator": "Exists", "effect": "NoSchedule"}
        ]
        if work.resources.gpu_type:
            pod["nodeSelector"] = {options.gpu_label: work.resources.gpu_type}
    return pod


def _security(options: PodOptions) -> dict[str, Any]:
    context: dict[str, Any] = {"seccompProfile": {"type": "RuntimeDefault"}}
    if options.run_as_user is not None:
        user = options.run_as_user
        context |= {"runAsNonRoot": True, "runAsUser": user, "fsGroup": user}
    return context


def _container(work: Work, options: PodOptions) -> dict[str, Any]:
    resources = work.resources
    amounts = {"cpu": f"{round(resources.cpu * 1000)}m", "memory": f"{resources.memory_mib}Mi"}
    if resources.gpu_count:
        amounts[options.gpu_resource] = str(resources.gpu_count)
    environment = {"CONTINUON_WORK_DIR": _SCRATCH, "HOME": _SCRATCH} | dict(work.environment)
    from_secret = {"name": work.name, "optional": False}
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": check_image(work.image or options.image),
        "env": [
            *({"name": name, "value": value} for name, value in environment.items()),
            *(
                {"name": name, "valueFrom": {"secretKeyRef": from_secret | {"key": name}}}
                for name in work.secrets
            ),
        ],
        # Equal, so that a trainer is the last to be evicted (QoS class Guaranteed).
        "resources": {"requests": amounts, "limits": amounts},
        "workingDir": _SCRATCH,
        "volumeMounts": [{"name": "scratch", "mountPath": _SCRATCH}],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        # The end of the log becomes the reason of a failure, where the trainer left none.
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    if work.command:
        container["command"] = list(work.command)
    return container
