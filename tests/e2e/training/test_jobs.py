"""A job as its owner sees it: started once, watched, cancelled, retried."""

from __future__ import annotations

import concurrent.futures
from typing import TYPE_CHECKING, Any

import pytest

from product import problem, wait_for
from training_stage import ROBOT_MODEL

if TYPE_CHECKING:
    from training_stage import Stage


def test_a_job_runs_to_its_end_and_says_what_came_out(stage: Stage) -> None:
    episodes = stage.episodes(3)
    job = stage.start(hyperparams={"steps": 3, "nested": [[1, 2]]}, min_quality=0.5)
    assert (job["status"], job["attempt"]) == ("queued", 1)
    assert job["config"]["episode_ids"] == episodes
    stage.ended(job["job_id"])
    seen = stage.call("GET", f"/jobs/{job['job_id']}").json()
    assert (seen["status"], seen["step"], seen["error"]) == ("completed", 3, None)
    assert seen["config"]["hyperparams"] == {"steps": 3, "nested": [[1, 2]]}
    assert seen["checkpoint"]["ref"] == f"training/{job['job_id']}/1/step-3.bin"
    assert seen["output"]["artifact"]["ref"] == f"training/{job['job_id']}/1/model.npz"
    assert seen["output"]["metrics"]["loss"] == pytest.approx(1 / 3)
    rows = stage.call("GET", f"/jobs/{job['job_id']}/metrics").json()["rows"]
    assert [(row["step"], row["split"]) for row in rows] == [(n, "train") for n in (1, 2, 3)]
    chunks = stage.call("GET", f"/jobs/{job['job_id']}/logs").json()["chunks"]
    assert "".join(chunk["text"] for chunk in chunks) == "step 1\nstep 2\nstep 3\n"
    assert stage.audit(job["job_id"]) == ["training.create"]
    assert stage.works_of(job["job_id"]) == 1


def test_metrics_and_logs_go_on_where_the_last_answer_ended(stage: Stage) -> None:
    stage.episodes(1)
    job = stage.start(backend="pull", backend_label="lab")["job_id"]
    token = stage.lease()["token"]

    def report(step: int) -> None:
        row = {"step": step, "loss": 0.5}
        stage.trainer(token, "POST", f"/jobs/{job}/metrics", {"rows": [row]}).raise_for_status()
        line = {"sequence": step, "text": f"{step}\n"}
        stage.trainer(token, "POST", f"/jobs/{job}/logs", line).raise_for_status()

    def read(kind: str, after: str | None) -> tuple[list[Any], str]:
        query = {} if after is None else {"after": after}
        page = stage.call("GET", f"/jobs/{job}/{kind}", params=query).json()
        return page["rows" if kind == "metrics" else "chunks"], page["next_page_token"]

    report(1)
    rows, rows_end = read("metrics", None)
    chunks, chunks_end = read("logs", None)
    assert (len(rows), len(chunks)) == (1, 1)
    assert read("metrics", rows_end) == ([], rows_end)
    report(2)
    assert [row["step"] for row in read("metrics", rows_end)[0]] == [2]
    assert [chunk["text"] for chunk in read("logs", chunks_end)[0]] == ["2\n"]
    problem(stage.call("GET", f"/jobs/{job}/logs?after=../x"), 422, "request.page_token_invalid")
    problem(stage.call("GET", f"/jobs/{job}/metrics?after=x"), 422, "request.page_token_invalid")


