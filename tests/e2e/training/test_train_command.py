"""`continuon train` as a person uses it, on episodes that a real arm recorded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from conftest import REPOSITORY, run_local_cloud
from product import Product

if TYPE_CHECKING:
    from collections.abc import Iterator

BRIDGE = REPOSITORY / "examples" / "episodes" / "fetched" / "bridge"
RURI = "rcan://continuon.cloud/trossen/widowx-250/b1d9e250"
COMMAND = Path(sys.executable).with_name("continuon")
JOINTS = 'fields=["observation.robot_state.joint_positions"]'
"""What this arm did not record: it is driven by the pose of its hand."""

SUBPROCESS = ("--robot-model", "widowx-250", "--backend", "subprocess")
QUICK = ("-p", "max_steps=200", "-p", "checkpoint_every=100", "-p", "evaluate_every=100")

pytestmark = pytest.mark.timeout(600)
"""Each test starts several interpreters; a loaded machine takes its time."""


class Person:
    """Somebody at a shell, signed in."""

    def __init__(self, product: Product, home: Path) -> None:
        cloud = product.cloud
        self._environment = {
            "PATH": "/usr/bin:/bin",
            "CONTINUON_URL": cloud.url,
            "CONTINUON_HOME": str(home),
            "FIREBASE_AUTH_EMULATOR_HOST": cloud.env["FIREBASE_AUTH_EMULATOR_HOST"],
        }

    def run(self, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        """Run `continuon` and return what came of it."""
        return subprocess.run(  # noqa: S603 - our own command
            [str(COMMAND), *arguments],
            env=self._environment,
            input=text,
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )

    def json(self, *arguments: str) -> Any:
        """Run a command that has to succeed and return its document."""
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def product() -> Iterator[Product]:
    """A cloud for this module: others claim the same arm, which its recordings name."""
    with run_local_cloud() as cloud:
        opened = Product(cloud)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def person(product: Product, tmp_path_factory: pytest.TempPathFactory) -> Person:
    """The owner of the arm, with its four recordings validated."""
    someone = Person(product, tmp_path_factory.mktemp("home"))
    login = ("login", "--email", "trainer@example.com", "--create", "--password-stdin")
    assert someone.run(*login, text="secret123\n").returncode == 0
    someone.json("robot", "init", "--ruri", RURI)
    someone.json("robot", "claim")
    paths = [str(BRIDGE / f"bridge_{number}") for number in ("00", "03", "06", "09")]
    someone.json("episode", "upload", *paths)
    return someone


@pytest.fixture(scope="module")
def finished(person: Person) -> dict[str, Any]:
    """What `train start --watch` ends in."""
    start = ("train", "start", "--type", "seed", "--robot-model", "widowx-250")
    how = ("--min-quality", "0.8", "--backend", "subprocess", "--watch")
    document: dict[str, Any] = person.json(*start, *how, *QUICK)
    return document


def test_watching_a_job_ends_in_a_registered_version_that_names_its_episodes(
    person: Person, finished: dict[str, Any]
) -> None:
    job, version = finished["job"], finished["model_version"]
    episodes = {one["episode_id"] for one in person.json("episode", "list")["episodes"]}

    assert job["status"] == "completed"
    assert job["output"]["model_ref"] == version["model_ref"]
    assert set(version["lineage"]["episode_ids"]) == episodes
    assert version["training_job_id"] == job["job_id"]
    assert version["checksum"] == f"sha256:{job['output']['artifact']['sha256']}"
    assert {"held_out/loss", "held_out/baseline_loss"} <= set(version["metrics"])


def test_metrics_logs_and_lists_say_what_happened(person: Person, finished: dict[str, Any]) -> None:
    job_id = finished["job"]["job_id"]
    episode_id = finished["job"]["config"]["episode_ids"][0]

    rows = person.json("train", "metrics", job_id)["rows"]
    log = person.run("train", "logs", job_id).stdout
    picture = person.run("train", "metrics", job_id).stdout
    listed = person.json("train", "list", "--episode", episode_id)["jobs"]

    last = rows[-2:]
    assert {(row["step"], row["split"]) for row in last} == {(200, "train"), (200, "held_out")}
    assert all({"loss", "baseline_loss", "improvement"} <= set(row) for row in last)
    assert "step 100: checkpoint stored" in log
    assert "mean action, held out" in picture
    assert [one["job_id"] for one in listed] == [job_id]


def test_a_job_that_fails_says_why_and_the_exit_code_says_that_it_did(person: Person) -> None:
    start = ("train", "start", "--robot-model", "widowx-250", "--backend", "subprocess")
    done = person.run(*start, "-p", "hidden=wide", "--watch", "--json")
    document = json.loads(done.stdout)

    assert done.returncode == 10
    assert document["job"]["error"]["code"] == "trainer.config_invalid"
    assert "hidden" in document["job"]["error"]["message"]
    assert document["model_version"] is None


def test_cancelling_ends_the_process_and_retrying_makes_a_new_job(person: Person) -> None:
    start = ("train", "start", "--robot-model", "widowx-250", "--backend", "subprocess")
    job_id = person.json(*start, "-p", "max_steps=100000000")["job_id"]
    cancelled = person.json("train", "cancel", job_id)
    again = person.json("train", "retry", job_id)
    watched = person.run("train", "show", job_id, "--watch", "--json")
    person.json("train", "cancel", again["job_id"])

    assert cancelled["status"] == "cancelled"
    assert again["retry_of"] == job_id
    assert watched.returncode == 10


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("start", "--robot-model", "nobody", "--backend", "subprocess"), 8, "No episode fits"),
        (("start", "--robot-model", "widowx-250", "--min-quality", "7"), 2, "min_quality"),
        (("start", *SUBPROCESS, "--type", "finetune"), 8, "--model-base"),
        (("start", *SUBPROCESS, "--type", "finetune", "--model-base", "no@one"), 8, "models list"),
        (("start", "--robot-model", "widowx-250", "-p", "nothing"), 2, "NAME=VALUE"),
        (("start", "--robot-model", "widowx-250", "--gpu-count", "1"), 2, "gpu_type"),
        (("show", "job_00000000000000000000"), 5, "train list"),
        (("slow-loop", "widowx-250"), 5, ""),
    ],
)
def test_what_cannot_be_done_is_refused_in_words(
    person: Person, arguments: tuple[str, ...], status: int, words: str
) -> None:
    done = person.run("train", *arguments)

    assert done.returncode == status
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_budget_and_slow_loop_are_kept(person: Person) -> None:
    budget = person.json("train", "budget", "--limit", "12.5")
    person.json("train", "slow-loop", "widowx-250", "--backend", "subprocess", "--threshold", "7")
    changed = person.json("train", "slow-loop", "widowx-250", "--off")

    assert budget["monthly_limit_usd"] == 12.5
    assert (changed["enabled"], changed["threshold"], changed["backend"]) == (
        False,
        7,
        "subprocess",
    )


def test_a_job_without_usable_numbers_says_which_field_is_missing(person: Person) -> None:
    start = ("train", "start", "--robot-model", "widowx-250", "--backend", "subprocess")
    done = person.run(*start, "-p", JOINTS, "--watch")

    assert done.returncode == 10
    assert "dataset.field_empty" in done.stdout
    assert "name other fields" in " ".join(done.stdout.split())


@pytest.fixture(scope="module")
def tuned(person: Person, finished: dict[str, Any]) -> dict[str, Any]:
    """What a fine-tuning of that version on the same episodes ends in."""
    model_id = finished["model_version"]["model_id"]
    person.json("models", "alias", "set", model_id, "production", "1", "--reason", "first")
    start = ("train", "start", "--type", "finetune", "--model-base", f"{model_id}@production")
    how = ("--robot-model", "widowx-250", "--backend", "subprocess", "--watch")
    document: dict[str, Any] = person.json(*start, *how, *QUICK)
    return document


def test_a_fine_tuning_starts_where_its_base_ended(
    person: Person, finished: dict[str, Any], tuned: dict[str, Any]
) -> None:
    base, job = finished["model_version"], tuned["job"]
    rows = person.json("train", "metrics", job["job_id"])["rows"]
    first = next(row for row in rows if row["split"] == "held_out")

    assert job["config"]["model_base"] == base["model_ref"]
    assert (first["step"], first["loss"]) == (0, base["metrics"]["held_out/loss"])
    assert f"starts from {base['model_ref']}" in person.run("train", "logs", job["job_id"]).stdout


def test_base_and_fine_tuned_version_name_each_other(
    person: Person, finished: dict[str, Any], tuned: dict[str, Any]
) -> None:
    base, version = finished["model_version"], tuned["model_version"]
    shown = person.run("models", "show", f"{base['model_id']}@1", "--lineage").stdout

    assert (version["model_id"], version["version"]) == (base["model_id"], 2)
    assert version["lineage"]["model_base"] == base["model_ref"]
    assert f"became part of {version['model_id']}@2" in shown
    assert (
        base["model_ref"]
        in person.run("models", "show", f"{base['model_id']}@2", "--lineage").stdout
    )


def test_a_network_of_another_shape_cannot_start_from_the_base(
    person: Person, finished: dict[str, Any]
) -> None:
    ref = finished["model_version"]["model_ref"]
    start = ("train", "start", "--type", "finetune", "--model-base", ref)
    how = ("--robot-model", "widowx-250", "--backend", "subprocess", "-p", "hidden=[8]", "--watch")
    done = person.run(*start, *how, "--json")
    error = json.loads(done.stdout)["job"]["error"]

    assert (done.returncode, error["code"]) == (10, "trainer.model_base_mismatch")
    assert "hidden is [64, 64] in the base and [8] here" in error["message"]


def test_nobody_signed_in_is_told_to_sign_in(product: Product, tmp_path: Path) -> None:
    done = Person(product, tmp_path).run("worker", "--backend-label", "lab")

    assert done.returncode == 3
    assert "continuon login" in done.stderr
