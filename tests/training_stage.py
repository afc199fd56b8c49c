"""Training on a local cloud: a project with short durations, episodes, and a look at jobs."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import signal
import sys
import tempfile
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from google.api_core import exceptions

from conftest import REPOSITORY, run_local_cloud
from function_processes import function_process
from product import BUCKET, Account, Product, copied_project, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = [
    "CRASH_POINTS",
    "FAKE_TRAINER",
    "ROBOT_MODEL",
    "Stage",
    "crash_variable",
    "training_stage",
]

FAKE_TRAINER = REPOSITORY / "tests" / "fake_trainer.py"
ROBOT_MODEL = "arm-one"
FINAL = {"completed", "failed", "cancelled"}
_NUMBERS = itertools.count(1)

CRASH_POINTS = (
    "create.created",
    "dispatch.leased",
    "dispatch.checked",
    "dispatch.stale_stopped",
    "dispatch.token_stored",
    "dispatch.submitted",
    "dispatch.recorded",
    "cancel.cancelled",
    "callback.ended",
    "finish.published",
    "lease.leased",
    "slow_loop.counted",
    "slow_loop.created",
)

DURATIONS = {
    "CONTINUON_JOB_POLL_S": "1",
    "CONTINUON_REDISPATCH_S": "3",
    "CONTINUON_JOB_CLEANUP_GRACE_S": "0",
    "CONTINUON_HEARTBEAT_S": "1",
}
"""So that nothing in a test waits for a minute. Leases of workers stay as long as they are: a slow
machine must not lose them, and a test that wants them over makes them old."""


@dataclass
class Stage:
    """A running product with a fake trainer, and one account on it.

    Attributes:
        environment: Of a function of the codebase that is started beside the local cloud.
        markers: Where the crash points remember that they struck.
    """

    product: Product
    watchdog_url: str
    owner: Account
    folder: Path
    environment: Mapping[str, str]
    markers: Path | None = None
    published: list[str] = field(default_factory=list)

    def of_new_account(self) -> Stage:
        """Return the same product for an account of its own."""
        return replace(self, owner=self.product.account(), published=[])

    def arm(self, point: str) -> Path:
        """Have the next function that reaches ``point`` die there, once; return the marker."""
        assert self.markers is not None
        marker = self.markers / point
        marker.unlink()
        return marker

    # --- What is there before ---------------------------------------------------------------------

    def episodes(self, count: int, *, owner: Account | None = None, **changes: Any) -> list[str]:
        """Store validated episodes, each with one object, as ingest would leave them."""
        bucket = self.product.storage.bucket(BUCKET)
        batch = self.product.firestore.batch()
        names = []
        for _ in range(count):
            name = f"ep_train_{next(_NUMBERS):05d}"
            prefix = f"episodes/validated/robot-1/{name}"
            moment = datetime.now(UTC)
            fields = {
                "episode_id": name,
                "robot_id": "robot-1",
                "owner_id": (owner or self.owner).uid,
                "robot_model": ROBOT_MODEL,
                "status": "validated",
                "uploaded_at": moment,
                "validated_at": moment,
                "metadata": {},
                "storage_ref": prefix,
                "training_eligible": True,
                "quality": 0.9,
                "sha256": hashlib.sha256(name.encode()).hexdigest(),
                **changes,
            }
            bucket.blob(f"{prefix}/episode.json").upload_from_string(b"{}")
            batch.set(self.product.firestore.document(f"rlds_episodes/{name}"), fields)
            names.append(name)
        batch.commit()
        return names

    # --- What a user does -------------------------------------------------------------------------

    def start(self, *, key: str | None = None, **request: Any) -> dict[str, Any]:
        """Create a job and return it."""
        response = self.create(key=key, **request)
        assert response.status_code == 201, response.text
        job: dict[str, Any] = response.json()
        return job

    def create(self, *, key: str | None = None, **request: Any) -> httpx.Response:
        """Ask for a job."""
        body = {
            "type": "seed",
            "robot_model": ROBOT_MODEL,
            "backend": "subprocess",
            "hyperparams": {},
            **request,
        }
        headers = {"authorization": f"Bearer {self.owner.token}"}
        if key is not None:
            headers["idempotency-key"] = key
        return self.product.http.post("/api/v1/training/jobs", json=body, headers=headers)

    def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request of the owner below `/api/v1/training`."""
        return self.owner.call(method, f"/api/v1/training{path}", **options)

    def trainer(self, token: str, method: str, path: str, body: Any = None) -> httpx.Response:
        """Send a request of a trainer below `/api/v1/training`."""
        headers = {"authorization": f"Bearer {token}"}
        url = f"/api/v1/training{path}"
        return self.product.http.request(method, url, json=body, headers=headers)

    def lease(self, label: str = "lab", worker_id: str = "w1") -> dict[str, Any]:
        """Lease a job and return what the worker is told."""
        body = {"worker_id": worker_id, "backend_label": label}
        response = self.call("POST", "/lease", json=body)
        assert response.status_code == 200, response.text
        leased: dict[str, Any] = response.json()
        return leased

    # --- What nobody does -------------------------------------------------------------------------

    def publish(self, topic: str, body: Any) -> None:
        """Publish a message, as no user can."""
        self.publish_bytes(topic, json.dumps(body).encode())

    def publish_bytes(self, topic: str, data: bytes) -> None:
        """Publish any bytes; a message without data needs an attribute."""
        name = f"projects/{self.product.project}/topics/{topic}"
        published = self.product.publisher.publish(name, data, marker="test")
        self.published.append(published.result(timeout=60))

    def subscription(
        self, topic: str, *, attributes: tuple[str, ...] = ("reason",)
    ) -> Callable[[], list[tuple[Any, ...]]]:
        """Return a call that gives what was published on ``topic`` since its last time."""
        product = self.product
        name = f"projects/{product.project}/subscriptions/test-{next(_NUMBERS)}-{topic}"
        path = f"projects/{product.project}/topics/{topic}"
        product.subscriber.create_subscription(name=name, topic=path)

        def pull() -> list[tuple[Any, ...]]:
            try:
                answer = product.subscriber.pull(
                    subscription=name, max_messages=100, timeout=1.0, retry=None
                )
            except exceptions.DeadlineExceeded:
                return []
            ids = [received.ack_id for received in answer.received_messages]
            if ids:
                product.subscriber.acknowledge(subscription=name, ack_ids=ids)
            return [
                (r.message.data, *(r.message.attributes.get(name) for name in attributes))
                for r in answer.received_messages
            ]

        return pull

    def settle(self, *, timeout_s: float = 90.0) -> None:
        """Wait until everything this stage published was handled, and what followed from it."""
        url = f"{self.product.cloud.urls['hub']}/deliveries?limit=10000"

        def quiet() -> bool | None:
            found = httpx.get(url, timeout=60).json()["deliveries"]
            seen = {one["event"]["id"] for one in found}
            busy = any(one["state"] in {"pending", "delivering"} for one in found)
            return True if not busy and seen.issuperset(self.published) else None

        wait_for(quiet, timeout_s=timeout_s)

    # --- A look inside ----------------------------------------------------------------------------

    def job(self, job_id: str) -> dict[str, Any]:
        """Return a job's document."""
        found = self.product.firestore.document(f"training_jobs/{job_id}").get().to_dict()
        assert found is not None
        result: dict[str, Any] = found
        return result

    def change(self, job_id: str, fields: Mapping[str, Any]) -> None:
        """Write to a job's document, as no API can: to age it, for example."""
        self.product.firestore.document(f"training_jobs/{job_id}").update(dict(fields))

    def age(self, job_id: str, *names: str, by_s: float = 10_000) -> None:
        """Move moments of a job's document into the past."""
        data, earlier = self.job(job_id), timedelta(seconds=by_s)
        fields = {}
        for name in names:
            value: Any = data
            for part in name.split("."):
                value = value[part]
            fields[name] = value - earlier
        self.change(job_id, fields)

    def end_dispatch_lease(self, job_id: str) -> None:
        """Let the lease of a dead dispatcher end now; a later delivery can take over."""
        if self.job(job_id)["dispatch"].get("until"):
            self.age(job_id, "dispatch.until")

    def watch(self) -> dict[str, int]:
        """Run the watchdog once and return what it did."""
        response = httpx.post(self.watchdog_url, timeout=60)
        assert response.status_code == 200, response.text
        done: dict[str, int] = response.json()
        return done

    def ended(self, job_id: str, *, watch: bool = False, timeout_s: float = 90.0) -> dict[str, Any]:
        """Wait until a job has ended and its end was published; return its document."""

        def find() -> dict[str, Any] | None:
            if watch:
                self.watch()
            data = self.job(job_id)
            return data if data["status"] in FINAL and data["announced"] else None

        return wait_for(find, timeout_s=timeout_s)

    def until(self, job_id: str, status: str, *, timeout_s: float = 90.0) -> dict[str, Any]:
        """Wait until a job is in ``status``."""

        def find() -> dict[str, Any] | None:
            data = self.job(job_id)
            return data if data["status"] == status else None

        return wait_for(find, timeout_s=timeout_s)

    def below(self, job_id: str, collection: str) -> list[dict[str, Any]]:
        """Return the documents of a collection below a job, by name."""
        parent = self.product.firestore.document(f"training_jobs/{job_id}")
        return [one.to_dict() for one in parent.collection(collection).stream()]

    def audit(self, job_id: str) -> list[str]:
        """Return what the audit log has about a job."""
        entries = self.product.firestore.collection("audit_log").stream()
        found = sorted((entry.to_dict() for entry in entries), key=itemgetter("at"))
        return [e["action"] for e in found if e["subject"] == f"training_jobs/{job_id}"]

    def works_of(self, job_id: str) -> int:
        """Return how many works the subprocess backend ever started for a job."""
        name = f"continuon-{job_id.replace('_', '-')}-*"
        return len(list(self.folder.glob(f"work/**/{name}/started")))

    def processes(self, job_id: str) -> list[int]:
        """Return the trainers of a job that run on this machine."""
        return self.all_processes().get(job_id, [])

    def all_processes(self) -> dict[str, list[int]]:
        """Return this stage's trainers that run now, by job."""
        ours = f"CONTINUON_API_URL={self.product.cloud.url}".encode()
        found: dict[str, list[int]] = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                variables = (entry / "environ").read_bytes().split(b"\0")
                names = [v for v in variables if v.startswith(b"CONTINUON_JOB_ID=")]
                if names and ours in variables:
                    job_id = names[0].partition(b"=")[2].decode()
                    found.setdefault(job_id, []).append(int(entry.name))
        return found

    def end_trainers(self) -> None:
        """End every trainer of this stage that still runs."""
        for pids in self.all_processes().values():
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def crash_variable(markers: Path) -> str:
    """Return the fault plan that kills once at each point whose marker is missing."""
    return ",".join(f"{point}@once:{markers / point}" for point in CRASH_POINTS)


