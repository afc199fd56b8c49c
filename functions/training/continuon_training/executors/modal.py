"""Trainers as calls of a function on Modal, through the official client.

``functions/training/modal_app.py`` is deployed to Modal once and holds the function ``train``. A
call of it has an id that Modal mints and no name, so names are kept in a ``modal.Dict``, whose
``put(skip_if_exists=True)`` is atomic:

    <name>            the call that is the work; written by the dispatcher after it called, and by
                      the call itself before it does anything, whoever comes first
    <name>/started    written by the call when it starts the trainer

A call that finds another's id under its name ends without doing anything. So a dispatcher may die
between call and record, or two may call at once: one trainer starts. A call that finds itself
started already was moved by Modal to another machine; it reports that it was preempted.

Needs the extra ``modal``. docs/executors.md has the token and how to deploy.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import modal
from modal import exception

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
    from collections.abc import AsyncIterator

    from continuon_training.executors.base import Resources, Work

__all__ = ["FUNCTION", "REGISTRY", "ModalExecutor", "create"]

SERVICE: Final = "Modal"
FUNCTION: Final = "train"
REGISTRY: Final = "continuon-works"

MAX_TIMEOUT_S: Final = 24 * 3600
"""Modal's limit for one call."""

CALL_S: Final = 90.0
"""For one call of the protocol, in seconds. The client tries to connect for up to 63 s and repeats
requests; an event function has 540 s."""

GRACE_S: Final = 10.0
"""Between SIGTERM and SIGKILL; Modal itself gives a container 30 s."""

_CANCELLED: Final = ""
"""The call of a name that was cancelled before there was a call."""

_LOG_RANGE_S: Final = 24 * 3600
"""How far back the first chunk of output looks, at most."""


def create() -> ModalExecutor:
    """Return the executor of this process's settings.

    Raises:
        ExecutorRefusedError: ``executor.configuration``: there is no token.
    """
    settings = executor_settings()
    if settings.modal_token_id is None or settings.modal_token_secret is None:
        message = "This deployment has no Modal token: set MODAL_TOKEN_ID and MODAL_TOKEN_SECRET."
        raise ExecutorRefusedError("executor.configuration", message)
    return ModalExecutor(
        settings.modal_token_id,
        settings.modal_token_secret.get_secret_value(),
        app=settings.continuon_modal_app,
        environment=settings.modal_environment,
    )


class ModalExecutor:
    """See the module.

    Args:
        token_id: Of a service user of the workspace.
        token_secret: Its secret.
        app: The name under which ``modal_app.py`` was deployed.
        environment: Modal's environment; None for the workspace's default.
    """

    name = "modal"
    starts_work = True

    def __init__(
        self, token_id: str, token_secret: str, *, app: str, environment: str | None = None
    ) -> None:
        self._credentials = (token_id, token_secret)
        self._app = app
        self._environment = environment
        self._connected: modal.Client | None = None

    async def submit(self, work: Work) -> Submitted:
        """Call the function unless the name has a call; see the module."""
        check_name(work.name)
        options, order = _options(work), _order(work)
        async with _bounded():
            client = await self._client()
            registry = self._registry(client)
            if await registry.get.aio(work.name) is not None:
                return Submitted(work.name, created=False)
            function = modal.Function.from_name(
                self._app, FUNCTION, environment_name=self._environment, client=client
            )
            call = await function.with_options(**options).spawn.aio(order)
            entry = {"call": call.object_id, "at": time.time()}
            if await registry.put.aio(work.name, entry, skip_if_exists=True):
                return Submitted(work.name, created=True)
            first = await registry.get.aio(work.name)
            if first["call"] != call.object_id:
                await call.cancel.aio()
            return Submitted(work.name, created=first["call"] == call.object_id)

    async def poll(self, name: str) -> WorkStatus:
        """Ask for the call's result without waiting for it."""
        async with _bounded():
            client = await self._client()
            registry = self._registry(client)
            entry = await registry.get.aio(check_name(name))
            if entry is None:
                return WorkStatus(state=WorkState.GONE)
            if entry["call"] == _CANCELLED:
                return WorkStatus(state=WorkState.FAILED, message="It was cancelled.")
            status = await _result(modal.FunctionCall.from_id(entry["call"], client))
            if status is None:
                started = await registry.contains.aio(f"{name}/started")
                status = WorkStatus(state=WorkState.RUNNING if started else WorkState.PENDING)
        return status

    async def cancel(self, name: str) -> None:
        """Cancel the call and end its container; a name without a call is used up."""
        async with _bounded():
            client = await self._client()
            registry = self._registry(client)
            entry = {"call": _CANCELLED, "at": time.time()}
            if await registry.put.aio(check_name(name), entry, skip_if_exists=True):
                return
            entry = await registry.get.aio(name)
            if entry["call"] == _CANCELLED:
                return
            call = modal.FunctionCall.from_id(entry["call"], client)
            try:
                await call.cancel.aio(terminate_containers=True)
            except exception.NotFoundError:
                return

    async def logs(self, name: str, offset: int = 0) -> LogChunk:
        """Return output since ``offset``, which is a time: microseconds since the epoch."""
        async with _bounded():
            client = await self._client()
            entry = await self._registry(client).get.aio(check_name(name))
            if entry is None or entry["call"] == _CANCELLED:
                return LogChunk("", offset, complete=True)
            call = modal.FunctionCall.from_id(entry["call"], client)
            over = await _result(call) is not None
            earliest = max(entry["at"], time.time() - _LOG_RANGE_S) * 1e6
            since = datetime.fromtimestamp((offset or earliest) / 1e6, UTC)
            text, last = "", offset
            async for line in call.logs.fetch.aio(since=since):
                text += line.message
                last = max(last, round(line.timestamp.timestamp() * 1e6) + 1)
        return LogChunk(text, last, over)

    async def _client(self) -> modal.Client:
        if self._connected is None or self._connected.is_closed():
            self._connected = await modal.Client.from_credentials.aio(*self._credentials)
        return self._connected

    def _registry(self, client: modal.Client) -> modal.Dict:
        return modal.Dict.from_name(
            REGISTRY, create_if_missing=True, environment_name=self._environment, client=client
        )


