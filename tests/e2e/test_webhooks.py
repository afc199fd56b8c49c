"""Callbacks of finished jobs: sent at least once, under one id, whoever dies on the way."""

from __future__ import annotations

import http.server
import io
import json
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from conftest import run_local_cloud
from continuon_cloud import WebhookError, verify_webhook
from continuon_cloud.cli import run
from function_processes import function_process
from model_registry import TrainedJob
from product import Account, Product, copied_project, problem, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import LocalCloudProcess

pytestmark = pytest.mark.timeout(240)

_TRAINING = "/api/v1/training"
_POINTS = ("webhook.recorded", "webhook.claimed", "webhook.sent")


class Receiver:
    """A user's own service: keeps what it got and answers with ``status``."""

    def __init__(self) -> None:
        self.status = 204
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.answered: list[tuple[int, bytes]] = []
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status = receiver.status
                receiver.received.append((dict(self.headers), body))
                receiver.answered.append((status, body))
                self.send_response(status)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's
                del format, args

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        """Where callbacks go."""
        return f"http://127.0.0.1:{self.server.server_port}/hook"

    def of(self, job: TrainedJob) -> list[tuple[dict[str, str], bytes]]:
        """Return the callbacks about a job."""
        return [one for one in self.received if job.job_id.encode() in one[1]]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    thread = threading.Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def retries(local_cloud: LocalCloudProcess) -> Iterator[str]:
    """The scheduled function, to be called when a test wants the next minute."""
    allowed = {"CONTINUON_WEBHOOK_ALLOWED_HOSTS": "127.0.0.1"}
    with function_process(
        "training", "training_webhook_retries", "http", {**local_cloud.env, **allowed}
    ) as url:
        yield url


def secret_of(owner: Account) -> str:
    """Make a secret and return it."""
    response = owner.call("PUT", f"{_TRAINING}/webhook-secret")
    assert response.status_code == 200, response.text
    secret: str = response.json()["secret"]
    return secret


def finished(product: Product, owner: Account, url: str, **changes: Any) -> TrainedJob:
    """Return a job that has ended and wants a callback; announce it to have it sent."""
    job, now = TrainedJob(product, owner.uid), datetime.now(UTC)
    fields: dict[str, Any] = {
        "updated_at": now,
        "queued_at": now,
        "completed_at": now,
        "month": "2026-11",
        "config": {"callback_url": url, "timeout_s": 60},
    }
    job.finish(**(fields | changes))
    return job


def deliveries(owner: Account, job: TrainedJob) -> list[dict[str, Any]]:
    """Return what the owner sees of a job's callbacks."""
    answer = owner.call("GET", f"{_TRAINING}/jobs/{job.job_id}/deliveries")
    assert answer.status_code == 200, answer.text
    listed: list[dict[str, Any]] = answer.json()["deliveries"]
    return listed


def ended(owner: Account, job: TrainedJob, status: str) -> dict[str, Any]:
    """Wait until a job's delivery is in ``status`` and has no attempt under way."""

    def find() -> dict[str, Any] | None:
        found = deliveries(owner, job)
        settled = [d for d in found if d["status"] == status and len(d["history"]) == d["attempts"]]
        return settled[0] if settled and settled[0]["attempts"] else None

    # The schedule comes by once a minute, and a callback may be left to it.
    return wait_for(find, timeout_s=180)


def make_due(product: Product, job: TrainedJob) -> None:
    """Let time pass until the delivery of a job is due."""
    parent = product.firestore.document(f"training_jobs/{job.job_id}")
    for delivery in parent.collection("webhook_deliveries").stream():
        earlier = datetime.now(UTC) - timedelta(seconds=1)
        delivery.reference.update({"next_attempt_at": earlier})


def tick(url: str) -> None:
    """Run the schedule once."""
    assert httpx.post(url, timeout=60).status_code == 200


def test_the_end_of_a_job_is_told_once_signed_and_with_its_model(
    product: Product, owner: Account, receiver: Receiver
) -> None:
    secret = secret_of(owner)
    job = finished(product, owner, receiver.url)
    for _ in range(3):
        job.announce()
    delivery = ended(owner, job, "delivered")
    [(headers, body)] = receiver.of(job)
    assert verify_webhook(headers, body, secret) == delivery["delivery_id"]
    told = json.loads(body)
    assert (told["type"], told["job"]["status"]) == ("training.job.completed", "completed")
    assert told["job"]["output"]["model_ref"] == job.output()["model_ref"]
    assert delivery["history"][0]["status"] == 204
    with pytest.raises(WebhookError):
        verify_webhook(headers, body, "whsec_other")


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_other_ends_are_told_too(
    status: str, product: Product, owner: Account, receiver: Receiver
) -> None:
    secret_of(owner)
    error = {"code": "trainer.failed", "message": "out of memory"} if status == "failed" else None
    job = finished(product, owner, receiver.url, status=status, error=error, output=None)
    job.announce()
    ended(owner, job, "delivered")
    told = json.loads(receiver.of(job)[0][1])
    assert (told["type"], told["job"]["error"]) == (f"training.job.{status}", error)


