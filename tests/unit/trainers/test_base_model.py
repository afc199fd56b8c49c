"""Starting from a trained model: the same function at step 0, and no model that does not fit."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from behaviour_cloning import checkpoint
from behaviour_cloning.artifacts import MODEL
from behaviour_cloning.cli import main
from behaviour_cloning.config import Config
from behaviour_cloning.errors import TrainerError
from behaviour_cloning.run import Hooks, train
from trainer_episodes import write_episodes

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = Config(
    max_steps=20,
    hidden=(4,),
    batch_steps=8,
    checkpoint_every=4,
    evaluate_every=10,
    bootstrap_samples=100,
)
FIELDS = ("observation.robot_state.joint_positions",)
SAME = ("model.npz", "checkpoint.npz", "metrics.jsonl", "result.json", "model_card.md")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with episodes in `data` and a model that was trained on them in `base`."""
    root = tmp_path_factory.mktemp("trained")
    write_episodes(root / "data", 12, steps=20)
    train([root / "data"], root / "base", config=CONFIG)
    return root


def arrays(path: Path) -> dict[str, Any]:
    with np.load(path) as archive:
        return {name: archive[name] for name in archive.files}


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(row) for row in (folder / "metrics.jsonl").read_text().splitlines()]


def test_at_step_0_the_held_out_loss_is_the_last_one_of_the_base(
    trained: Path, tmp_path: Path
) -> None:
    found = train([trained / "data"], tmp_path, config=CONFIG, base=trained / "base" / MODEL)

    base = json.loads((trained / "base" / "result.json").read_text())
    assert rows(tmp_path)[0]["step"] == 0
    assert rows(tmp_path)[0]["held_out"] == base["held_out"]
    assert found.result["held_out"]["loss"] != base["held_out"]["loss"]
    assert found.result["base"] == base["model"]["sha256"]
    assert base["model"]["sha256"] in (tmp_path / "model_card.md").read_text()
    assert json.loads(str(arrays(tmp_path / MODEL)["head"]))["base"] == base["model"]["sha256"]


def test_on_other_episodes_the_units_of_the_base_are_kept_and_the_baseline_is_their_own(
    trained: Path, tmp_path: Path
) -> None:
    write_episodes(tmp_path / "other", 12, steps=20, noise=5.0)
    base, fresh, tuned = trained / "base" / MODEL, tmp_path / "fresh", tmp_path / "tuned"

    plain = train([tmp_path / "other"], fresh, config=CONFIG).result["held_out"]
    result = train([tmp_path / "other"], tuned, config=CONFIG, base=base).result

    before, after = arrays(base), arrays(tuned / MODEL)
    for name in ("observation.mean", "observation.scale", "action.mean", "action.scale"):
        assert (before[name] == after[name]).all()
    # The baseline answers these episodes' own mean action; only the unit of its loss is the base's.
    own = arrays(fresh / MODEL)["action.scale"]
    expected = plain["baseline_loss"]["mean"] * np.mean((own / before["action.scale"]) ** 2)
    assert result["held_out"]["baseline_loss"]["mean"] == pytest.approx(expected, rel=0.2)
    assert "base's" in result["loss_unit"]


def stopped(trained: Path, out: Path, base: Path | None) -> None:
    def stop(step: int, _loss: float) -> None:
        if step == 14:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train([trained / "data"], out, config=CONFIG, base=base, hooks=Hooks(on_step=stop))


@pytest.mark.parametrize("named_again", [True, False])
def test_resumed_with_or_without_the_base_it_ends_in_the_same_bytes(
    named_again: bool,  # noqa: FBT001 - given by pytest
    trained: Path,
    tmp_path: Path,
) -> None:
    base, data = trained / "base" / MODEL, [trained / "data"]
    train(data, tmp_path / "whole", config=CONFIG, base=base)
    stopped(trained, tmp_path / "cut", base)

    again = base if named_again else None
    train(data, tmp_path / "cut", config=CONFIG, resume=True, base=again)

    for name in SAME:
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_checkpoint_of_fresh_weights_or_another_base_is_not_taken_for_this_one(
    trained: Path, tmp_path: Path
) -> None:
    base = trained / "base" / MODEL
    train([trained / "data"], tmp_path / "second", config=CONFIG, base=base)
    stopped(trained, tmp_path / "fresh", None)
    stopped(trained, tmp_path / "other", tmp_path / "second" / MODEL)

    for name in ("fresh", "other"):
        with pytest.raises(TrainerError, match="the base model differs") as caught:
            train([trained / "data"], tmp_path / name, config=CONFIG, resume=True, base=base)
        assert caught.value.code == "trainer.checkpoint_mismatch"


def test_a_checkpoint_without_a_base_holds_nothing_of_one(trained: Path) -> None:
    saved = arrays(trained / "base" / checkpoint.FILE)

    assert not [name for name in saved if name.startswith("base.")]
    assert "base" not in json.loads(str(saved["head"]))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"config": Config(hidden=(8,))}, "hidden is [4] in the base and [8] here"),
        ({"config": Config(hidden=(4,), fields=FIELDS)}, "fields is"),
        ({"network_name": "mine:Net"}, "network is"),
        ({"width": 3}, "the shape of action is [2] in the base and [3] here"),
    ],
)
def test_a_base_that_does_not_fit_is_refused_by_what_differs(
    options: dict[str, Any], named: str, trained: Path, tmp_path: Path
) -> None:
    data, chosen = trained / "data", {"config": CONFIG, **options}
    if width := chosen.pop("width", None):
        data = write_episodes(tmp_path / "wide", 12, steps=10, action_width=width)

    with pytest.raises(TrainerError) as caught:
        train([data], tmp_path / "out", base=trained / "base" / MODEL, **chosen)

    assert caught.value.code == "trainer.model_base_mismatch"
    assert named in str(caught.value)


def changed(path: Path, **changes: Any) -> bytes:
    with path.open("wb") as file:
        np.savez(file, **changes)
    return path.read_bytes()


def test_what_is_no_model_is_refused_without_a_traceback(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (trained / "base" / MODEL).read_bytes()
    fields, path = arrays(trained / "base" / MODEL), tmp_path / "base.npz"
    nan = {**fields, "parameter.b0": np.full(4, np.nan)}
    hostile = [
        b"",
        b"not an archive",
        whole[:-100],
        changed(path, head=np.array("[]")),
        changed(path, head=np.array("[" * 100_000)),
        changed(path, head=np.array('{"format": "another/1"}')),
        changed(path, head=fields["head"]),
        changed(path, **nan),
        changed(path, **{**fields, "action.scale": np.zeros(2)}),
    ]
    episodes = ("--episodes", str(trained / "data"), "--out", str(tmp_path / "out"))
    for content in hostile:
        path.write_bytes(content)
        assert main([*episodes, "--base", str(path)]) == 1
        assert "trainer.model_base_invalid" in capsys.readouterr().err
    assert main([*episodes, "--base", str(tmp_path / "nothing.npz")]) == 1
    assert "trainer.model_base_invalid" in capsys.readouterr().err


def test_the_command_starts_from_a_model(trained: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text('{"max_steps": 5, "hidden": [4], "bootstrap_samples": 100}')
    options = ["--episodes", str(trained / "data"), "--out", str(tmp_path / "out")]

    assert main([*options, "--config", str(config), "--base", str(trained / "base" / MODEL)]) == 0
    assert rows(tmp_path / "out")[0]["step"] == 0
