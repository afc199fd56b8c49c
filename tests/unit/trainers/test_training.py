from __future__ import annotations

import hashlib
import json
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from behaviour_cloning.cli import main
from behaviour_cloning.config import Config, read_config
from behaviour_cloning.errors import TrainerError
from behaviour_cloning.network import Mlp
from behaviour_cloning.run import train
from continuon_cloud.dataset import DatasetError
from trainer_episodes import write_episodes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from behaviour_cloning.network import Array

EPISODES = Path(__file__).parents[3] / "examples" / "episodes"
QUICK = Config(max_steps=60, hidden=(8,), evaluate_every=30, checkpoint_every=25, batch_steps=32)


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_episodes(tmp_path_factory.mktemp("linear") / "data", 30)


def test_a_known_linear_map_is_learned_on_unseen_episodes(linear: Path, tmp_path: Path) -> None:
    config = Config(max_steps=1500, hidden=(), learning_rate=0.01, evaluate_every=1500)

    result = train([linear], tmp_path / "out", config=config).result

    assert result["held_out"]["loss"]["mean"] < 1e-6
    assert result["held_out"]["baseline_loss"]["mean"] > 0.5
    assert result["held_out"]["episodes"] >= config.min_verdict_episodes
    assert result["verdict"] == "beats_baseline"


def test_noise_does_not_beat_the_baseline(tmp_path: Path) -> None:
    data = write_episodes(tmp_path / "data", 30, noise=1.0)

    result = train([data], tmp_path / "out", config=Config(max_steps=300)).result

    assert result["train"]["loss"]["mean"] < result["train"]["baseline_loss"]["mean"]
    assert result["verdict"] == "does_not_beat_baseline"


