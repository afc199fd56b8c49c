"""The reference trainer as a job, as far as it needs no cloud."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from behaviour_cloning.cli import main
from behaviour_cloning.config import Config, config_from
from behaviour_cloning.errors import TrainerError
from behaviour_cloning.job import figures, with_both_sides
from behaviour_cloning.run import dataset_options
from continuon_cloud.dataset import load_episodes
from trainer_episodes import write_episodes

if TYPE_CHECKING:
    from pathlib import Path

    from continuon_cloud.dataset import EpisodeDataset


@pytest.mark.parametrize(
    "hyperparams",
    [{"hidden": "wide"}, {"max_steps": 0}, {"steps": 5}, {"learning_rate": True}],
)
def test_hyperparameters_are_checked_like_a_file(hyperparams: dict[str, Any]) -> None:
    with pytest.raises(TrainerError) as caught:
        config_from(hyperparams)

    assert caught.value.code == "trainer.config_invalid"


def test_hyperparameters_are_the_configuration() -> None:
    found = config_from({"max_steps": 7, "hidden": [3], "fields": ["observation.x"]})

    assert (found.max_steps, found.hidden, found.fields) == (7, (3,), ("observation.x",))


def split_of_three(root: Path, config: Config) -> tuple[EpisodeDataset, EpisodeDataset]:
    """Return three episodes as their ids split them, and as a job does."""
    write_episodes(root, 3, steps=3)
    dataset = load_episodes([root], **dataset_options(config))
    return dataset, with_both_sides(dataset, config)


def test_a_handful_of_episodes_leaves_some_to_judge_by(tmp_path: Path) -> None:
    before, after = split_of_three(tmp_path, Config(held_out=0.05))

    assert before.members("held_out") == ()
    assert after.members("held_out")
    assert after.members("train")
    assert after.digest == before.digest


@pytest.mark.parametrize("config", [Config(held_out=0.05, split_salt="mine"), Config(held_out=0.4)])
def test_a_salt_that_was_asked_for_and_a_split_with_two_sides_stay(
    config: Config, tmp_path: Path
) -> None:
    before, after = split_of_three(tmp_path, config)

    assert after == before


def test_figures_are_flat_and_leave_out_what_is_unknown() -> None:
    summary = {
        "loss": {"mean": 1.0, "interval": [0.5, 1.5]},
        "baseline_loss": {"mean": 2.0, "interval": None},
        "improvement": {"mean": None, "interval": None},
    }

    assert figures(summary) == {
        "loss": 1.0,
        "loss_low": 0.5,
        "loss_high": 1.5,
        "baseline_loss": 2.0,
    }


@pytest.mark.parametrize("arguments", [["--job", "--out", "x"], ["--out", "x"], []])
def test_a_job_takes_nothing_by_hand_and_a_run_by_hand_needs_both(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)

    assert caught.value.code == 2