def test_a_receiver_that_fails_is_called_again_under_the_same_id(
    product: Product, owner: Account, receiver: Receiver, retries: str
) -> None:
    secret = secret_of(owner)
    receiver.status = 500
    job = finished(product, owner, receiver.url)
    job.announce()
    waiting = ended(owner, job, "pending")
    assert waiting["next_attempt_at"] > waiting["history"][0]["at"]
    receiver.status = 200
    make_due(product, job)
    tick(retries)
    delivery = ended(owner, job, "delivered")
    received = receiver.of(job)
    assert {verify_webhook(h, b, secret) for h, b in received} == {delivery["delivery_id"]}
    assert len({body for _, body in received}) == 1, "every attempt sends the same"
    assert [attempt["status"] for attempt in delivery["history"]] == [500, 200]


def test_two_runs_of_the_schedule_at_once_deliver_each_callback_once(
    product: Product, owner: Account, receiver: Receiver, retries: str
) -> None:
    secret_of(owner)
    receiver.status = 500
    jobs = [finished(product, owner, receiver.url) for _ in range(6)]
    for job in jobs:
        job.announce()
    for job in jobs:
        ended(owner, job, "pending")
    receiver.status = 200
    for job in jobs:
        make_due(product, job)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(tick, [retries, retries]))
    for job in jobs:
        ended(owner, job, "delivered")
        taken = [body for status, body in receiver.answered if status == 200]
        assert len([body for body in taken if job.job_id.encode() in body]) == 1


def test_a_receiver_that_is_gone_is_not_called_again(
    product: Product, owner: Account, receiver: Receiver
) -> None:
    secret_of(owner)
    receiver.status = 410
    job = finished(product, owner, receiver.url)
    job.announce()
    assert ended(owner, job, "failed")["next_attempt_at"] is None


def test_a_delivery_is_given_up_after_its_last_attempt(
    product: Product, owner: Account, receiver: Receiver, retries: str
) -> None:
    secret_of(owner)
    receiver.status = 503
    job = finished(product, owner, receiver.url)
    job.announce()
    ended(owner, job, "pending")
    parent = product.firestore.document(f"training_jobs/{job.job_id}")
    [delivery] = parent.collection("webhook_deliveries").stream()
    history = delivery.to_dict()["history"] * 7
    delivery.reference.update({"attempts": 7, "history": history})
    make_due(product, job)
    tick(retries)
    failed = ended(owner, job, "failed")
    assert (failed["attempts"], failed["next_attempt_at"]) == (8, None)


def test_a_replaced_secret_is_honoured_while_receivers_change(
    product: Product, owner: Account, receiver: Receiver
) -> None:
    old, new = secret_of(owner), secret_of(owner)
    job = finished(product, owner, receiver.url)
    job.announce()
    ended(owner, job, "delivered")
    [(headers, body)] = receiver.of(job)
    assert verify_webhook(headers, body, old) == verify_webhook(headers, body, new)
    state = owner.call("GET", f"{_TRAINING}/webhook-secret")
    assert [key["expires_at"] is None for key in state.json()["keys"]] == [True, False]
    assert old not in state.text
    assert new not in state.text


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/computeMetadata/v1/",
        "https://169.254.169.254/",
        "https://metadata.google.internal/",
        "https://10.0.0.1/",
        "https://[::1]/",
        "https://user:secret@example.com/",
        "https://does-not-exist.invalid/",
        "http://example.com/",
    ],
)
def test_a_private_address_is_refused_when_the_job_is_made(url: str, owner: Account) -> None:
    secret_of(owner)
    request = {
        "type": "seed",
        "robot_model": "arm",
        "backend": "pull",
        "backend_label": "lab",
        "callback_url": url,
    }
    response = owner.call("POST", f"{_TRAINING}/jobs", json=request)
    body = problem(response, 422, "webhook.url_refused")
    assert [error["path"] for error in body["errors"]] == ["callback_url"]


