"""Trainers as Jobs of a Kubernetes cluster, through the official client.

A work is three calls: create the Job, suspended; create its Secret; resume the Job. The first takes
the name, and only one caller can. Who dies before the last leaves a suspended Job without the
mark ``continuon.cloud/armed``, which ``poll`` calls GONE and the next ``submit`` completes: it puts
its own token into the Secret and resumes. Nothing of a trainer exists until then, and the Secret
belongs to the Job, so that nothing is left when the Job is removed.

Needs kubernetes >= 1.31 (Pod failure policies) and the extra ``kubernetes``. docs/executors.md has
the permissions.
"""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError
from urllib3.util.retry import Retry

from continuon_training.executors import _kubernetes_objects as objects
from continuon_training.executors._kubernetes_status import (
    log_is_missing,
    status_of_job,
    status_of_pod,
)
from continuon_training.executors.base import (
    ExecutorQuotaError,
    ExecutorRefusedError,
    ExecutorUnavailableError,
    LogChunk,
    Submitted,
    WorkState,
    WorkStatus,
    check_name,
)
from continuon_training.executors.settings import executor_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from continuon_training.executors.base import ExecutorError, Work

__all__ = ["KubernetesExecutor", "create"]

T = TypeVar("T")

SERVICE: Final = "The Kubernetes cluster"

LOG_CHUNK_BYTES: Final = 256 * 1024
"""One chunk of output."""

MAX_LOG_BYTES: Final = 8 * 1024 * 1024
"""How far into the output chunks go. The cluster has no offsets: each chunk reads from the start,
and a node keeps 10 MiB of one container."""

_TIMEOUT_S: Final = (5.0, 20.0)
"""For connecting and for reading: an event function has 540 s for all its calls."""

_NOT_FOUND, _CONFLICT, _FORBIDDEN, _UNAUTHORIZED = 404, 409, 403, 401
_BAD_REQUEST, _INVALID, _TOO_MANY, _SERVER_ERROR = 400, 422, 429, 500


def create() -> KubernetesExecutor:
    """Return the executor of this process's settings.

    Raises:
        ExecutorRefusedError: ``executor.configuration``: there is no usable kubeconfig.
    """
    settings = executor_settings()
    options = objects.PodOptions(
        image=settings.continuon_kubernetes_image,
        service_account=settings.continuon_kubernetes_service_account,
        run_as_user=settings.continuon_kubernetes_run_as_user,
        gpu_resource=settings.continuon_kubernetes_gpu_resource,
        gpu_label=settings.continuon_kubernetes_gpu_label,
        pending_s=settings.continuon_kubernetes_pending_s,
        keep_s=settings.continuon_kubernetes_keep_s,
    )
    configuration = client.Configuration()
    try:
        kubeconfig = settings.continuon_kubernetes_kubeconfig
        if kubeconfig is None and "KUBERNETES_SERVICE_HOST" in os.environ:
            config.load_incluster_config(client_configuration=configuration)
        else:
            config.load_kube_config(
                config_file=str(kubeconfig) if kubeconfig else None,
                context=settings.continuon_kubernetes_context,
                client_configuration=configuration,
            )
    except (config.ConfigException, OSError, ValueError) as error:
        message = f"The cluster's configuration cannot be used: {error}"
        raise ExecutorRefusedError("executor.configuration", message) from error
    return KubernetesExecutor(configuration, settings.continuon_kubernetes_namespace, options)


