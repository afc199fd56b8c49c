"""What every back end can do, and the errors it may end in.

An executor starts the trainer of one attempt of one job somewhere, says how it is, and stops it. It
decides nothing: states of jobs, retries and money are the codebase's. Its one promise is that a
name is started at most once: ``submit`` of a name that exists returns what exists. A dispatcher
that died between its submission and its record finds the work again by that name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

from continuon.errors import ContinuonError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "MAX_NAME_LENGTH",
    "Executor",
    "ExecutorError",
    "ExecutorQuotaError",
    "ExecutorRefusedError",
    "ExecutorUnavailableError",
    "LogChunk",
    "Resources",
    "Submitted",
    "Work",
    "WorkState",
    "WorkStatus",
    "check_image",
    "check_name",
    "work_name",
]

MAX_NAME_LENGTH: Final = 63
"""Characters of a DNS-1123 label: what Kubernetes allows for a Job's name and any label's value."""

_DIGEST: Final = re.compile(r"[^@\s]+@sha256:[0-9a-f]{64}")
_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class ExecutorError(ContinuonError):
    """The base of everything an executor raises on purpose."""


class ExecutorUnavailableError(ExecutorError, UnavailableError):
    """The back end did not answer, or failed on its side: deliver the event again.

    Whether the work was started is unknown; the next attempt finds out by its name.
    """

    def __init__(self, service: str, detail: str = "", *, retry_after_s: int = 5) -> None:
        UnavailableError.__init__(self, service, retry_after_s=retry_after_s)
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.service} is unavailable" + (f": {self.detail}" if self.detail else "")


class ExecutorQuotaError(ExecutorUnavailableError):
    """The back end has no room for this work now; try again later. Nothing was started."""

    def __init__(self, service: str, detail: str = "", *, retry_after_s: int = 60) -> None:
        super().__init__(service, detail, retry_after_s=retry_after_s)

    def __str__(self) -> str:
        return f"{self.service} has no room" + (f": {self.detail}" if self.detail else "")


class ExecutorRefusedError(ExecutorError):
    """The back end will never accept this work as it stands: the job fails and says so.

    Attributes:
        code: Stable, dotted; it becomes the job's ``error.code``.
        message: A sentence for the job's owner; never holds a secret.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What the work may use.

    Attributes:
        cpu: Processors; fractions are allowed where the back end has them.
        memory_mib: Memory in MiB.
        gpu_type: The back end's own name of an accelerator, such as ``nvidia-l4``.
        gpu_count: How many of them.
    """

    cpu: float = 1.0
    memory_mib: int = 2048
    gpu_type: str | None = None
    gpu_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One attempt of one job, as a back end runs it.

    Attributes:
        name: ``continuon-<job>-<attempt>``, a DNS-1123 label; see :func:`work_name`.
        job_id: The job.
        attempt: Its attempt, from 1.
        environment: What the trainer reads; nothing secret.
        secrets: More of its environment that must never reach an argument list, a log, or a
            document of the back end that others can read: the job's token.
        image: The container image by digest; None where the back end needs none or has its own.
        command: The trainer and its arguments; empty for the image's or back end's own.
        resources: What it may use.
        timeout_s: Seconds after which the back end itself ends it.
        labels: For people and bills: lower case, at most 63 characters each.
    """

    name: str
    job_id: str
    attempt: int
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    image: str | None = None
    command: tuple[str, ...] = ()
    resources: Resources = field(default_factory=Resources)
    timeout_s: int = 3600
    labels: Mapping[str, str] = field(default_factory=dict)


class WorkState(StrEnum):
    """How the work is at its back end.

    ``GONE`` means that the back end knows no such name: never submitted, or removed behind our
    back.
    """

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    GONE = "gone"

    @property
    def is_over(self) -> bool:
        """Whether nothing runs under this name any more."""
        return self in {WorkState.SUCCEEDED, WorkState.FAILED, WorkState.GONE}


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkStatus:
    """The answer of a poll.

    Attributes:
        state: See :class:`WorkState`.
        exit_code: The trainer's exit status, or minus the signal that ended it, where known.
        message: The back end's own sentence about a failure or a wait.
        preempted: The back end took the machine away; the same work may simply run again.
        timed_out: The back end ended it for its ``timeout_s``.
    """

    state: WorkState
    exit_code: int | None = None
    message: str | None = None
    preempted: bool = False
    timed_out: bool = False


@dataclass(frozen=True, slots=True)
class Submitted:
    """The answer of a submission: the name, and whether this call started it."""

    name: str
    created: bool


@dataclass(frozen=True, slots=True)
class LogChunk:
    """Some of the work's output.

    Attributes:
        text: UTF-8 with bytes that are none replaced; at most a few hundred kilobytes.
        next_offset: What to ask for next.
        complete: The work is over and nothing follows.
    """

    text: str
    next_offset: int
    complete: bool


class Executor(Protocol):
    """One back end. Each call is bounded in time and may be repeated.

    Attributes:
        name: As in a job's ``config.backend``.
        starts_work: False where work waits to be fetched (``pull``): dispatch then submits nothing.
    """

    name: str
    starts_work: bool

    async def submit(self, work: Work) -> Submitted:
        """Start the work, unless its name exists: then say so and start nothing.

        Raises:
            ExecutorRefusedError: It will never be accepted.
            ExecutorQuotaError: No room now.
            ExecutorUnavailableError: Unknown whether it was started.
        """
        ...

    async def poll(self, name: str) -> WorkStatus:
        """Say how it is.

        Raises:
            ExecutorUnavailableError: The back end did not answer; nothing follows from that.
        """
        ...

    async def cancel(self, name: str) -> None:
        """Stop it, politely first. May be repeated; for work that is over it does nothing.

        Returns when the back end accepted the request; ``poll`` says when it is over. Where the
        back end has a memory of its own for names (``subprocess``, ``modal``), cancelling a name
        that was never submitted uses it up: a submission that comes later starts nothing.
        """
        ...

    async def logs(self, name: str, offset: int = 0) -> LogChunk:
        """Return output from ``offset`` on; offsets come from an earlier chunk, or 0."""
        ...


def work_name(job_id: str, attempt: int) -> str:
    """Return the name of an attempt at every back end: a DNS-1123 label."""
    return check_name(f"continuon-{job_id.replace('_', '-').lower()}-{attempt}")


def check_name(name: str) -> str:
    """Return ``name`` if it is a DNS-1123 label; names become paths, labels and filters.

    Raises:
        ExecutorRefusedError: ``executor.name``.
    """
    if not _NAME.fullmatch(name):
        raise ExecutorRefusedError("executor.name", "The name of the work is no DNS-1123 label.")
    return name


def check_image(image: str | None) -> str:
    """Return ``image`` if it is named by its digest: a tag may be another image tomorrow.

    Raises:
        ExecutorRefusedError: ``executor.image``.
    """
    if image is None or not _DIGEST.fullmatch(image):
        message = f"The trainer's image must be named by digest (name@sha256:...), not {image!r}."
        raise ExecutorRefusedError("executor.image", message)
    return image