def test_what_was_written_describes_the_model(linear: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = train([linear], out, config=QUICK).result

    assert sorted(file.name for file in out.iterdir()) == [
        "checkpoint.npz",
        "metrics.jsonl",
        "model.npz",
        "model_card.md",
        "result.json",
    ]
    model = (out / "model.npz").read_bytes()
    card = (out / "model_card.md").read_text()
    assert json.loads((out / "result.json").read_text()) == result
    assert result["model"]["sha256"] == hashlib.sha256(model).hexdigest()
    assert result["licences"] == {"CC0-1.0": 30}
    for split in ("train", "held_out"):
        for row in result["episodes"][split]:
            assert f"| {split} | {row['episode_id']} | `{row['sha256']}` |" in card
    assert result["episode_set_digest"] in card
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [30, 60]
    with np.load(out / "model.npz", allow_pickle=False) as arrays:
        assert json.loads(str(arrays["head"]))["fields"] == [
            "observation.robot_state.joint_positions",
            "observation.robot_state.joint_velocities",
        ]
        assert arrays["parameter.w0"].shape == (6, 8)


def test_two_runs_write_the_same_bytes(linear: Path, tmp_path: Path) -> None:
    config = Config(max_steps=40, hidden=(8,), observation_noise=0.1, evaluate_every=20)
    for name in ("one", "two"):
        train([linear], tmp_path / name, config=config)

    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()


def test_another_seed_gives_another_model(linear: Path, tmp_path: Path) -> None:
    models = [
        train([linear], tmp_path / str(seed), config=Config(max_steps=5, seed=seed)).result["model"]
        for seed in (1, 2)
    ]

    assert models[0]["sha256"] != models[1]["sha256"]


def test_another_network_needs_only_the_protocol(linear: Path, tmp_path: Path) -> None:
    class Line:
        """One matrix, written from the protocol alone."""

        def __init__(
            self,
            observation_width: int,
            action_width: int,
            *,
            hidden: Sequence[int],
            rng: np.random.Generator,
        ) -> None:
            del hidden, rng
            self.parameters = {"matrix": np.zeros((observation_width, action_width))}

        def forward(self, observations: Array) -> Array:
            return observations @ self.parameters["matrix"]

        def loss_and_gradients(
            self, observations: Array, actions: Array
        ) -> tuple[float, dict[str, Array]]:
            error = self.forward(observations) - actions
            return float(np.mean(error**2)), {"matrix": observations.T @ error * 2 / error.size}

    config = Config(max_steps=1000, learning_rate=0.01)
    result = train(
        [linear], tmp_path / "o", config=config, factory=Line, network_name="mine:Line"
    ).result

    assert (result["network"], result["parameters"]) == ("mine:Line", 12)
    assert result["held_out"]["loss"]["mean"] < 1e-6


def peak_memory(data: Path, out: Path) -> int:
    config = Config(max_steps=3, hidden=(8,), batch_steps=32, shuffle_steps=128, held_out=0.5)
    tracemalloc.start()
    try:
        train([data], out, config=config)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_episodes(tmp_path: Path) -> None:
    few = write_episodes(tmp_path / "few", 3, steps=900)
    many = write_episodes(tmp_path / "many", 10, steps=900)
    peak_memory(few, tmp_path / "first")  # what is loaded and cached on first use
    extra_array_bytes = 7 * 900 * (6 + 2) * 8  # what the further samples take as bare arrays

    grown = peak_memory(many, tmp_path / "b") - peak_memory(few, tmp_path / "a")

    assert grown < extra_array_bytes / 3


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_episodes_are_refused_with_a_hint(count: int, tmp_path: Path) -> None:
    data = write_episodes(tmp_path / "data", count)

    with pytest.raises(TrainerError) as caught:
        train([data], tmp_path / "out", config=Config(held_out=0.01))

    assert caught.value.code == "trainer.too_few_episodes"
    assert "split_salt" in caught.value.hint
    assert not (tmp_path / "out").exists()


def test_episodes_of_one_step_teach_nothing(tmp_path: Path) -> None:
    data = write_episodes(tmp_path / "data", 12, steps=1)

    with pytest.raises(TrainerError) as caught:
        train([data], tmp_path / "out", config=QUICK)

    assert caught.value.code == "trainer.no_steps"


def test_actions_of_different_length_are_refused(tmp_path: Path) -> None:
    narrow = write_episodes(tmp_path / "a", 5)
    wide = write_episodes(tmp_path / "b", 9, action_width=3)
    sources = [narrow, *(wide / f"ep_{k:03d}" for k in range(5, 9))]

    with pytest.raises(DatasetError) as caught:
        train(sources, tmp_path / "out", config=QUICK)

    assert caught.value.code == "dataset.width_mismatch"


class Exploding(Mlp):
    """A network whose loss leaves the numbers."""

    def loss_and_gradients(
        self, observations: Array, actions: Array
    ) -> tuple[float, dict[str, Array]]:
        loss, gradients = super().loss_and_gradients(observations, actions)
        return loss, {name: value * np.inf for name, value in gradients.items()}


def test_a_run_that_diverges_says_so(linear: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainerError) as caught:
        train([linear], tmp_path / "out", config=QUICK, factory=Exploding)

    assert caught.value.code == "trainer.diverged"
    assert not (tmp_path / "out" / "model.npz").exists()


def test_a_finished_folder_is_not_overwritten(linear: Path, tmp_path: Path) -> None:
    train([linear], tmp_path / "out", config=QUICK)
    before = (tmp_path / "out" / "model.npz").read_bytes()

    with pytest.raises(TrainerError) as caught:
        train([linear], tmp_path / "out", config=Config(max_steps=5))

    assert caught.value.code == "trainer.output_exists"
    assert (tmp_path / "out" / "model.npz").read_bytes() == before


@pytest.mark.parametrize(
    "text",
    ['{"max_steps": 0}', '{"unknown": 1}', '{"seed": "x"}', "[1]", "{", '{"held_out": 1}', "\xff"],
)
def test_a_configuration_that_is_not_understood_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(text.encode("latin-1"))

    with pytest.raises(TrainerError) as caught:
        read_config(path)

    assert caught.value.code == "trainer.config_invalid"


def test_the_command_ends_in_a_line_with_a_code_and_no_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(["--episodes", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")])

    shown = capsys.readouterr().err
    assert (status, shown.split(":")[0]) == (1, "dataset.missing")
    assert "Traceback" not in shown


def test_a_network_that_is_not_there_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--episodes", "x", "--out", str(tmp_path), "--network", "nowhere:Net"]

    status = main(arguments)

    assert (status, capsys.readouterr().err.split(":")[0]) == (1, "trainer.network_invalid")


def test_real_recordings_that_are_too_few_stay_undecided(tmp_path: Path) -> None:
    sources = [EPISODES / "recorded" / "valid" / name for name in ("reacher", "s_reacher")]
    config = Config(max_steps=100, hidden=(16,))

    result = train(sources, tmp_path / "out", config=config).result

    assert result["verdict"] == "undecided"
    assert result["held_out"]["loss"]["interval"] is None
    assert result["robot_models"] == ["mujoco-reacher-2dof"]
