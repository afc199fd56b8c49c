"""What a trainer reports: applied once, in order, by the job's own worker, and while it runs."""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from continuon import limits
from product import problem, store
from training_stage import DURATIONS

if TYPE_CHECKING:
    from training_stage import Stage

TRAINER_ROUTES = [
    ("GET", "/assignment", None),
    ("GET", "/episodes", None),
    ("POST", "/artifacts", {"kind": "model", "name": "m", "size_bytes": 1, "sha256": "0" * 64}),
    ("POST", "/callback", {"attempt": 1, "sequence": 1}),
    ("PUT", "/status", {"attempt": 1, "sequence": 1}),
    ("POST", "/heartbeat", {"attempt": 1}),
    ("POST", "/release", {"attempt": 1}),
    ("POST", "/metrics", {"rows": [{"step": 1, "loss": 1.0}]}),
    ("POST", "/logs", {"sequence": 1, "text": "x"}),
]


class Work:
    """A leased job and its worker."""

    def __init__(self, stage: Stage, **request: Any) -> None:
        self.stage = stage
        self.episodes = stage.episodes(1)
        self.job: str = stage.start(backend="pull", backend_label="lab", **request)["job_id"]
        leased = stage.lease()
        assert leased["job_id"] == self.job
        self.token: str = leased["token"]

    def call(self, method: str, path: str, body: Any = None) -> httpx.Response:
        return self.stage.trainer(self.token, method, f"/jobs/{self.job}{path}", body)

    def callback(self, sequence: int, **fields: Any) -> dict[str, Any]:
        body = {"attempt": 1, "sequence": sequence, **fields}
        response = self.call("POST", "/callback", body)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def announce(self, data: bytes, name: str = "c.bin", **changes: Any) -> httpx.Response:
        body = {
            "kind": "checkpoint",
            "name": name,
            "size_bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "step": 1,
            **changes,
        }
        return self.call("POST", "/artifacts", body)

    def document(self) -> dict[str, Any]:
        return self.stage.job(self.job)


@pytest.fixture
def work(stage: Stage) -> Work:
    return Work(stage)


def test_an_assignment_says_what_to_do_and_the_files_can_be_read(stage: Stage) -> None:
    work = Work(stage, hyperparams={"lr": 0.1}, model_base="models/base/versions/3", timeout_s=77)
    job = work.call("GET", "/assignment").json()
    assert job["contract"] == 1
    assert (job["attempt"], job["sequence"], job["checkpoint"]) == (1, 0, None)
    assert (job["hyperparams"], job["timeout_s"]) == ({"lr": 0.1}, 77)
    assert job["model_base"] == "models/base/versions/3"
    assert job["heartbeat_s"] == int(DURATIONS["CONTINUON_HEARTBEAT_S"])
    listed = "".join(f"{name}\n" for name in sorted(work.episodes))
    assert job["episodes_digest"] == hashlib.sha256(listed.encode()).hexdigest()
    page = work.call("GET", "/episodes").json()
    assert [one["episode_id"] for one in page["episodes"]] == work.episodes
    file = page["episodes"][0]["files"][0]
    assert (file["path"], file["size_bytes"]) == ("episode.json", 2)
    assert httpx.get(file["url"]).content == b"{}"
    assert "token" not in str(job).lower()


def test_episodes_come_in_pages_in_the_order_of_their_ids(stage: Stage) -> None:
    names = stage.episodes(60)
    job = stage.start(backend="pull", backend_label="many", episode_ids=names[::-1])["job_id"]
    token = stage.lease("many")["token"]
    first = stage.trainer(token, "GET", f"/jobs/{job}/episodes").json()
    assert [one["episode_id"] for one in first["episodes"]] == names[:50]
    path = f"/jobs/{job}/episodes?page_token={first['next_page_token']}"
    rest = stage.trainer(token, "GET", path).json()
    assert [one["episode_id"] for one in rest["episodes"]] == names[50:]
    assert rest["next_page_token"] is None
    stage.product.firestore.document(f"rlds_episodes/{names[55]}").delete()
    body = problem(stage.trainer(token, "GET", path), 409, "job.episodes_changed")
    assert names[55] in body["detail"]