def test_an_address_that_became_private_is_refused_when_the_callback_is_sent(
    product: Product, owner: Account
) -> None:
    secret_of(owner)
    job = finished(product, owner, "https://169.254.169.254/")
    job.announce()
    waiting = ended(owner, job, "pending")
    assert "private" in waiting["history"][0]["error"]


def test_a_callback_without_a_secret_is_refused_when_the_job_is_made(
    owner: Account, receiver: Receiver
) -> None:
    request = {
        "type": "seed",
        "robot_model": "arm",
        "backend": "pull",
        "backend_label": "lab",
        "callback_url": receiver.url,
    }
    response = owner.call("POST", f"{_TRAINING}/jobs", json=request)
    problem(response, 409, "webhook.secret_missing")


def test_deliveries_are_their_owners_alone(
    product: Product, owner: Account, receiver: Receiver
) -> None:
    secret_of(owner)
    job = finished(product, owner, receiver.url)
    job.announce()
    ended(owner, job, "delivered")
    stranger = product.account()
    path = f"{_TRAINING}/jobs/{job.job_id}/deliveries"
    problem(stranger.call("GET", path), 404, "job.not_found")
    assert stranger.call("GET", f"{_TRAINING}/webhook-secret").json() == {"keys": []}


def test_the_command_shows_a_secret_once_and_what_became_of_a_callback(
    product: Product,
    receiver: Receiver,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CONTINUON_URL", product.cloud.url)
    monkeypatch.setenv("CONTINUON_HOME", str(tmp_path))
    host = product.cloud.env["FIREBASE_AUTH_EMULATOR_HOST"]
    monkeypatch.setenv("FIREBASE_AUTH_EMULATOR_HOST", host)
    monkeypatch.setattr("sys.stdin", io.StringIO("correct horse\n"))
    email = f"hooks-{secrets.token_hex(4)}@example.com"

    def shown(*arguments: str) -> str:
        capsys.readouterr()
        assert run([*arguments]) == 0
        return capsys.readouterr().out

    login = ("login", "--email", email, "--create", "--password-stdin", "--json")
    uid = json.loads(shown(*login))["uid"]
    assert "continuon webhooks new-secret" in shown("webhooks", "secrets")
    secret = shown("webhooks", "new-secret").splitlines()[0]
    assert secret not in shown("webhooks", "secrets")
    receiver.status = 500
    job = finished(product, Account(product, uid, ""), receiver.url)
    job.announce()
    wait_for(lambda: "HTTP 500" in shown("webhooks", "deliveries", job.job_id) or None)
    headers, body = receiver.of(job)[0]
    assert verify_webhook(headers, body, secret)
    assert "next attempt" in shown("webhooks", "deliveries", job.job_id)


# --- A worker that dies ---------------------------------------------------------------------------


@pytest.mark.slow
def test_a_worker_killed_between_any_two_steps_loses_no_callback(
    tmp_path: Path, receiver: Receiver
) -> None:
    markers = tmp_path / "markers"
    markers.mkdir()
    root = copied_project(tmp_path / "project", codebases=("rlds", "training", "models"))
    plan = ",".join(f"{point}@once:{markers / point}" for point in _POINTS)
    with (root / "functions/training/.env.local").open("a", encoding="utf-8") as file:
        file.write(f"\nCONTINUON_FAULT={plan}\n")
    allowed = {"CONTINUON_WEBHOOK_ALLOWED_HOSTS": "127.0.0.1"}
    for point in _POINTS:
        (markers / point).touch()
    with run_local_cloud(root) as cloud:
        product = Product(cloud)
        owner = product.account()
        secret = secret_of(owner)
        with function_process(
            "training", "training_webhook_retries", "http", {**cloud.env, **allowed}
        ) as url:
            for point in _POINTS:
                (markers / point).unlink()
                job = finished(product, owner, receiver.url)
                job.announce()
                wait_for(lambda p=point: (markers / p).exists() or None, timeout_s=60)  # type: ignore[misc]
                _deliver(product, owner, job, url)
                received = receiver.of(job)
                ids = {verify_webhook(h, b, secret) for h, b in received}
                assert len(ids) == 1
                assert len({body for _, body in received}) == 1
                # Killed after it was sent and before that was written down: sent again.
                assert len(received) >= (2 if point == "webhook.sent" else 1)
        product.close()


def _deliver(product: Product, owner: Account, job: TrainedJob, url: str) -> None:
    """Let minutes pass until a job's callback is delivered."""

    def done() -> bool | None:
        make_due(product, job)
        tick(url)
        return any(d["status"] == "delivered" for d in deliveries(owner, job)) or None

    wait_for(done, timeout_s=60)
