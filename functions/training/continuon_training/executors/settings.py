"""Settings of the back ends: where each is and what it starts there."""

from __future__ import annotations

import os
import tempfile
from functools import cache
from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, model_validator

from continuon.platform.settings import PlatformSettings

__all__ = ["ExecutorSettings", "executor_settings"]


def _default_directory() -> Path:
    # By user, because two people on one machine must not meet in it: it is private (0700).
    return Path(tempfile.gettempdir()) / f"continuon-work-{os.getuid()}"


class ExecutorSettings(PlatformSettings):
    """One object for all back ends, because one process may use several.

    Attributes:
        continuon_subprocess_dir: Where the subprocess back end keeps its works. All functions of
            one machine must name the same one: it is how they find each other's works.
        continuon_subprocess_slots: How many trainers run at once; later ones wait their turn.
        continuon_subprocess_command: The trainer where a job names none, split as a shell does.
        continuon_subprocess_grace_s: Seconds between SIGTERM and SIGKILL.
        continuon_subprocess_log_bytes: How much output is kept of one work, besides its end.
        continuon_kubernetes_kubeconfig: The cluster and how to prove oneself. Without it, inside a
            cluster, the Pod's own service account; elsewhere ``KUBECONFIG`` and ``~/.kube/config``.
        continuon_kubernetes_context: The kubeconfig's context; its current one by default.
        continuon_kubernetes_namespace: Where trainers run.
        continuon_kubernetes_image: The trainer's image by digest, where a job names none.
        continuon_kubernetes_service_account: The trainer's Pod's; its token is never mounted.
        continuon_kubernetes_run_as_user: A uid, where the namespace refuses root.
        continuon_kubernetes_gpu_resource: The extended resource of one GPU.
        continuon_kubernetes_gpu_label: The node label whose value is a GPU type.
        continuon_kubernetes_pending_s: How long a trainer may wait for a node, in seconds.
        continuon_kubernetes_keep_s: How long a finished Job is kept, in seconds.
        continuon_vertex_project: Where custom jobs are made; this deployment's by default.
        continuon_vertex_region: In which region.
        continuon_vertex_image: The trainer's image by digest, where a job names none.
        continuon_vertex_service_account: What trainers run as; give it no role.
        continuon_vertex_spot: Whether to use Spot machines.
        continuon_vertex_emulator_host: Set by tests only; a server without credentials.
        continuon_vertex_logging_emulator_host: The same, for the output.
        continuon_modal_app: Under which name modal_app.py was deployed.
        modal_token_id: As Modal's own tools read it. ``MODAL_SERVER_URL``, too, is honoured.
        modal_token_secret: Its secret.
        modal_environment: Modal's environment; the workspace's default otherwise.
    """

    continuon_subprocess_dir: Path = Field(default_factory=_default_directory)
    continuon_subprocess_slots: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1)
    continuon_subprocess_command: str = "python -m behaviour_cloning --job"
    continuon_subprocess_grace_s: float = Field(default=10.0, ge=0, le=600)
    continuon_subprocess_log_bytes: int = Field(default=8 * 1024 * 1024, ge=1024)

    continuon_kubernetes_kubeconfig: Path | None = None
    continuon_kubernetes_context: str | None = None
    continuon_kubernetes_namespace: str = "continuon-training"
    continuon_kubernetes_image: str | None = None
    continuon_kubernetes_service_account: str | None = None
    continuon_kubernetes_run_as_user: int | None = Field(default=None, ge=1)
    continuon_kubernetes_gpu_resource: str = "nvidia.com/gpu"
    continuon_kubernetes_gpu_label: str = "cloud.google.com/gke-accelerator"
    continuon_kubernetes_pending_s: int = Field(default=24 * 3600, ge=60)
    continuon_kubernetes_keep_s: int = Field(default=24 * 3600, ge=600)

    continuon_vertex_project: str | None = None
    continuon_vertex_region: str = "us-central1"
    continuon_vertex_image: str | None = None
    continuon_vertex_service_account: str | None = None
    continuon_vertex_spot: bool = False
    continuon_vertex_emulator_host: str | None = None
    continuon_vertex_logging_emulator_host: str | None = None

    continuon_modal_app: str = "continuon-training"
    modal_token_id: str | None = None
    modal_token_secret: SecretStr | None = None
    modal_environment: str | None = None

    @model_validator(mode="after")
    def _servers_without_credentials_only_in_demo_projects(self) -> Self:
        hosts = self.continuon_vertex_emulator_host or self.continuon_vertex_logging_emulator_host
        if hosts and not self.google_cloud_project.startswith("demo-"):
            raise ValueError("emulator settings are accepted in projects named demo-* only")
        return self


@cache
def executor_settings() -> ExecutorSettings:
    """Return this process's settings, read at first use and not at import."""
    return ExecutorSettings()