def test_a_callback_is_applied_once_however_often_it_comes(work: Work) -> None:
    first = work.callback(1, state="running", step=1, metrics={"loss": 3.0})
    assert first == {"applied": True, "status": "running", "stop": False, "stop_reason": None}
    work.callback(3, step=3, metrics={"loss": 1.0})
    before = work.document()
    for sequence, loss in ((1, 3.0), (2, 2.0), (3, 9.0)):
        answer = work.callback(sequence, step=99, metrics={"loss": loss}, state="failed")
        assert (answer["applied"], answer["stop"]) == (False, False)
    body = {"attempt": 1, "sequence": 3, "state": "completed"}
    assert work.call("PUT", "/status", body).json()["applied"] is False
    assert work.document() == before
    assert (before["sequence"], before["step"], before["metrics"]) == (3, 3, {"loss": 1.0})


def test_after_the_end_nothing_changes_and_the_trainer_is_told_to_stop(work: Work) -> None:
    assert work.callback(1, state="completed", metrics={"loss": 0.5})["status"] == "completed"
    before = work.stage.ended(work.job)
    for state in ("running", "failed", "completed"):
        answer = work.callback(2, state=state, step=9)
        assert answer == {
            "applied": False,
            "status": "completed",
            "stop": True,
            "stop_reason": "ended",
        }
    beat = work.call("POST", "/heartbeat", {"attempt": 1}).json()
    assert (beat["stop"], beat["stop_reason"]) == (True, "ended")
    for method, path, body in TRAINER_ROUTES:
        if path not in {"/callback", "/status", "/heartbeat", "/release"}:
            problem(work.call(method, path, body), 409, "job.superseded")
    released = work.call("POST", "/release", {"attempt": 1}).json()
    assert released == {"released": False, "status": "completed"}
    assert work.document() == before


def test_a_day_after_the_end_the_token_is_nobodys(work: Work) -> None:
    work.callback(1, state="failed", error={"code": "x", "message": "y"})
    work.stage.ended(work.job)
    work.stage.age(work.job, "completed_at", by_s=90_000)
    for method, path, body in TRAINER_ROUTES:
        problem(work.call(method, path, body), 401, "job.token_invalid")


def test_a_forged_or_foreign_token_reads_and_changes_nothing(work: Work) -> None:
    stage = work.stage
    other = Work(stage.of_new_account())
    before = stage.job(work.job)
    for method, path, body in TRAINER_ROUTES:
        _refuse_forgeries(work, other, (method, path, body))
    assert stage.job(work.job) == before
    assert stage.below(work.job, "metrics") == stage.below(work.job, "logs") == []


def _refuse_forgeries(work: Work, other: Work, route: tuple[str, str, Any]) -> None:
    method, path, body = route
    stage = work.stage
    refused = [
        secrets.token_urlsafe(32),
        other.token,
        work.token[:-1],
        work.token + "A",
        hashlib.sha256(work.token.encode()).hexdigest(),
        stage.owner.token,
        "x" * 10_000,
        "ä",
    ]
    for token in refused:
        headers = {b"authorization": b"Bearer " + token.encode()}
        response = stage.product.http.request(
            method, f"/api/v1/training/jobs/{work.job}{path}", json=body, headers=headers
        )
        problem(response, 401, "job.token_invalid")
    bare = stage.product.http.request(method, f"/api/v1/training/jobs/{work.job}{path}", json=body)
    problem(bare, 401, "auth.credentials_missing")
    missing = stage.trainer(work.token, method, f"/jobs/job_{'z' * 20}{path}", body)
    problem(missing, 401, "job.token_invalid")


def test_a_token_is_stored_as_a_hash_only(work: Work) -> None:
    stored = str(work.stage.product.documents())
    assert work.token not in stored
    assert hashlib.sha256(work.token.encode()).hexdigest() in stored


