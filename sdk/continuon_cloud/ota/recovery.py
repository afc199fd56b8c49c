"""After a power cut: back to the bundle that has proven itself, whatever was going on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from continuon.contracts.ota import ReportError, ReportPhase
from continuon_cloud.ota.state import report_of

if TYPE_CHECKING:
    from continuon_cloud.ota.records import Installed
    from continuon_cloud.ota.slots import Slots
    from continuon_cloud.ota.state import AgentState

__all__ = ["recover"]

MAX_INTERRUPTIONS: Final = 3
"""Power cuts during the trial of one bundle, after which it is reported as failed: once is an
accident, three times in a row is a bundle that takes the robot down."""


def recover(state: AgentState, slots: Slots) -> Installed | None:
    """Let ``current`` name the committed bundle, and forget a trial that was cut short.

    Runs before the robot's own software at every start, and before each round of the agent. Walks
    the same way again when it is itself cut short.

    Returns:
        What runs now; None when nothing ever proved itself.
    """
    committed = state.committed()
    whole = committed is not None and slots.path(committed.slot).is_dir()
    # The pointer first: it is what the robot starts from.
    slots.point_to(committed.slot if committed and whole else None)
    slots.clean()
    trial = state.trial()
    if trial is not None and state.interrupt_trial() >= MAX_INTERRUPTIONS:
        message = f"the power went {MAX_INTERRUPTIONS} times while it was tried"
        error = ReportError(code="ota.interrupted", message=message)
        running = committed.version if committed else None
        bundle_id = trial.installed.bundle_id
        state.end_trial(report_of(bundle_id, ReportPhase.FAILED, running, error))
    return committed if whole else None
