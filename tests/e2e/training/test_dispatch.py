"""Dispatch on bad days: messages twice, late or poisoned, and dispatchers killed between steps."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest

from product import wait_for

if TYPE_CHECKING:
    from training_stage import Stage

_DIFFERS = {
    "job_id",
    "created_at",
    "updated_at",
    "queued_at",
    "started_at",
    "attempt_started_at",
    "completed_at",
    "heartbeat_at",
    "token_hashes",
    "owner_id",
    "dispatch",
}
"""What two jobs that went the same way do not have in common."""
_KEYS = itertools.count(1)


def _stable(stage: Stage, job: str) -> str:
    """Return what a job leaves behind, without what differs from job to job."""
    data = {name: value for name, value in stage.job(job).items() if name not in _DIFFERS}
    del data["config"]["episode_ids"], data["config"]["episodes_digest"], data["output"]["artifact"]
    data["backend"]["cleanup_at"] = None
    text = json.dumps(data, sort_keys=True, default=str)
    return text.replace(job, "JOB").replace(job.replace("_", "-"), "JOB")


@pytest.fixture(scope="module")
def undisturbed(shared_stage: Stage) -> str:
    stage = shared_stage.of_new_account()
    stage.episodes(2)
    job = stage.start(hyperparams={"steps": 2})["job_id"]
    stage.ended(job)
    return _stable(stage, job)


@pytest.mark.parametrize(
    "point",
    [
        "dispatch.leased",
        "dispatch.checked",
        "dispatch.token_stored",
        "dispatch.submitted",
        "dispatch.recorded",
        "callback.ended",
        "finish.published",
    ],
)
def test_a_process_killed_between_two_steps_leaves_one_run_and_the_same_end(
    stage: Stage, undisturbed: str, point: str
) -> None:
    stage.episodes(2)
    marker = stage.arm(point)
    job = stage.start(hyperparams={"steps": 2})["job_id"]
    wait_for(lambda: marker.exists() or None, timeout_s=90)
    stage.end_dispatch_lease(job)
    if point in {"callback.ended", "finish.published"}:
        stage.until(job, "completed")
        stage.age(job, "completed_at", by_s=60)
    stage.ended(job, watch=True)
    assert stage.works_of(job) == 1
    assert _stable(stage, job) == undisturbed
    wait_for(lambda: True if not stage.processes(job) else None)


def test_a_creation_killed_before_its_message_is_dispatched_all_the_same(stage: Stage) -> None:
    stage.episodes(1)
    marker, key = stage.arm("create.created"), f"a-lost-answer-{next(_KEYS)}"
    assert stage.create(key=key, hyperparams={"steps": 1}).status_code == 502
    assert marker.exists()
    jobs = stage.call("GET", "/jobs").json()["jobs"]
    assert [job["status"] for job in jobs] == ["queued"]
    again = stage.start(key=key, hyperparams={"steps": 1})
    assert again["job_id"] == jobs[0]["job_id"]
    stage.age(again["job_id"], "next_dispatch_at")
    assert stage.ended(again["job_id"], watch=True)["status"] == "completed"
    assert stage.works_of(again["job_id"]) == 1


def test_a_cancellation_killed_before_its_message_still_stops_the_work(stage: Stage) -> None:
    stage.episodes(1)
    job = stage.start(hyperparams={"steps": 1, "hang_at": 1})["job_id"]
    stage.until(job, "running")
    wait_for(lambda: stage.processes(job) or None)
    marker = stage.arm("cancel.cancelled")
    assert stage.call("POST", f"/jobs/{job}/cancel").status_code == 502
    assert marker.exists()
    assert stage.job(job)["status"] == "cancelled"
    stage.age(job, "completed_at", by_s=60)
    assert stage.ended(job, watch=True)["status"] == "cancelled"
    wait_for(lambda: True if not stage.processes(job) else None)


def test_a_message_that_comes_twice_starts_one_run(stage: Stage) -> None:
    stage.episodes(1)
    job = stage.start(hyperparams={"steps": 2, "pause_s": 0.2})["job_id"]
    for _ in range(4):
        stage.publish("training-jobs", {"job_id": job, "attempt": 1})
    end = stage.ended(job)
    stage.publish("training-jobs", {"job_id": job, "attempt": 1})
    stage.settle()
    assert (end["status"], end["attempt"]) == ("completed", 1)
    assert stage.works_of(job) == 1
    assert stage.job(job)["completed_at"] == end["completed_at"]


def test_a_message_after_the_cancellation_starts_nothing(stage: Stage) -> None:
    stage.episodes(1)
    job = stage.start(backend="pull", backend_label="lab")["job_id"]
    stage.change(job, {"config.backend": "subprocess"})
    stage.call("POST", f"/jobs/{job}/cancel").raise_for_status()
    for attempt in (1, 1, 2):
        stage.publish("training-jobs", {"job_id": job, "attempt": attempt})
    stage.settle()
    assert stage.job(job)["status"] == "cancelled"
    assert stage.works_of(job) == 0
    assert stage.job(job)["token_hashes"] == []


def test_a_job_cancelled_while_its_dispatcher_works_is_not_left_running(stage: Stage) -> None:
    stage.episodes(1)
    marker = stage.arm("dispatch.submitted")
    job = stage.start(hyperparams={"steps": 1, "hang_at": 1})["job_id"]
    wait_for(lambda: marker.exists() or None, timeout_s=90)
    # The work runs and nobody wrote that down: the dispatcher is dead.
    stage.call("POST", f"/jobs/{job}/cancel").raise_for_status()
    stage.ended(job)
    wait_for(lambda: True if not stage.processes(job) else None)
    assert (stage.job(job)["status"], stage.job(job)["attempt"]) == ("cancelled", 1)


@pytest.mark.parametrize(
    "body",
    [b"", b"not json", b"[]", b'{"job_id": 7}', b'{"job_id": "job_../x", "attempt": 1}', b"\xff"],
)
def test_a_poison_message_goes_to_the_dead_letters_and_harms_nobody(
    stage: Stage, body: bytes
) -> None:
    letters = stage.subscription("training-jobs-dead")
    stage.publish_bytes("training-jobs", body)
    letter = wait_for(lambda: next(iter(letters()), None))
    assert letter == (body, "The message names no job.")
    stage.settle()


def test_a_message_of_a_job_that_does_not_exist_is_a_dead_letter(stage: Stage) -> None:
    letters = stage.subscription("training-jobs-dead")
    message = {"job_id": f"job_{'y' * 20}", "attempt": 1}
    stage.publish("training-jobs", message)
    data, reason = wait_for(lambda: next(iter(letters()), None))
    assert (json.loads(data), reason) == (message, "There is no such job.")
    stage.settle()


def test_a_job_that_can_never_be_started_fails_and_says_why(stage: Stage) -> None:
    stage.episodes(1)
    job = stage.start(backend="pull", backend_label="lab")["job_id"]
    record = {
        "key": "1",
        "state": "in_progress",
        "token": "of-a-dead-one",
        "attempt": 5,
        "until": stage.job(job)["created_at"],
        "problem": "Kubernetes is unavailable",
    }
    stage.change(job, {"config.backend": "subprocess", "dispatch": record})
    stage.publish("training-jobs", {"job_id": job, "attempt": 1})
    end = stage.ended(job)
    assert end["status"] == "failed"
    assert end["error"] == {
        "code": "job.dispatch_failed",
        "message": "5 starts failed; the last: Kubernetes is unavailable",
    }
    assert stage.works_of(job) == 0


def test_a_backend_that_refuses_ends_the_job_with_its_words(stage: Stage) -> None:
    stage.episodes(1)
    resources = {"gpu_type": "nvidia-l4", "gpu_count": 16}
    job = stage.start(resources=resources)["job_id"]
    end = stage.ended(job)
    assert end["status"] == "failed"
    assert end["error"]["code"] == "executor.resources"
    assert stage.works_of(job) == 0


def _waiting(stage: Stage, count: int) -> tuple[str, list[str]]:
    """Return a job that waits for the end of a dead dispatcher's lease, and its episodes."""
    episodes = stage.episodes(count)
    marker = stage.arm("dispatch.leased")
    job = stage.start(hyperparams={"steps": 1})["job_id"]
    wait_for(lambda: marker.exists() or None, timeout_s=90)
    return job, episodes


