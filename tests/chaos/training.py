"""A chaos run over training: many jobs, seeded faults everywhere, and a verdict on how they end.

The functions are the real ones on a local cloud, the trainer is the fake one because it speaks the
real contract and starts in 50 ms. What misbehaves: trainers and workers (die, hang, exit, repeat
themselves), functions (killed at named points and by SIGKILL at any), deliveries (twice, late,
lost), Firestore, Pub/Sub and Cloud Storage (refuse, or do the work and lose the answer), and people
who cancel and send messages again.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
from google.api_core import exceptions

from chaos.plans import cloud_faults, plans
from training_stage import CRASH_POINTS, FAKE_TRAINER

if TYPE_CHECKING:
    from chaos.plans import Plan
    from training_stage import Stage

__all__ = ["VARIABLES", "Verdict", "chaos_run"]

VARIABLES = {
    "CONTINUON_JOB_LEASE_S": "8",
    "CONTINUON_JOB_START_S": "20",
    "CONTINUON_SUBPROCESS_SLOTS": "6",
    "CONTINUON_REDISPATCH_S": "15",
    # Longer than a dispatcher takes on a machine that is this busy: else they overtake each other.
    "CONTINUON_DISPATCH_LEASE_S": "10",
    # One account does here what hundreds do elsewhere.
    "CONTINUON_REQUESTS_PER_MINUTE": "1000000",
}
_FINAL = frozenset({"completed", "failed", "cancelled"})
_TIMEOUT_S = 60.0
_QUIET_S = 2.0
_AT_A_TIME = 24
"""Jobs that are not at their end: more would only wait for each other."""


@dataclass
class Verdict:
    """How a chaos run ended.

    Attributes:
        jobs: How many were started.
        by_end: Count by status and error code.
        lost: Jobs without an end.
        changed: Jobs whose end was changed after it was seen.
        completed_twice: Jobs whose completion was accepted more than once, or that have more works
            than attempts.
        unannounced: Ended jobs whose end was not published, or under more than one id.
        left_running: Ended jobs of which a process still runs.
        by_fault: How often each kind of fault was seen to strike.
        seconds: Wall clock from the first job to the last end.
    """

    jobs: int
    by_end: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    completed_twice: list[str] = field(default_factory=list)
    unannounced: list[str] = field(default_factory=list)
    left_running: list[str] = field(default_factory=list)
    by_fault: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def is_good(self) -> bool:
        """Whether every promise was kept."""
        broken = (
            self.lost,
            self.changed,
            self.completed_twice,
            self.unannounced,
            self.left_running,
        )
        return not any(broken)

    def table(self) -> str:
        """Return everything for a person to read."""
        lines = [f"  {count:5}  {end}" for end, count in sorted(self.by_end.items())]
        lines.append("faults that were seen to strike:")
        lines += [f"  {count:5}  {fault}" for fault, count in sorted(self.by_fault.items())]
        for promise in ("lost", "changed", "completed_twice", "unannounced", "left_running"):
            broken = getattr(self, promise)
            lines.append(f"{promise}: {len(broken)} {' '.join(broken[:10])}".rstrip())
        return "\n".join(lines) + "\n"


class _Run:
    def __init__(
        self, stage: Stage, count: int, seed: int, timeout_s: float, patience_s: float
    ) -> None:
        self.patience_s = patience_s
        self.stage = stage
        self.seed = seed
        self.plans = plans(count, seed)
        self.deadline = time.monotonic() + timeout_s
        self.ledger = stage.folder / "ledger"
        self.ledger.touch()
        self.over = threading.Event()
        self.verdict = Verdict(jobs=count)
        self.jobs: dict[str, Plan] = {}
        self.ends: dict[str, tuple[str, Any]] = {}
        self.errors: list[BaseException] = []

    # --- What people and machines do --------------------------------------------------------------

    def start_jobs(self) -> None:
        """Create every job, repeating each request until it is answered."""
        for plan in self.plans:
            key = f"chaos-{self.seed}-{plan.number}"
            while len(self.jobs) - len(self.ends) >= _AT_A_TIME:
                assert time.monotonic() < self.deadline, "the jobs do not end"
                time.sleep(0.1)
            while True:
                with suppress(httpx.TransportError):
                    answer = self.stage.create(key=key, **plan.request(str(self.ledger)))
                    if answer.status_code == 201:
                        break
                    assert answer.status_code >= 500, answer.text
                time.sleep(0.05)
            self.jobs[answer.json()["job_id"]] = plan
            threading.Thread(target=self._owner, args=(answer.json()["job_id"], plan)).start()

    def _owner(self, job: str, plan: Plan) -> None:
        numbers = random.Random(f"{self.seed}/{plan.number}")  # noqa: S311 - not secret
        for _ in range(plan.repeats):
            time.sleep(numbers.uniform(0, 1.5))
            with suppress(exceptions.GoogleAPICallError):
                self.stage.publish("training-jobs", {"job_id": job, "attempt": 1})
        if plan.cancel_after_s is not None:
            time.sleep(plan.cancel_after_s)
            with suppress(httpx.TransportError):
                self.stage.call("POST", f"/jobs/{job}/cancel")

    def worker(self, number: int) -> None:
        """Lease jobs and run them; now and then kill the trainer and lose the job."""
        numbers = random.Random(f"{self.seed}/worker/{number}")  # noqa: S311 - not secret
        body = {"worker_id": f"chaos-{number}", "backend_label": "chaos"}
        while not self.over.is_set():
            leased = None
            with suppress(httpx.TransportError):
                answer = self.stage.call("POST", "/lease", json=body)
                leased = answer.json() if answer.status_code == 200 else None
            if leased is None:
                time.sleep(0.2)
                continue
            self._work(leased, numbers)

    def _work(self, leased: dict[str, Any], numbers: random.Random) -> None:
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "CONTINUON_API_URL": self.stage.product.cloud.url,
            "CONTINUON_JOB_ID": leased["job_id"],
            "CONTINUON_JOB_ATTEMPT": str(leased["attempt"]),
            "CONTINUON_JOB_TOKEN": leased["token"],
        }
        command = [sys.executable, str(FAKE_TRAINER)]
        nothing = subprocess.DEVNULL
        process = subprocess.Popen(  # noqa: S603 - our own
            command, env=environment, stdout=nothing, stderr=nothing
        )
        allowed = numbers.uniform(0.1, 1.0) if numbers.random() < 0.2 else 15.0
        try:
            process.wait(allowed)
        except subprocess.TimeoutExpired:
            self.verdict.by_fault["worker killed"] += 1
            process.send_signal(signal.SIGKILL)
            process.wait()

    def crashes(self) -> None:
        """Arm one crash point after the other."""
        numbers = random.Random(f"{self.seed}/crashes")  # noqa: S311 - not secret
        while not self.over.wait(numbers.uniform(1.0, 4.0)):
            markers = self.stage.markers
            assert markers is not None
            point = numbers.choice(CRASH_POINTS)
            if (markers / point).exists():
                self.stage.arm(point)
                self.verdict.by_fault[f"armed {point}"] += 1

    def watchdog(self) -> None:
        """Run the watchdog as the scheduler does, only more often."""
        while not self.over.wait(0.5):
            with suppress(httpx.TransportError, AssertionError):
                self.stage.watch()

    def observer(self) -> None:
        """Write down every end as it is first seen."""
        while not self.over.wait(0.2):
            with suppress(exceptions.GoogleAPICallError):
                self.look()

    def look(self) -> int:
        """Compare ends with those seen before; return how many jobs have theirs."""
        wanted = ["status", "completed_at", "announced", "error"]
        query = self.stage.product.firestore.collection("training_jobs").select(wanted)
        done = 0
        for snapshot in query.stream():
            data = snapshot.to_dict()
            if data["status"] not in _FINAL:
                if snapshot.id in self.ends:
                    self.verdict.changed.append(snapshot.id)
                continue
            end = (data["status"], data["completed_at"])
            if self.ends.setdefault(snapshot.id, end) != end:
                self.verdict.changed.append(snapshot.id)
            done += bool(data["announced"])
        return done

    # --- The run ----------------------------------------------------------------------------------

    def run(self) -> Verdict:
        announced = self.stage.subscription("training-finished", attributes=("event_id",))
        began = time.monotonic()
        threads = [
            threading.Thread(target=self.crashes),
            threading.Thread(target=self.watchdog),
            threading.Thread(target=self.observer),
            *(threading.Thread(target=self.worker, args=(number,)) for number in range(3)),
        ]
        for thread in threads:
            thread.start()
        try:
            self.start_jobs()
            self._await_ends()
        finally:
            self._calm()
            self.over.set()
            for thread in threads:
                thread.join(_TIMEOUT_S)
        self.verdict.seconds = time.monotonic() - began
        self._judge(announced)
        return self.verdict

    def _await_ends(self) -> None:
        while time.monotonic() < self.deadline:
            with suppress(exceptions.GoogleAPICallError):
                if self.look() >= len(self.jobs):
                    return
            time.sleep(0.2)

    def _calm(self) -> None:
        """End the faults, so that what is judged is what they left behind."""
        hub = self.stage.product.cloud.urls["hub"]
        httpx.post(f"{hub}/faults", json={"seed": 0, "rules": []}, timeout=_TIMEOUT_S)
        assert self.stage.markers is not None
        for point in CRASH_POINTS:
            (self.stage.markers / point).touch()

    def _judge(self, announced: Any) -> None:
        for _ in range(20):
            self.stage.watch()
            self.left()
            if not self.verdict.left_running and self.look() >= len(self.jobs):
                break
            time.sleep(0.5)
        # What is still repeated then, behind long delays, would find ended jobs.
        with suppress(AssertionError):
            self.stage.settle(timeout_s=self.patience_s)
        completions = Counter(line.split()[0] for line in self.ledger.read_text().splitlines())
        ids = _announced_ids(announced)
        for job in self.jobs:
            self._judge_job(job, completions[job], ids.get(job, set()))

    def left(self) -> None:
        """Find processes of jobs that have ended."""
        running = self.stage.all_processes()
        self.verdict.left_running = sorted(set(running) & set(self.ends))

    def _judge_job(self, job: str, completions: int, ids: set[str]) -> None:
        data = self.stage.job(job)
        error = data["error"]["code"] if data["error"] else ""
        self.verdict.by_end[f"{data['status']} {error}".strip()] += 1
        if data["status"] not in _FINAL:
            self.verdict.lost.append(job)
        if job in self.ends and (data["status"], data["completed_at"]) != self.ends[job]:
            self.verdict.changed.append(job)
        too_many = completions > (data["status"] == "completed")
        if too_many or self.stage.works_of(job) > data["attempt"]:
            self.verdict.completed_twice.append(job)
        if not data["announced"] or ids != {f"{job}:finished"}:
            self.verdict.unannounced.append(job)
        self.verdict.by_fault["attempts after the first"] += data["attempt"] - 1


def _announced_ids(announced: Any) -> dict[str, set[str]]:
    """Return the ids under which each job's end was published."""
    found: dict[str, set[str]] = {}
    quiet_since = time.monotonic()
    while time.monotonic() - quiet_since < _QUIET_S:
        for data, event_id in announced():
            quiet_since = time.monotonic()
            found.setdefault(json.loads(data)["job_id"], set()).add(event_id)
    return found


def chaos_run(
    stage: Stage, *, jobs: int, seed: int, timeout_s: float, patience_s: float = 90.0
) -> Verdict:
    """Run ``jobs`` jobs among the faults that ``seed`` decides; return how it ended.

    Args:
        stage: The product.
        jobs: How many.
        seed: Decides what goes wrong with each, and when.
        timeout_s: After which what has not ended counts as lost.
        patience_s: How long to wait for deliveries that are still repeated after the last end.
    """
    stage.episodes(5)
    hub = stage.product.cloud.urls["hub"]
    answer = httpx.post(f"{hub}/faults", json=cloud_faults(seed), timeout=_TIMEOUT_S)
    answer.raise_for_status()
    return _Run(stage, jobs, seed, timeout_s, patience_s).run()