def _options(work: Work) -> dict[str, Any]:
    if work.timeout_s > MAX_TIMEOUT_S:
        message = f"Modal runs a call for {MAX_TIMEOUT_S} s at most, not {work.timeout_s} s."
        raise ExecutorRefusedError("executor.resources", message)
    resources = work.resources
    options: dict[str, Any] = {
        "cpu": resources.cpu,
        "memory": resources.memory_mib,
        "timeout": work.timeout_s,
        # An attempt runs once; the next attempt is the codebase's decision.
        "retries": 0,
    }
    if resources.gpu_count:
        options["gpu"] = _gpu(resources)
    return options


def _gpu(resources: Resources) -> str:
    """Return Modal's name of a GPU: ``nvidia-l4`` and ``L4`` are the same."""
    name = (resources.gpu_type or "any").upper().removeprefix("NVIDIA-").removeprefix("TESLA-")
    return f"{name.replace('_', '-')}:{resources.gpu_count}"


def _order(work: Work) -> dict[str, Any]:
    """Return the argument of the call: plain data that ``modal_app.py`` reads."""
    return {
        "name": work.name,
        "registry": REGISTRY,
        "command": list(work.command),
        "environment": dict(work.environment) | dict(work.secrets),
        "timeout_s": work.timeout_s,
        "grace_s": GRACE_S,
    }


async def _result(call: Any) -> WorkStatus | None:
    """Return how the call ended, or None while it has not."""
    try:
        said = await call.get.aio(timeout=0)
    except (exception.OutputExpiredError, exception.NotFoundError) as error:
        return WorkStatus(state=WorkState.GONE, message=_words(error))
    except exception.FunctionTimeoutError as error:
        return WorkStatus(state=WorkState.FAILED, message=_words(error), timed_out=True)
    except (TimeoutError, exception.TimeoutError):
        return None
    except _TRANSPORT:
        raise
    except (Exception, exception.InputCancellation) as error:  # noqa: BLE001 - what the call raised
        lost = isinstance(error, exception.InternalFailure)
        return WorkStatus(state=WorkState.FAILED, message=_words(error), preempted=lost)
    return _said(said)


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:1000]


def _said(result: dict[str, Any]) -> WorkStatus:
    """Return what ``modal_app.run`` reported."""
    if result.get("exit_code") == 0:
        return WorkStatus(state=WorkState.SUCCEEDED, exit_code=0)
    return WorkStatus(
        state=WorkState.FAILED,
        exit_code=result.get("exit_code"),
        message=result.get("message"),
        preempted=bool(result.get("preempted")),
        timed_out=bool(result.get("timed_out")),
    )


_TRANSPORT: Final = (
    exception.AuthError,
    exception.ClientClosed,
    exception.ConnectionError,
    exception.InternalError,
    exception.PermissionDeniedError,
    exception.ResourceExhaustedError,
    exception.ServiceError,
)
"""What is about the question, not about the call."""


@asynccontextmanager
async def _bounded() -> AsyncIterator[None]:
    """Give up after a while, and translate what the client raises into the protocol's errors."""
    try:
        async with asyncio.timeout(CALL_S):
            yield
    except exception.ResourceExhaustedError as error:
        raise ExecutorQuotaError(SERVICE, str(error)[:1000]) from error
    except exception.AuthError as error:
        raise ExecutorUnavailableError(SERVICE, "it does not accept our token") from error
    except exception.PermissionDeniedError as error:
        raise ExecutorRefusedError("executor.forbidden", str(error)[:1000]) from error
    except exception.NotFoundError as error:
        message = f"{error} Deploy functions/training/modal_app.py to Modal first."
        raise ExecutorRefusedError("executor.configuration", message) from error
    except exception.InvalidError as error:
        raise ExecutorRefusedError("executor.invalid", str(error)[:1000]) from error
    except (exception.Error, OSError) as error:
        raise ExecutorUnavailableError(
            SERVICE, f"{type(error).__name__}: {error}"[:1000]
        ) from error
