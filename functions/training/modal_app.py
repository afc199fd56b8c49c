"""What runs on Modal: deploy with ``modal deploy functions/training/modal_app.py``.

This file is all that Modal gets of this repository; the trainer is in the image, which
``CONTINUON_MODAL_IMAGE`` names by digest at deployment. See executors/modal.py for the rules that
``run`` keeps: a name is started once, and a call that Modal moved to another machine says so.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any, Final

import modal

NOT_STARTED: Final = 127
"""What a shell reports for a command that it could not start."""

DEFAULT_COMMAND: Final = ("python", "-m", "behaviour_cloning", "--job")


def _image() -> modal.Image:
    image = os.environ.get("CONTINUON_MODAL_IMAGE", "")
    if modal.is_local() and "@sha256:" not in image:
        sys.exit("Set CONTINUON_MODAL_IMAGE to the trainer's image by digest (name@sha256:...).")
    return modal.Image.from_registry(image) if image else modal.Image.debian_slim()


app = modal.App("continuon-training")


@app.function(  # type: ignore[untyped-decorator]  # where Modal's client is not installed
    image=_image(), timeout=24 * 3600, retries=0, single_use_containers=True
)
def train(order: dict[str, Any]) -> dict[str, Any]:
    """Run one attempt of one job; see ``run``."""
    registry = modal.Dict.from_name(order["registry"], create_if_missing=True)
    return run(order, registry, str(modal.current_function_call_id()))


def run(order: dict[str, Any], registry: modal.Dict, call_id: str) -> dict[str, Any]:
    """Run the trainer if this call is the one of its name and has not begun before.

    Args:
        order: ``name``, ``command``, ``environment``, ``timeout_s``, ``grace_s``.
        registry: Which call belongs to which name.
        call_id: This call.

    Returns:
        ``exit_code``, or None where nothing ran; ``message``, ``preempted``, ``timed_out``.
    """
    name = order["name"]
    entry = {"call": call_id, "at": time.time()}
    if not registry.put(name, entry, skip_if_exists=True) and registry[name]["call"] != call_id:
        return {"exit_code": None, "message": "Another call has this name."}
    if not registry.put(f"{name}/started", call_id, skip_if_exists=True):
        return {"exit_code": None, "message": "Modal moved the call.", "preempted": True}
    try:
        process = subprocess.Popen(  # noqa: S603 - the job's own command
            order["command"] or DEFAULT_COMMAND,
            env=os.environ | order["environment"],
            start_new_session=True,
        )
    except OSError as error:
        return {"exit_code": NOT_STARTED, "message": f"The trainer did not start: {error}"}
    try:
        code = process.wait(order["timeout_s"])
    except subprocess.TimeoutExpired:
        code = _stop(process, order["grace_s"])
        return {"exit_code": code, "message": "It ran into its time limit.", "timed_out": True}
    except BaseException:
        _stop(process, order["grace_s"])  # Modal cancels the call, or takes the machine away
        raise
    return {"exit_code": code, "message": None}


def _stop(process: subprocess.Popen[bytes], grace_s: float) -> int:
    """End the trainer's whole group: politely, then not."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            return process.wait(grace_s)
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue
    return process.wait()