def test_a_worker_that_lost_its_job_is_told_so_and_changes_nothing(work: Work) -> None:
    stage = work.stage
    work.callback(1, state="running", step=1)
    stage.age(work.job, "lease.until")
    stage.watch()
    assert stage.job(work.job)["status"] == "queued"
    second = stage.lease(worker_id="w2")
    assert (second["job_id"], second["attempt"]) == (work.job, 2)
    before = stage.job(work.job)
    for attempt in (1, 2):
        late = {"attempt": attempt, "sequence": 2, "state": "completed"}
        answer = work.call("POST", "/callback", late).json()
        assert (answer["applied"], answer["stop"]) == (False, True)
        assert answer["stop_reason"] == "superseded"
    assert work.call("POST", "/heartbeat", {"attempt": 1}).json()["stop"] is True
    assert work.call("POST", "/release", {"attempt": 1}).json()["released"] is False
    for method, path, body in TRAINER_ROUTES[:3]:
        problem(work.call(method, path, body), 409, "job.superseded")
    assert stage.job(work.job) == before
    done = {"attempt": 2, "sequence": 1, "state": "completed"}
    answer = stage.trainer(second["token"], "POST", f"/jobs/{work.job}/callback", done).json()
    assert (answer["applied"], answer["status"]) == (True, "completed")


def test_a_checkpoint_counts_only_when_it_is_stored_as_announced(work: Work) -> None:
    data = b"a checkpoint"
    granted = work.announce(data).json()
    half = {"attempt": 1, "sequence": 1, "step": 1, "checkpoint_ref": granted["ref"]}
    before = work.document()
    body = problem(work.call("POST", "/callback", half), 422, "artifact.incomplete")
    assert body["errors"][0]["path"] == "checkpoint_ref"
    assert work.document() == before
    refused = store(granted["upload"], data[:-1])
    assert refused.status_code == 400
    problem(work.call("POST", "/callback", half), 422, "artifact.incomplete")
    # Of the right length, but not what was announced.
    store(granted["upload"], data[::-1]).raise_for_status()
    problem(work.call("POST", "/callback", half), 422, "artifact.incomplete")
    assert work.document() == before
    other = work.announce(data, "second.bin").json()
    store(other["upload"], data).raise_for_status()
    answer = work.callback(1, step=1, checkpoint_ref=other["ref"])
    assert answer["applied"] is True
    checkpoint = work.document()["checkpoint"]
    assert (checkpoint["ref"], checkpoint["step"]) == (other["ref"], 1)
    assert store(other["upload"], data).status_code == 412


def test_objects_of_other_jobs_and_names_are_no_artifacts(work: Work) -> None:
    other = Work(work.stage.of_new_account())
    data = b"theirs"
    theirs = other.announce(data).json()
    store(theirs["upload"], data).raise_for_status()
    before = work.document()
    episode = f"episodes/validated/robot-1/{work.episodes[0]}/episode.json"
    for ref in (theirs["ref"], episode, "training/../x", "models/production/x"):
        body = {"attempt": 1, "sequence": 1, "state": "completed", "artifact_ref": ref}
        problem(work.call("POST", "/callback", body), 422, "artifact.unknown")
    assert work.document() == before


def test_an_announcement_is_renewed_and_never_replaced(work: Work) -> None:
    first = work.announce(b"one").json()
    again = work.announce(b"one")
    assert again.status_code == 201
    assert again.json()["ref"] == first["ref"]
    assert again.json()["upload"]["already_uploaded"] is False
    store(first["upload"], b"one").raise_for_status()
    assert work.announce(b"one").json()["upload"]["already_uploaded"] is True
    problem(work.announce(b"two"), 409, "artifact.mismatch")
    for name in ("../x", "a/b", "", ".hidden", "x" * 200):
        problem(work.announce(b"one", name), 422, "request.invalid")