def test_episodes_deleted_or_rejected_while_queued_are_left_out(stage: Stage) -> None:
    job, (kept, deleted, rejected) = _waiting(stage, 3)
    stage.product.firestore.document(f"rlds_episodes/{deleted}").delete()
    stage.product.firestore.document(f"rlds_episodes/{rejected}").update({"status": "rejected"})
    stage.end_dispatch_lease(job)
    config = stage.ended(job)["config"]
    assert stage.job(job)["status"] == "completed"
    assert config["episode_ids"] == [kept]
    assert (config["episode_count"], config["dropped_episodes"]) == (1, 2)
    blob = stage.product.storage.bucket("continuon-rlds").blob(f"training/{job}/1/model.npz")
    assert config["episodes_digest"].encode() in blob.download_as_bytes()


def test_a_job_whose_episodes_are_all_gone_fails_and_says_so(stage: Stage) -> None:
    job, episodes = _waiting(stage, 2)
    for name in episodes:
        stage.product.firestore.document(f"rlds_episodes/{name}").delete()
    stage.end_dispatch_lease(job)
    end = stage.ended(job)
    assert (end["status"], end["error"]["code"]) == ("failed", "job.no_episodes")
    assert "All 2 episodes" in end["error"]["message"]
    assert stage.works_of(job) == 0


def test_the_end_of_a_job_is_announced_with_one_id(stage: Stage) -> None:
    finished = stage.subscription("training-finished", attributes=("event_id", "type"))
    stage.episodes(1)
    job = stage.start(hyperparams={"steps": 1})["job_id"]
    stage.ended(job)
    seen: list[Any] = []

    def announced() -> Any:
        seen.extend(one for one in finished() if job in str(one))
        return seen or None

    wait_for(announced)
    body = {"job_id": job, "status": "completed", "owner_id": stage.owner.uid}
    assert seen == [(json.dumps(body).encode(), f"{job}:finished", "training-finished")]