class KubernetesExecutor:
    """See the module.

    Args:
        configuration: Where the cluster is and how to prove oneself.
        namespace: Where Jobs and Secrets are made; used for nothing else.
        options: What the cluster wants of a trainer's Pod.
    """

    name = "kubernetes"
    starts_work = True

    def __init__(
        self, configuration: client.Configuration, namespace: str, options: objects.PodOptions
    ) -> None:
        # Only what surely did not arrive, and reads. The client would otherwise sleep for as
        # long as a Retry-After says, inside a function that is billed by the second.
        configuration.retries = Retry(
            connect=2, read=2, status=0, redirect=0, respect_retry_after_header=False
        )
        api = client.ApiClient(configuration)
        self._batch = client.BatchV1Api(api)
        self._core = client.CoreV1Api(api)
        self._namespace = namespace
        self._options = options

    async def submit(self, work: Work) -> Submitted:
        """Create and resume the Job, unless its name was started before; see the protocol."""
        check_name(work.name)
        return await asyncio.to_thread(self._submit, work)

    async def poll(self, name: str) -> WorkStatus:
        """Read the Job, and its Pod where the Job leaves questions."""
        return await asyncio.to_thread(self._poll, check_name(name))

    async def cancel(self, name: str) -> None:
        """Delete the Job and, first, its Pod (foreground); the Secret goes with them.

        The name is free afterwards: whoever cancels must see to it that nobody submits again.
        """
        await asyncio.to_thread(self._cancel, check_name(name))

    async def logs(self, name: str, offset: int = 0) -> LogChunk:
        """Return output of the Pod from the byte ``offset`` on."""
        return await asyncio.to_thread(self._logs, check_name(name), max(0, offset))

    # --- Submission -----------------------------------------------------------------------------

    def _submit(self, work: Work) -> Submitted:
        body = objects.job(work, self._options)
        job = self._call(self._batch.create_namespaced_job, body=body, field_validation="Strict")
        if job is None:
            job = self._read_job(work.name)
            if job is None:
                raise ExecutorUnavailableError(SERVICE, "the Job is being removed")
            if _is_armed(job):
                return Submitted(work.name, created=False)
        self._put_secret(work, job.metadata.uid)
        resume = {"metadata": {"annotations": {objects.ARMED: "true"}}, "spec": {"suspend": False}}
        with _errors():
            self._batch.patch_namespaced_job(
                work.name, self._namespace, resume, _request_timeout=_TIMEOUT_S
            )
        return Submitted(work.name, created=True)

    def _put_secret(self, work: Work, job_uid: str) -> None:
        body = objects.secret(work, self._options, job_uid=job_uid)
        if self._call(self._core.create_namespaced_secret, body=body) is None:
            # Of a dispatcher that died, or of a removed Job of that name: the token is ours now.
            with _errors():
                self._core.replace_namespaced_secret(
                    work.name, self._namespace, body, _request_timeout=_TIMEOUT_S
                )

    def _call(self, create: Callable[..., T], **arguments: Any) -> T | None:
        """Create something; None if it exists."""
        with _errors():
            try:
                return create(self._namespace, _request_timeout=_TIMEOUT_S, **arguments)
            except ApiException as error:
                if error.status == _CONFLICT:
                    return None
                raise

    # --- Everything after -----------------------------------------------------------------------

    def _read_job(self, name: str) -> Any | None:
        with _errors():
            try:
                return self._batch.read_namespaced_job(
                    name, self._namespace, _request_timeout=_TIMEOUT_S
                )
            except ApiException as error:
                if error.status == _NOT_FOUND:
                    return None
                raise

    def _poll(self, name: str) -> WorkStatus:
        job = self._read_job(name)
        if job is None or not _is_armed(job):
            return WorkStatus(state=WorkState.GONE)
        status = status_of_job(job)
        return status if status is not None else status_of_pod(job, self._pod(name))

    def _pod(self, name: str) -> Any | None:
        with _errors():
            pods = self._core.list_namespaced_pod(
                self._namespace,
                label_selector=f"batch.kubernetes.io/job-name={name}",
                _request_timeout=_TIMEOUT_S,
            )
        return pods.items[0] if pods.items else None

    def _cancel(self, name: str) -> None:
        with _errors():
            try:
                self._batch.delete_namespaced_job(
                    name,
                    self._namespace,
                    propagation_policy="Foreground",
                    _request_timeout=_TIMEOUT_S,
                )
            except ApiException as error:
                if error.status != _NOT_FOUND:
                    raise

    def _logs(self, name: str, offset: int) -> LogChunk:
        over = self._poll(name).state.is_over
        pod = self._pod(name)
        end = min(offset + LOG_CHUNK_BYTES, MAX_LOG_BYTES)
        if pod is None or end <= offset:
            return LogChunk("", offset, over or end <= offset)
        data = self._read_log(pod.metadata.name, end)[offset:end]
        complete = over and len(data) < end - offset
        if not complete:
            # Whole lines where there are any: a chunk must not end within a character.
            data = data[: data.rfind(b"\n") + 1] or data
        return LogChunk(data.decode("utf-8", "replace"), offset + len(data), complete)

    def _read_log(self, pod: str, limit: int) -> bytes:
        with _errors():
            try:
                answer = self._core.read_namespaced_pod_log(
                    pod,
                    self._namespace,
                    container=objects.CONTAINER,
                    limit_bytes=limit,
                    _preload_content=False,
                    _request_timeout=_TIMEOUT_S,
                )
            except ApiException as error:
                if log_is_missing(error.status):
                    return b""
                raise
            data: bytes = answer.data
            return data


def _is_armed(job: Any) -> bool:
    return (job.metadata.annotations or {}).get(objects.ARMED) == "true"


@contextmanager
def _errors() -> Iterator[None]:
    """Translate what the client raises into the protocol's errors."""
    try:
        yield
    except ApiException as error:
        raise _translated(error) from error
    except (HTTPError, OSError) as error:
        raise ExecutorUnavailableError(SERVICE, type(error).__name__) from error


def _translated(error: ApiException) -> ExecutorError:
    status, message = int(error.status or 0), _message(error)
    if status == _FORBIDDEN and "exceeded quota" in message:
        return ExecutorQuotaError(SERVICE, message)
    if status == _FORBIDDEN:
        return ExecutorRefusedError("executor.forbidden", message)
    if status == _UNAUTHORIZED:
        # Also what an expired token gets until it is renewed.
        return ExecutorUnavailableError(SERVICE, "it does not accept our credentials")
    if status in (_TOO_MANY, 0) or status >= _SERVER_ERROR:
        return ExecutorUnavailableError(SERVICE, message, retry_after_s=_retry_after_s(error))
    if status == _NOT_FOUND:
        return ExecutorRefusedError("executor.namespace", message)
    return ExecutorRefusedError("executor.invalid", message)


def _message(error: ApiException) -> str:
    try:
        said = json.loads(error.body or "")["message"]
    except (ValueError, KeyError, TypeError):
        said = error.reason
    return str(said)[:1000]


def _retry_after_s(error: ApiException) -> int:
    said = (error.headers or {}).get("Retry-After", "")
    return min(int(said), 600) if str(said).isdecimal() else 5
