"""The smaller parts of a trainer's runtime and of the commands about jobs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest
import typer
from rich.console import Console

from continuon.contracts.training import MetricRow
from continuon_cloud.cli import run
from continuon_cloud.cli.job_options import hyperparams_of
from continuon_cloud.cli.jobs_render import Rows, metrics_plot
from continuon_cloud.cli.plot import Curve, plot
from continuon_cloud.training import JobContext, TrainerContextError, TrainerExit, run_trainer
from continuon_cloud.training.episodes import episode_ids_digest
from continuon_cloud.training.output import captured_output, without_secrets

if TYPE_CHECKING:
    from pathlib import Path

    from continuon_cloud.training import TrainerJob

ENVIRONMENT = {
    "CONTINUON_TRAINER_CONTRACT": "1",
    "CONTINUON_API_URL": "https://cloud.example.com/",
    "CONTINUON_JOB_ID": "job_00000000000000000000",
    "CONTINUON_JOB_ATTEMPT": "2",
    "CONTINUON_JOB_TOKEN": "the-token-of-the-job",
}


def test_a_context_is_read_from_the_environment(tmp_path: Path) -> None:
    found = JobContext.from_environment(ENVIRONMENT | {"CONTINUON_WORK_DIR": str(tmp_path)})

    assert (found.api_url, found.attempt) == ("https://cloud.example.com", 2)
    assert (found.work_dir, found.cache_dir) == (tmp_path, tmp_path / "episodes")
    assert "the-token-of-the-job" not in repr(found)


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("CONTINUON_JOB_TOKEN", "", "trainer.environment"),
        ("CONTINUON_TRAINER_CONTRACT", "2", "trainer.contract"),
        ("CONTINUON_API_URL", "ftp://cloud", "trainer.environment"),
        ("CONTINUON_JOB_ID", "../../me", "trainer.environment"),
        ("CONTINUON_JOB_ATTEMPT", "0", "trainer.environment"),
        ("CONTINUON_JOB_ATTEMPT", "\u0661", "trainer.environment"),
        ("CONTINUON_JOB_ATTEMPT", "-1", "trainer.environment"),
    ],
)
def test_an_environment_of_another_kind_is_refused(name: str, value: str, code: str) -> None:
    with pytest.raises(TrainerContextError) as caught:
        JobContext.from_environment(ENVIRONMENT | {name: value})

    assert caught.value.code == code


def test_a_trainer_started_by_hand_says_so_and_ends_with_wrong_usage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)

    def never(_job: TrainerJob) -> None:
        raise AssertionError("there is no job")

    assert run_trainer(never) == TrainerExit.USAGE
    assert "CONTINUON_JOB_TOKEN" in capsys.readouterr().err


def test_output_goes_where_it_went_and_to_the_log_without_secrets(
    capsys: pytest.CaptureFixture[str],
) -> None:
    left: list[str] = []
    url = "https://store/o?X-Goog-Expires=900&X-Goog-Signature=" + "ab12" * 20
    with captured_output(left.append, "the-token"):
        sys.stdout.write("half ")
        sys.stdout.write(f"a line with the-token\nand {url}\n")
        sys.stderr.write("no end")

    out, err = capsys.readouterr()
    assert "the-token" in out
    assert err == "no end"
    assert "".join(left) == (
        "half a line with [secret]\n"
        "and https://store/o?X-Goog-Expires=900&X-Goog-Signature=[secret]\n"
        "no end\n"
    )


def test_a_secret_is_found_wherever_it_stands() -> None:
    assert without_secrets("xTOKENx TOKEN", "TOKEN") == "x[secret]x [secret]"


def test_a_set_of_episodes_has_one_name_in_any_order() -> None:
    assert episode_ids_digest(["b", "a"]) == episode_ids_digest(["a", "b"])
    assert episode_ids_digest(["ab"]) != episode_ids_digest(["a", "b"])


# --- Commands ---


def row(step: int, split: str, **values: float) -> MetricRow:
    return MetricRow.model_validate({"step": step, "split": split, **values})


def test_rows_reported_again_by_a_resumed_attempt_count_once() -> None:
    rows = Rows([row(1, "train", loss=3.0), row(2, "train", loss=2.0)])
    rows.add([row(2, "train", loss=1.5), row(2, "held_out", loss=4.0)])

    assert rows.documents() == [
        {"step": 1, "split": "train", "loss": 3.0},
        {"step": 2, "split": "held_out", "loss": 4.0},
        {"step": 2, "split": "train", "loss": 1.5},
    ]


def test_a_plot_has_the_size_that_was_asked_for_and_names_its_curves() -> None:
    rows = Rows(row(step, "train", loss=1 / (step + 1)) for step in range(50))
    rows.add(row(step, "held_out", loss=0.5, baseline_loss=0.9) for step in (10, 49))

    lines = metrics_plot(rows, "loss", width=60, height=8).plain.splitlines()

    assert len(lines) == 8 + 3
    assert {len(line) for line in lines[1:-1]} == {60}
    assert all(name in lines[0] for name in ("train", "held_out", "mean action"))
    assert lines[-1].endswith("step 49")


def test_a_plot_of_values_far_apart_is_logarithmic_and_one_of_nothing_says_so() -> None:
    far = plot([Curve("a", "red", [(0, 1.0), (1, 1000.0)])], width=40, height=5, title="loss")
    flat = plot([Curve("a", "red", [(3, 2.0)])], width=40, height=5)

    assert "(log scale)" in far.plain
    assert "⠀" not in flat.plain
    assert plot([Curve("a", "red", [])], width=40, height=5).plain == "no numbers yet"


def test_a_plot_fits_a_narrow_terminal() -> None:
    console = Console(width=20, record=True, file=None, quiet=True)
    console.print(plot([Curve("a", "red", [(0, 0.0), (9, 1.0)])], width=1, height=3))


@pytest.mark.parametrize(
    ("params", "found"),
    [
        (["a=1", "b=[1, 2]", "c=word", 'd="1"'], {"a": 1, "b": [1, 2], "c": "word", "d": "1"}),
        (["a=x=y"], {"a": "x=y"}),
        ([], {}),
    ],
)
def test_hyperparameters_are_json_or_words(params: list[str], found: dict[str, Any]) -> None:
    assert hyperparams_of(None, params) == found


def test_hyperparameters_of_a_file_are_replaced_one_by_one(tmp_path: Path) -> None:
    file = tmp_path / "h.json"
    file.write_text('{"a": 1, "b": 2}')
    assert hyperparams_of(file, ["b=3"]) == {"a": 1, "b": 3}
    file.write_text("[1]")
    with pytest.raises(typer.BadParameter):
        hyperparams_of(file, [])


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--backend-label", "Not A Label"],
        ["--backend-label", "x", "--worker-id", "-"],
        ["--backend-label", "x", "--command", "'"],
        ["--backend-label", "x", "--command", ""],
    ],
)
def test_a_worker_without_usable_names_or_command_is_wrong_usage(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = run(["--home", str(tmp_path), "worker", "--folder", str(tmp_path), *arguments])

    assert status == 2
    assert "Traceback" not in capsys.readouterr().err