def test_one_key_starts_one_job_also_from_many_requests_at_once(stage: Stage) -> None:
    stage.episodes(1)
    request: dict[str, Any] = {"key": "once-and-only", "backend": "pull", "backend_label": "lab"}
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: stage.create(**request), range(8)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["job_id"] for answer in answers}) == 1
    assert len(stage.call("GET", "/jobs").json()["jobs"]) == 1
    refused = stage.create(**request, timeout_s=7)
    problem(refused, 409, "job.idempotency_mismatch")
    stranger = stage.of_new_account()
    stranger.episodes(1)
    assert stranger.start(**request)["job_id"] != answers[0].json()["job_id"]


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        ({"backend": "vertex"}, 422, "job.backend_disabled"),
        ({"backend": "pull"}, 422, "job.backend_label_required"),
        ({"robot_model": "unheard-of"}, 422, "job.no_episodes"),
        ({"min_quality": 0.99}, 422, "job.no_episodes"),
        ({"episode_ids": ["ep_missing"]}, 422, "job.episode_not_eligible"),
        ({"episode_ids": []}, 422, "request.invalid"),
        ({"episode_ids": ["a", "a"]}, 422, "request.invalid"),
        ({"epochs": 3}, 422, "request.invalid"),
        ({"hyperparams": {"text": "x" * 20_000}}, 422, "request.invalid"),
        ({"resources": {"gpu_count": 1}}, 422, "request.invalid"),
        ({"backend_label": "lab"}, 422, "request.invalid"),
        ({"type": "enormous"}, 422, "request.invalid"),
        ({"callback_url": "ftp://example.com"}, 422, "request.invalid"),
    ],
)
def test_a_request_that_cannot_be_granted_starts_nothing(
    stage: Stage, request_: dict[str, Any], status: int, code: str
) -> None:
    stage.episodes(1)
    problem(stage.create(**request_), status, code)
    assert stage.call("GET", "/jobs").json()["jobs"] == []


def test_every_episode_that_cannot_be_trained_on_is_named(stage: Stage) -> None:
    good, rejected, poor, unfit, other = (
        stage.episodes(1, **changes)[0]
        for changes in (
            {},
            {"status": "rejected"},
            {"quality": None},
            {"training_eligible": False},
            {"robot_model": "rover"},
        )
    )
    foreign = stage.of_new_account().episodes(1)[0]
    listed = [good, rejected, poor, unfit, other, foreign]
    body = problem(
        stage.create(episode_ids=listed, min_quality=0.5), 422, "job.episode_not_eligible"
    )
    said = {error["path"]: error["message"] for error in body["errors"]}
    assert said == {
        "episode_ids[1]": f"{rejected} is rejected, not validated",
        "episode_ids[2]": f"{poor} has the quality None, below 0.5",
        "episode_ids[3]": f"{unfit} is not eligible for training",
        "episode_ids[4]": f"{other} was recorded by a rover, not a {ROBOT_MODEL}",
        "episode_ids[5]": f"{foreign} is not one of your episodes",
    }


def test_jobs_are_listed_by_status_and_episode_in_pages(stage: Stage) -> None:
    first, second = stage.episodes(2)
    pull = {"backend": "pull", "backend_label": "lab"}
    jobs = [stage.start(episode_ids=[first], **pull) for _ in range(3)]
    cancelled = stage.start(episode_ids=[second], **pull)
    stage.call("DELETE", f"/jobs/{cancelled['job_id']}").raise_for_status()
    newest = [job["job_id"] for job in reversed(jobs)]

    def listed(query: str) -> list[str]:
        page = stage.call("GET", f"/jobs?{query}").json()
        return [job["job_id"] for job in page["jobs"]]

    assert listed("status=queued") == newest
    assert listed(f"episode_id={first}") == newest
    assert listed(f"episode_id={second}&status=cancelled") == [cancelled["job_id"]]
    assert listed(f"episode_id={second}&status=queued") == []
    page = stage.call("GET", "/jobs?page_size=3").json()
    assert [job["job_id"] for job in page["jobs"]] == [cancelled["job_id"], *newest[:2]]
    assert page["jobs"][0]["config"]["episode_ids"] == []
    rest = stage.call("GET", f"/jobs?page_size=3&page_token={page['next_page_token']}").json()
    assert [job["job_id"] for job in rest["jobs"]] == newest[2:]
    assert rest["next_page_token"] is None


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("DELETE", ""),
        ("POST", "/cancel"),
        ("POST", "/retry"),
        ("GET", "/logs"),
        ("GET", "/metrics"),
    ],
)
def test_what_belongs_to_another_is_not_found(stage: Stage, method: str, path: str) -> None:
    stage.episodes(1)
    job = stage.start(backend="pull", backend_label="lab")["job_id"]
    before = stage.job(job)
    stranger = stage.of_new_account()
    problem(stranger.call(method, f"/jobs/{job}{path}"), 404, "job.not_found")
    missing = f"job_{'z' * 20}"
    problem(stage.call(method, f"/jobs/{missing}{path}"), 404, "job.not_found")
    assert stage.job(job) == before