def test_a_large_artifact_gets_a_resumable_session(work: Work) -> None:
    data = b"z" * (9 * 1024 * 1024)
    granted = work.announce(data, "model.npz", kind="model").json()
    assert granted["upload"]["resumable"] is True
    store(granted["upload"], data).raise_for_status()
    answer = work.callback(1, state="completed", artifact_ref=granted["ref"])
    assert answer["status"] == "completed"
    assert work.document()["output"]["artifact"]["size_bytes"] == len(data)


def test_metrics_and_logs_are_stored_once_and_end_at_their_caps(work: Work) -> None:
    rows = {"rows": [{"step": n, "split": "train", "loss": 1.0 / (n + 1)} for n in range(3)]}
    assert work.call("POST", "/metrics", rows).json() == {"stored": 3, "capped": False}
    assert work.call("POST", "/metrics", rows).json() == {"stored": 0, "capped": False}
    line = {"sequence": 1, "text": "hello\n"}
    assert work.call("POST", "/logs", line).json() == {"stored": True, "capped": False}
    assert work.call("POST", "/logs", line).json() == {"stored": False, "capped": False}
    assert (work.document()["metric_rows"], work.document()["log_bytes"]) == (3, 6)
    work.stage.change(work.job, {"metric_rows": 99_999, "log_bytes": 16 * 2**20 - 3})
    more = {"rows": [{"step": n, "loss": 1.0} for n in range(5)]}
    assert work.call("POST", "/metrics", more).json() == {"stored": 1, "capped": True}
    more = {"rows": [{"step": 7, "loss": 1.0}]}
    assert work.call("POST", "/metrics", more).json() == {"stored": 0, "capped": True}
    line = {"sequence": 2, "text": "too much"}
    assert work.call("POST", "/logs", line).json() == {"stored": False, "capped": True}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/metrics", {"rows": []}),
        ("/metrics", {"rows": [{"step": 1, "loss": "low"}]}),
        ("/metrics", {"rows": [{"step": -1}]}),
        ("/metrics", {"rows": [{"step": 1, "$json": 1.0}]}),
        ("/metrics", {"rows": [{"step": 1, **{f"m{n}": 1.0 for n in range(70)}}]}),
        ("/metrics", {"rows": [{"step": 1}] * 501}),
        ("/logs", {"sequence": 1, "text": "ä" * 40_000}),
        ("/logs", {"sequence": -1, "text": "x"}),
        ("/callback", {"attempt": 1, "sequence": 0}),
        ("/callback", {"attempt": 0, "sequence": 1}),
        ("/callback", {"attempt": 1, "sequence": 1, "state": "queued"}),
        ("/callback", {"attempt": 1, "sequence": 1, "metrics": {"a b": 1}}),
        ("/callback", {"attempt": 1, "sequence": 2**60}),
        ("/heartbeat", {}),
    ],
)
def test_a_malformed_report_changes_nothing(work: Work, path: str, body: Any) -> None:
    before = work.document()
    problem(work.call("POST", path, body), 422, "request.invalid")
    assert work.document() == before


def test_not_a_number_is_refused(work: Work) -> None:
    headers = {"authorization": f"Bearer {work.token}", "content-type": "application/json"}
    response = work.stage.product.http.post(
        f"/api/v1/training/jobs/{work.job}/metrics",
        content=b'{"rows": [{"step": 1, "loss": NaN}]}',
        headers=headers,
    )
    problem(response, 422, "request.invalid")


def test_a_workers_own_clock_is_never_asked(work: Work) -> None:
    wild = {"at": "1970-01-01T00:00:00Z", "heartbeat_at": "2199-01-01T00:00:00Z", "until": 1e12}
    work.callback(1, state="running", step=1, **wild)
    document = work.document()
    lease_s = (document["lease"]["until"] - document["heartbeat_at"]).total_seconds()
    assert lease_s == limits.JOB_LEASE_S
    work.call("POST", "/metrics", {"rows": [{"step": 10**12, "loss": 1.0}]}).raise_for_status()
    assert work.callback(2, state="completed")["applied"] is True
