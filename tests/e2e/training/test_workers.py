"""`continuon worker` and the reference trainer on a real cloud: killed, told to stop, cut off."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from conftest import REPOSITORY
from product import BUCKET, wait_for
from training_link import breakable_link
from training_people import environment_of, recorded, worker_process
from training_stage import FAKE_TRAINER, ROBOT_MODEL

if TYPE_CHECKING:
    from pathlib import Path

    from training_stage import Stage

pytestmark = pytest.mark.timeout(600)
"""Each test starts several interpreters and trainings; a loaded machine takes its time."""

HYPERPARAMS = {
    "max_steps": 600,
    "hidden": [16],
    "batch_steps": 16,
    "shuffle_steps": 50,
    "observation_noise": 0.05,
    "checkpoint_every": 50,
    "evaluate_every": 100,
    "bootstrap_samples": 100,
}


@pytest.fixture(scope="module")
def lab(shared_stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    stage = shared_stage.of_new_account()
    folder = tmp_path_factory.mktemp("recordings") / "episodes"
    names = recorded(stage.owner, folder, prefix="work", robot_model=ROBOT_MODEL)
    return Lab(stage, names)


class Lab:
    """An owner with recorded episodes, whose jobs wait for workers."""

    def __init__(self, stage: Stage, episodes: list[str]) -> None:
        self.stage = stage
        self.episodes = episodes

    def start(self, label: str, **hyperparams: Any) -> str:
        job = self.stage.start(
            backend="pull",
            backend_label=label,
            episode_ids=self.episodes,
            hyperparams=HYPERPARAMS | hyperparams,
        )
        return str(job["job_id"])

    def checkpointed(self, job_id: str) -> dict[str, Any]:
        """Wait until the job runs and has a checkpoint."""

        def find() -> dict[str, Any] | None:
            data = self.stage.job(job_id)
            return data if data.get("checkpoint") else None

        return wait_for(find, timeout_s=90)

    def give_up_waiting(self, job_id: str) -> None:
        """Let the lease of a worker that is gone run out, as it does by itself after a minute."""

        def find() -> bool | None:
            if self.stage.job(job_id)["status"] == "queued":
                return True
            # Again and again: a call that was on its way when the worker died extends the lease.
            self.stage.age(job_id, "lease.until")
            self.stage.watch()
            return None

        wait_for(find, timeout_s=90)

    def model(self, job_id: str) -> bytes:
        ref = self.stage.job(job_id)["output"]["artifact"]["ref"]
        content: bytes = self.stage.product.storage.bucket(BUCKET).blob(ref).download_as_bytes()
        return content

    def log(self, job_id: str) -> str:
        page = self.stage.call("GET", f"/jobs/{job_id}/logs").json()
        return "".join(chunk["text"] for chunk in page["chunks"])


@pytest.fixture(scope="module")
def undisturbed(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The model of a job that nothing happened to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    job_id = lab.start("calm")
    environment = environment_of(lab.stage.owner, folder / "home")
    with worker_process(environment, folder / "work", "calm"):
        ended = lab.stage.ended(job_id)
    assert ended["status"] == "completed", ended["error"]
    return lab.model(job_id)


def test_a_job_whose_worker_is_killed_ends_elsewhere_in_the_same_model(
    lab: Lab, undisturbed: bytes, tmp_path: Path
) -> None:
    environment = environment_of(lab.stage.owner, tmp_path / "home")
    job_id = lab.start("killed")
    with worker_process(environment, tmp_path / "one", "killed") as first:
        lab.checkpointed(job_id)
        first.kill()
    wait_for(lambda: not lab.stage.processes(job_id) or None)
    left = lab.stage.job(job_id)
    lab.give_up_waiting(job_id)

    with worker_process(environment, tmp_path / "two", "killed"):
        ended = lab.stage.ended(job_id)

    assert left["status"] == "running"
    assert (ended["status"], ended["error"]) == ("completed", None)
    assert ended["attempt"] == 2
    assert "goes on from the checkpoint of step" in lab.log(job_id)
    assert lab.model(job_id) == undisturbed


def test_a_worker_that_is_told_to_end_gives_its_job_back(lab: Lab, tmp_path: Path) -> None:
    environment = environment_of(lab.stage.owner, tmp_path / "home")
    job_id = lab.start("polite", max_steps=100_000_000)
    with worker_process(environment, tmp_path / "work", "polite") as worker:
        before = lab.checkpointed(job_id)
        status, said = worker.terminate()
    after = lab.stage.job(job_id)

    assert status == 0
    assert said["jobs"][-1]["outcome"] == "released"
    assert (after["status"], after["lease"]) == ("queued", None)
    assert after["attempt"] > before["attempt"]
    assert not lab.stage.processes(job_id)
    assert lab.stage.call("POST", f"/jobs/{job_id}/cancel").status_code == 200


@pytest.mark.parametrize("trainer", ["reference", "deaf"])
def test_cancelling_stops_the_trainer_on_the_worker(lab: Lab, trainer: str, tmp_path: Path) -> None:
    environment = environment_of(lab.stage.owner, tmp_path / "home")
    # The deaf one neither asks nor listens: its worker has to end it.
    options = ["--command", f"{sys.executable} {FAKE_TRAINER}"] if trainer == "deaf" else []
    job_id = lab.start(trainer, **({"hang_at": 2} if options else {"max_steps": 100_000_000}))
    with worker_process(environment, tmp_path / "work", trainer, *options) as worker:
        lab.checkpointed(job_id)
        cancelled = lab.stage.call("POST", f"/jobs/{job_id}/cancel")
        wait_for(lambda: not lab.stage.processes(job_id) or None, timeout_s=90)
        _, said = worker.terminate()

    assert cancelled.json()["status"] == "cancelled"
    assert [(one["job_id"], one["outcome"]) for one in said["jobs"]] == [(job_id, "stopped")]
    assert lab.stage.job(job_id)["status"] == "cancelled"


def test_the_trainer_of_the_documentation_goes_on_where_it_was_killed(
    lab: Lab, tmp_path: Path
) -> None:
    environment = environment_of(lab.stage.owner, tmp_path / "home")
    options = ("--command", f"{sys.executable} {REPOSITORY / 'examples' / 'own_trainer.py'}")
    jobs = [lab.start("own"), lab.start("own-killed")]
    with worker_process(environment, tmp_path, "own", *options):
        calm = lab.stage.ended(jobs[0])
    with worker_process(environment, tmp_path, "own-killed", *options) as first:
        lab.checkpointed(jobs[1])
        first.kill()
    lab.give_up_waiting(jobs[1])
    with worker_process(environment, tmp_path, "own-killed", *options):
        killed = lab.stage.ended(jobs[1])

    assert [calm["status"], killed["status"]] == ["completed", "completed"]
    assert (calm["attempt"], killed["attempt"]) == (1, 2)
    assert lab.model(jobs[0]) == lab.model(jobs[1])
    rows = lab.stage.call("GET", f"/jobs/{jobs[0]}/metrics").json()["rows"]
    assert {row["split"] for row in rows} == {"train"}
    assert rows[-1]["loss"] < rows[0]["loss"]


@pytest.mark.parametrize(
    ("plan", "status"), [({"silent_end": True}, 0), ({"exit_at": 1, "exit_status": 7}, 7)]
)
def test_a_trainer_that_ends_without_a_word_fails_the_job_with_its_last_ones(
    lab: Lab, plan: dict[str, Any], status: int, tmp_path: Path
) -> None:
    environment = environment_of(lab.stage.owner, tmp_path / "home")
    job_id = lab.start(f"mute-{status}", **plan)
    options = ("--command", f"{sys.executable} {FAKE_TRAINER}")
    with worker_process(environment, tmp_path / "work", f"mute-{status}", *options) as worker:
        ended = lab.stage.ended(job_id)
        _, said = worker.terminate()

    assert (ended["status"], ended["error"]["code"]) == ("failed", "trainer.exit")
    assert f"ended with status {status}" in ended["error"]["message"]
    assert status == 0 or "this is the end of the output" in ended["error"]["message"]
    assert [(one["outcome"], one["exit_status"]) for one in said["jobs"]] == [("failed", status)]


def test_an_exception_of_a_trainer_is_the_jobs_error_and_its_traceback_is_in_the_log(
    lab: Lab, tmp_path: Path
) -> None:
    program = tmp_path / "broken.py"
    program.write_text(
        "import sys\n"
        "from continuon_cloud.training import run_trainer\n"
        "def train(job):\n"
        "    print('token', job.context.token)\n"
        "    raise ZeroDivisionError('nothing to divide by')\n"
        "sys.exit(run_trainer(train))\n"
    )
    environment = environment_of(lab.stage.owner, tmp_path / "home")
    job_id = lab.start("broken")
    options = ("--command", f"{sys.executable} {program}", "--once")
    with worker_process(environment, tmp_path / "work", "broken", *options) as worker:
        ended = lab.stage.ended(job_id)
        status, _ = worker.finish()

    log = lab.log(job_id)
    assert (status, ended["error"]["code"]) == (10, "trainer.crashed")
    assert "nothing to divide by" in ended["error"]["message"]
    assert "Traceback (most recent call last)" in log
    assert "token [secret]" in log


def test_a_broken_link_costs_no_step(lab: Lab, undisturbed: bytes, tmp_path: Path) -> None:
    job_id = lab.start("cut")
    with breakable_link(lab.stage.product.cloud.url) as link:
        environment = environment_of(lab.stage.owner, tmp_path / "home", url=link.url)
        with worker_process(environment, tmp_path / "work", "cut"):
            lab.checkpointed(job_id)
            link.cut()
            wait_for(lambda: link.refused >= 2 or None)
            link.mend()
            ended = lab.stage.ended(job_id)

    assert (ended["status"], ended["attempt"], ended["error"]) == ("completed", 1, None)
    assert lab.model(job_id) == undisturbed