def test_a_cancelled_job_is_stopped_at_its_backend(stage: Stage) -> None:
    stage.episodes(1)
    job = stage.start(hyperparams={"steps": 1, "hang_at": 1})["job_id"]
    stage.until(job, "running")
    wait_for(lambda: stage.processes(job) or None)
    answer = stage.call("POST", f"/jobs/{job}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    wait_for(lambda: True if not stage.processes(job) else None)
    end = stage.ended(job)
    assert (end["status"], end["error"], end["attempt"]) == ("cancelled", None, 1)
    again = stage.call("DELETE", f"/jobs/{job}")
    assert (again.status_code, again.json()["status"]) == (200, "cancelled")
    assert stage.audit(job) == ["training.create", "training.cancel"]
    wait_for(lambda: True if stage.job(job)["backend"]["cleanup_at"] is None else None)


def test_an_ended_job_refuses_what_it_cannot_become_and_names_its_state(stage: Stage) -> None:
    stage.episodes(1)
    job = stage.start(hyperparams={"steps": 1})["job_id"]
    refused = problem(stage.call("POST", f"/jobs/{job}/retry"), 409, "job.state")
    assert any(state in refused["detail"] for state in ("queued", "running", "completed"))
    before = stage.ended(job)
    body = problem(stage.call("POST", f"/jobs/{job}/cancel"), 409, "job.state")
    assert "The job is completed" in body["detail"]
    problem(stage.call("POST", f"/jobs/{job}/retry"), 409, "job.state")
    after = stage.job(job)
    assert after["status"] == "completed"
    assert after["output"] == before["output"]


def test_a_retry_is_a_new_job_that_goes_on_from_the_last_checkpoint(stage: Stage) -> None:
    kept, deleted = stage.episodes(2)
    plan = {"steps": 3, "exit_at": 3, "exit_status": 1}
    job = stage.start(hyperparams=plan)["job_id"]
    failed = stage.ended(job, watch=True)
    assert failed["error"]["code"] == "job.trainer_failed"
    assert "exit status 1" in failed["error"]["message"]
    assert "this is the end of the output" in failed["error"]["message"]
    stage.product.firestore.document(f"rlds_episodes/{deleted}").delete()
    stage.change(job, {"config.hyperparams.exit_at": 99})
    headers = {"idempotency-key": "again-please"}
    path = f"/api/v1/training/jobs/{job}/retry"
    auth = {"authorization": f"Bearer {stage.owner.token}", **headers}
    fresh = stage.product.http.post(path, headers=auth).json()
    assert stage.product.http.post(path, headers=auth).json()["job_id"] == fresh["job_id"]
    assert fresh["retry_of"] == job
    assert fresh["checkpoint"]["ref"] == f"training/{job}/1/step-2.bin"
    assert fresh["config"]["episode_ids"] == [kept]
    end = stage.ended(fresh["job_id"])
    assert end["status"] == "completed"
    steps = [
        row["step"] for entry in stage.below(fresh["job_id"], "metrics") for row in entry["rows"]
    ]
    assert steps == [3]
    assert stage.job(job)["status"] == "failed"


def test_a_trainer_that_says_why_it_failed_is_quoted(stage: Stage) -> None:
    stage.episodes(1)
    job = stage.start(hyperparams={"steps": 1, "fail": "the loss is not a number"})["job_id"]
    end = stage.ended(job)
    assert end["error"] == {"code": "trainer.test", "message": "the loss is not a number"}
    assert (end["status"], end["output"]) == ("failed", None)
