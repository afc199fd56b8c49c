"""A trainer that trains nothing: it speaks contract 1 over HTTP and misbehaves where it is told to.

The job's hyperparameters say what it does; it needs the standard library only, so that it starts in
some 50 ms. Run as ``python fake_trainer.py`` with the environment of a job.

``steps``       callbacks before the end (2); each announces, uploads and reports a checkpoint
``checkpoints`` whether it stores them (true)
``pause_s``     between steps (0)
``die_at``      ends itself with SIGKILL at this step, in the first ``die_attempts`` attempts (1)
``exit_at``     ends at this step with status ``exit_status`` and not a word (in every attempt)
``hang_at``     waits at this step for ever, without heartbeats, in the first ``hang_attempts`` (9)
``repeat``      sends every callback twice, and the one before once more
``half``        announces a checkpoint at the first step, does not upload it, and reports it
``silent_end``  stops with status 0 without saying that the job is completed
``fail``        says that it failed, with this message
``ledger``      a file to which it adds a line when the cloud has applied its completion
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from typing import Any

API = os.environ["CONTINUON_API_URL"]
JOB = os.environ["CONTINUON_JOB_ID"]
ATTEMPT = int(os.environ["CONTINUON_JOB_ATTEMPT"])
TOKEN = os.environ["CONTINUON_JOB_TOKEN"]
BASE = f"{API}/api/v1/training/jobs/{JOB}"
STOPPED = 3
TRIES = 40


def request(method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """Send one request as this trainer, again while the service is unavailable."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
    for _ in range(TRIES):
        one = urllib.request.Request(BASE + path, data, headers, method=method)  # noqa: S310 - http
        try:
            with urllib.request.urlopen(one, timeout=60) as answer:  # noqa: S310 - http
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            text = error.read()
            if error.code not in {429, 500, 502, 503, 504}:
                return error.code, json.loads(text or b"null")
        except OSError:
            pass
        time.sleep(0.25)
    sys.exit(4)


def put(upload: dict[str, Any], data: bytes) -> None:
    """Store ``data`` as a granted upload says; what is there already is fine."""
    for _ in range(TRIES):
        one = urllib.request.Request(  # noqa: S310 - http
            upload["url"], data, upload["headers"], method=upload["method"]
        )
        try:
            with urllib.request.urlopen(one, timeout=60):  # noqa: S310 - http
                return
        except urllib.error.HTTPError as error:
            error.read()
            if error.code == 412:
                return
        except OSError:
            pass
        time.sleep(0.25)
    sys.exit(4)


def announce(kind: str, name: str, data: bytes, step: int) -> dict[str, Any]:
    """Announce an object of this job."""
    status, answer = request(
        "POST",
        "/artifacts",
        {
            "kind": kind,
            "name": name,
            "size_bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "step": step,
        },
    )
    stop_if_over(status)
    found: dict[str, Any] = answer
    return found


def stop_if_over(status: int, answer: Any = None) -> None:
    """End as the contract asks when the cloud says stop."""
    if status in {401, 409} or (answer and answer.get("stop")):
        sys.exit(STOPPED)


class Reporter:
    """Numbers and sends callbacks."""

    def __init__(self, sequence: int, *, repeat: bool) -> None:
        self.sequence = sequence
        self.repeat = repeat
        self.last: dict[str, Any] | None = None
        self.applied = False

    def send(self, **fields: Any) -> int:
        """Send the next callback and return its status."""
        self.sequence += 1
        body = {"attempt": ATTEMPT, "sequence": self.sequence, **fields}
        status, answer = request("POST", "/callback", body)
        self.applied = status == 200 and answer["applied"]
        if self.repeat:
            if self.last is not None:
                request("PUT", "/status", self.last)
            request("POST", "/callback", body)
            self.last = body
        stop_if_over(status, answer if status == 200 else None)
        return status


def act(plan: dict[str, Any], step: int) -> None:
    """Misbehave at this step, if the plan says so."""
    if plan.get("die_at") == step and plan.get("die_attempts", 1) >= ATTEMPT:
        os.kill(os.getpid(), signal.SIGKILL)
    if plan.get("exit_at") == step:
        print("this is the end of the output", flush=True)  # noqa: T201 - the log is tested
        sys.exit(plan["exit_status"])
    if plan.get("hang_at") == step and plan.get("hang_attempts", 9) >= ATTEMPT:
        while True:
            time.sleep(60)
    time.sleep(plan.get("pause_s", 0))


def main() -> int:
    """Do the whole job."""
    status, job = request("GET", "/assignment")
    stop_if_over(status)
    plan = job["hyperparams"]
    reporter = Reporter(job["sequence"], repeat=bool(plan.get("repeat")))
    start = (job["checkpoint"] or {}).get("step") or 0
    steps = plan.get("steps", 2)
    if plan.get("half") and ATTEMPT == 1:
        half = announce("checkpoint", "half.bin", b"never sent", 1)
        assert reporter.send(step=1, checkpoint_ref=half["ref"]) == 422
        reporter.sequence -= 1
    for step in range(start + 1, steps + 1):
        act(plan, step)
        fields: dict[str, Any] = {"step": step, "metrics": {"loss": 1 / step}}
        if plan.get("checkpoints", True):
            data = f"checkpoint {step}".encode()
            granted = announce("checkpoint", f"step-{step}.bin", data, step)
            put(granted["upload"], data)
            fields["checkpoint_ref"] = granted["ref"]
        reporter.send(state="running", **fields)
        request("POST", "/metrics", {"rows": [{"step": step, "split": "train", "loss": 1 / step}]})
        request("POST", "/logs", {"sequence": step, "text": f"step {step}\n"})
    act(plan, steps + 1)
    if plan.get("silent_end"):
        return 0
    if "fail" in plan:
        reporter.send(state="failed", error={"code": "trainer.test", "message": plan["fail"]})
        return 1
    data = f"model of {job['episodes_digest']}".encode()
    granted = announce("model", "model.npz", data, steps)
    put(granted["upload"], data)
    done = {"artifact_ref": granted["ref"], "metrics": {"loss": 1 / max(steps, 1)}}
    reporter.send(state="completed", **done)
    if reporter.applied and "ledger" in plan:
        # One write of one line to a file opened for appending: lines of others stay whole.
        with open(plan["ledger"], "a") as file:  # noqa: PTH123 - starts a millisecond sooner
            file.write(f"{JOB} {ATTEMPT}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
