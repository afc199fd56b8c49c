from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from behaviour_cloning import checkpoint
from behaviour_cloning.config import Config
from behaviour_cloning.errors import TrainerError
from behaviour_cloning.run import DEFAULT_NETWORK, Hooks, train
from trainer_episodes import write_episodes

ROOT = Path(__file__).parents[3]
CONFIG = {
    "max_steps": 600,
    "hidden": [16, 16],
    "batch_steps": 16,
    "shuffle_steps": 50,
    "observation_noise": 0.05,
    "checkpoint_every": 7,
    "evaluate_every": 50,
    "bootstrap_samples": 100,
}
SAME = ("model.npz", "checkpoint.npz", "metrics.jsonl", "result.json", "model_card.md")


def command(root: Path, out: Path, *options: str) -> list[str]:
    arguments = ["--episodes", str(root / "data"), "--config", str(root / "config.json")]
    return [sys.executable, "-m", "behaviour_cloning", *arguments, "--out", str(out), *options]


def environment() -> dict[str, str]:
    paths = [str(ROOT / "trainers" / "behaviour_cloning"), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


def run(root: Path, out: Path, *options: str) -> None:
    subprocess.run(  # noqa: S603 - this interpreter, our module
        command(root, out, *options), env=environment(), timeout=60, check=True
    )


def kill_after_checkpoint(root: Path, out: Path, delay_s: float, *options: str) -> bool:
    """Start a run, kill it some time after it wrote its first checkpoint; whether it was alive."""
    before = modified(out)
    with subprocess.Popen(command(root, out, *options), env=environment()) as child:  # noqa: S603
        deadline = time.monotonic() + 60
        while modified(out) == before and time.monotonic() < deadline and child.poll() is None:
            time.sleep(0.002)
        time.sleep(delay_s)
        child.send_signal(signal.SIGKILL)
    return child.returncode == -signal.SIGKILL


def modified(out: Path) -> int:
    path = out / checkpoint.FILE
    return path.stat().st_mtime_ns if path.exists() else 0


def test_a_run_killed_at_random_steps_and_resumed_ends_in_the_same_bytes(tmp_path: Path) -> None:
    write_episodes(tmp_path / "data", 12, steps=30)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    run(tmp_path, tmp_path / "whole")
    numbers = random.Random(5)  # noqa: S311 - reproducible, not secret

    killed = [kill_after_checkpoint(tmp_path, tmp_path / "cut", numbers.uniform(0, 0.1))]
    killed.append(
        kill_after_checkpoint(tmp_path, tmp_path / "cut", numbers.uniform(0, 0.1), "--resume")
    )
    finished = (tmp_path / "cut" / "result.json").exists()
    run(tmp_path, tmp_path / "cut", "--resume")

    assert killed == [True, True]
    assert not finished
    for name in SAME:
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """A run that was stopped at step 14 of 20, after its checkpoint of step 12."""
    write_episodes(tmp_path / "data", 12, steps=10)

    def stop(step: int, _loss: float) -> None:
        if step == 14:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train([tmp_path / "data"], tmp_path / "out", config=SHORT, hooks=Hooks(on_step=stop))
    return tmp_path


SHORT = Config(max_steps=20, hidden=(4,), batch_steps=8, checkpoint_every=4, evaluate_every=2)


def test_resuming_begins_at_the_checkpoint_and_cuts_the_metrics(stopped: Path) -> None:
    seen: list[int] = []

    train(
        [stopped / "data"],
        stopped / "out",
        config=SHORT,
        resume=True,
        hooks=Hooks(on_step=lambda step, _loss: seen.append(step)),
    )

    rows = (stopped / "out" / "metrics.jsonl").read_text().splitlines()
    assert seen == list(range(13, 21))
    assert [json.loads(row)["step"] for row in rows] == list(range(2, 21, 2))


def refusal(root: Path, *, config: Config = SHORT, network: str = DEFAULT_NETWORK) -> str:
    with pytest.raises(TrainerError) as caught:
        train([root / "data"], root / "out", config=config, resume=True, network_name=network)
    return caught.value.code


def test_a_checkpoint_of_another_configuration_network_or_data_is_refused(stopped: Path) -> None:
    before = (stopped / "out" / checkpoint.FILE).read_bytes()

    codes = [
        refusal(stopped, config=Config(max_steps=21, hidden=(4,))),
        refusal(stopped, network="mine:Net"),
    ]
    write_episodes(stopped / "more", 1)
    (stopped / "more" / "ep_000").rename(stopped / "data" / "zzz")
    (stopped / "data" / "zzz" / "metadata.json").write_text('{"episode_id": "ep_new"}')
    codes.append(refusal(stopped))

    assert codes == ["trainer.checkpoint_mismatch"] * 3
    assert (stopped / "out" / checkpoint.FILE).read_bytes() == before


@pytest.mark.parametrize("keep", [0, 10, 500, -1])
def test_a_damaged_checkpoint_is_refused(keep: int, stopped: Path) -> None:
    path = stopped / "out" / checkpoint.FILE
    path.write_bytes(path.read_bytes()[:keep])

    assert refusal(stopped) == "trainer.checkpoint_invalid"


def test_a_changed_byte_in_a_checkpoint_is_noticed(stopped: Path) -> None:
    path = stopped / "out" / checkpoint.FILE
    data = bytearray(path.read_bytes())
    place = data.index(b"parameter.w0") + 300
    data[place] ^= 1
    path.write_bytes(data)

    assert refusal(stopped) == "trainer.checkpoint_invalid"


def test_resuming_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    write_episodes(tmp_path / "data", 12, steps=10)

    assert refusal(tmp_path) == "trainer.checkpoint_missing"
