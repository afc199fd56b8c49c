"""Back ends that run trainers, each a module of its own, imported when it is first asked for."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Final, cast

from continuon_training.executors.base import ExecutorRefusedError

if TYPE_CHECKING:
    from continuon_training.executors.base import Executor

__all__ = ["BACKENDS", "executor"]

BACKENDS: Final = ("subprocess", "pull", "kubernetes", "vertex", "modal")
"""What a job's ``backend`` may be."""


@cache
def executor(name: str) -> Executor:
    """Return this process's executor of that name, made at its first use.

    Raises:
        ExecutorRefusedError: ``executor.unknown``, or ``executor.not_installed`` where the back
            end's optional dependency is missing in this deployment.
    """
    if name not in BACKENDS:
        known = ", ".join(BACKENDS)
        raise ExecutorRefusedError("executor.unknown", f"There is no back end {name!r}: {known}.")
    try:
        module = import_module(f"continuon_training.executors.{name}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("continuon"):
            raise
        raise ExecutorRefusedError(
            "executor.not_installed",
            f"This deployment lacks the package {error.name!r} of the back end {name!r}.",
        ) from error
    return cast("Executor", module.create())
