"""What a trainer is told by its environment: contract 1."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from continuon.contracts.training import JOB_ID, TRAINER_CONTRACT
from continuon_cloud.errors import SettingsError
from continuon_cloud.settings import checked_url
from continuon_cloud.training.errors import TrainerContextError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["VARIABLES", "JobContext"]

VARIABLES: Final = (
    "CONTINUON_TRAINER_CONTRACT",
    "CONTINUON_API_URL",
    "CONTINUON_JOB_ID",
    "CONTINUON_JOB_ATTEMPT",
    "CONTINUON_JOB_TOKEN",
)
"""All of them are set for every trainer; everything else comes from the assignment."""

_HINT: Final = "A back end or `continuon worker` starts a trainer; see docs/trainers.md."


@dataclass(frozen=True, slots=True)
class JobContext:
    """Which attempt of which job this process works on, and where its cloud is.

    Attributes:
        api_url: Of the cloud, without a trailing slash.
        job_id: The job.
        attempt: Its attempt, from 1.
        token: Good for this attempt of this job and nothing else.
        work_dir: Scratch space; nothing in it is needed after the process.
        cache_dir: Where downloaded episodes are kept; other jobs may find them there.
    """

    api_url: str
    job_id: str
    attempt: int
    token: str = field(repr=False)
    work_dir: Path
    cache_dir: Path

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> JobContext:
        """Read the variables of contract 1.

        ``CONTINUON_WORK_DIR`` and ``CONTINUON_CACHE_DIR`` are optional.

        Raises:
            TrainerContextError: One is missing or malformed, or the contract is another.
        """
        missing = [name for name in VARIABLES if not environment.get(name)]
        if missing:
            raise TrainerContextError(f"{', '.join(missing)} is not set", hint=_HINT)
        _check_contract(environment["CONTINUON_TRAINER_CONTRACT"])
        work_dir = Path(environment.get("CONTINUON_WORK_DIR") or tempfile.mkdtemp("", "continuon-"))
        cache_dir = environment.get("CONTINUON_CACHE_DIR")
        return cls(
            api_url=_url(environment["CONTINUON_API_URL"]),
            job_id=_job_id(environment["CONTINUON_JOB_ID"]),
            attempt=_attempt(environment["CONTINUON_JOB_ATTEMPT"]),
            token=environment["CONTINUON_JOB_TOKEN"],
            work_dir=work_dir,
            cache_dir=Path(cache_dir) if cache_dir else work_dir / "episodes",
        )


def _check_contract(text: str) -> None:
    if text != str(TRAINER_CONTRACT):
        raise TrainerContextError(
            f"this trainer speaks contract {TRAINER_CONTRACT}, the cloud asks for {text!r}",
            code="trainer.contract",
            hint="Use a newer continuon-cloud.",
        )


def _url(text: str) -> str:
    try:
        return checked_url(text)
    except SettingsError as error:
        raise TrainerContextError(f"CONTINUON_API_URL: {error}", hint=_HINT) from error


def _job_id(text: str) -> str:
    if not JOB_ID.match(text):
        raise TrainerContextError(f"CONTINUON_JOB_ID {text!r} is no job id", hint=_HINT)
    return text


def _attempt(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text[:9]) < 10**9:
        raise TrainerContextError(f"CONTINUON_JOB_ATTEMPT {text!r} is no attempt", hint=_HINT)
    return int(text)