def _project(folder: Path, variables: Mapping[str, str]) -> Path:
    root = copied_project(folder / "project", codebases=("rlds", "fleet", "training"))
    # Tests run the watchdog when they want it; two at odd moments would make them guess.
    manifest = root / "functions/training/functions.yaml"
    text = manifest.read_text(encoding="utf-8")
    manifest.write_text(text.replace('"* * * * *"', '"0 0 1 1 *"'), encoding="utf-8")
    command = [sys.executable, str(FAKE_TRAINER)]
    chosen = {
        "CONTINUON_TRAINER_COMMAND": json.dumps(command),
        "CONTINUON_SUBPROCESS_DIR": str(folder / "work"),
        **DURATIONS,
        **variables,
    }
    lines = [f"{name}={value!r}\n" for name, value in chosen.items()]
    with (root / "functions/training/.env.local").open("a", encoding="utf-8") as file:
        file.writelines(["\n", *lines])
    return root


@contextlib.contextmanager
def training_stage(*options: str, **variables: str) -> Iterator[Stage]:
    """Run a product whose trainer is the fake one; ``variables`` are the codebase's.

    The watchdog is served by a process of its own: the local cloud's runs each minute, a test
    wants it now.
    """
    # A supervisor may still write its last words while the folder is removed.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        root = _project(folder, variables)
        with run_local_cloud(root, "--retry-base", "0.1", *options) as cloud:
            environment = {
                **cloud.env,
                **DURATIONS,
                **variables,
                "CONTINUON_SUBPROCESS_DIR": str(folder / "work"),
                "CONTINUON_TRAINING_BACKENDS": '["subprocess", "pull"]',
                "CONTINUON_PUBLIC_URL": cloud.url,
            }
            # What kills the functions of the cloud must not kill this one.
            environment["CONTINUON_FAULT"] = ""
            with function_process("training", "training_watchdog", "http", environment) as url:
                product = Product(cloud)
                stage = Stage(product, url, product.account(), folder, environment)
                try:
                    yield stage
                finally:
                    stage.end_trainers()
                    product.close()
