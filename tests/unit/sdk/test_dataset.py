from __future__ import annotations

import json
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import continuon_cloud
from continuon_cloud.dataset import (
    DatasetError,
    episode_set_digest,
    load_episodes,
    split_of,
)

EPISODES = Path(__file__).parents[3] / "examples" / "episodes"
REACHER = EPISODES / "recorded" / "valid" / "reacher"
SHORT_REACHER = EPISODES / "recorded" / "valid" / "s_reacher"
FETCH = EPISODES / "recorded" / "valid" / "s_fetch"
BRIDGE = EPISODES / "fetched" / "bridge" / "bridge_00"
JOINTS = ("observation.robot_state.joint_positions",)


def episode(
    root: Path,
    episode_id: str,
    *,
    steps: int = 6,
    joints: list[Any] | None = None,
    command: list[Any] | None = None,
    metadata: dict[str, Any] | None = None,
) -> Path:
    root.mkdir(parents=True)
    (root / "metadata.json").write_text(
        json.dumps({"episode_id": episode_id, "step_count": steps, **(metadata or {})})
    )
    with (root / "steps.jsonl").open("w") as file:
        for index in range(steps):
            state = {
                "timestamp_nanos": index * 50_000_000,
                "joint_positions": joints if joints is not None else [index * 0.5, 1],
                "joint_velocities": [0.25, index],
            }
            value = {
                "step_index": index,
                "observation": {"robot_state": state},
                "action": {"command": command or [index * 2.0, -1]},
            }
            file.write(json.dumps(value) + "\n")
    return root


def test_it_is_found_at_the_top_of_the_package() -> None:
    assert continuon_cloud.load_episodes is load_episodes


def test_steps_become_arrays_and_the_last_step_is_left_out(tmp_path: Path) -> None:
    dataset = load_episodes([episode(tmp_path / "e", "ep_1", steps=4)], dtype="float64")

    (batch,) = dataset.batches()

    assert batch.observations.tolist() == [[0, 1, 0.25, 0], [0.5, 1, 0.25, 1], [1, 1, 0.25, 2]]
    assert batch.actions.tolist() == [[0, -1], [2, -1], [4, -1]]
    assert batch.episodes.tolist() == [0, 0, 0]


def test_the_last_step_is_used_when_asked_for(tmp_path: Path) -> None:
    dataset = load_episodes([episode(tmp_path / "e", "ep_1", steps=4)], keep_last=True)

    assert [sample.step for sample in dataset.samples()] == [0, 1, 2, 3]


def test_recorded_episodes_give_every_step_as_float32() -> None:
    dataset = load_episodes([REACHER, SHORT_REACHER], batch_steps=16)

    batches = list(dataset)

    assert [len(batch.actions) for batch in batches] == [16, 16, 16, 16, 9]
    assert {batch.observations.dtype for batch in batches} == {np.dtype("float32")}
    assert (dataset.observation_width, dataset.action_width) == (4, 2)
    assert {entry.licence for entry in dataset.episodes} == {"CC0-1.0"}


def test_a_folder_of_episodes_and_downloads_is_searched(tmp_path: Path) -> None:
    episode(tmp_path / "data" / "one", "ep_1")
    downloaded = tmp_path / "data" / "ep_1795276918916"
    downloaded.mkdir()
    archive = (EPISODES / "archives" / "upload_pipeline_style.tar.gz").read_bytes()
    (downloaded / "episode.tar.gz").write_bytes(archive)
    (downloaded / "report.json").write_text("{}")
    (tmp_path / "data" / ".hidden.zip").write_bytes(b"")

    dataset = load_episodes([tmp_path / "data"])

    assert [entry.episode_id for entry in dataset.episodes] == ["ep_1", "ep_1795276918916"]


def test_order_of_sources_changes_nothing() -> None:
    one = load_episodes([REACHER, SHORT_REACHER])
    two = load_episodes([SHORT_REACHER, REACHER, REACHER])

    assert one.digest == two.digest
    assert list(one.samples()) == list(two.samples())


def test_digest_of_a_set_names_ids_and_content() -> None:
    pairs = [("a", "1"), ("b", "2")]

    assert episode_set_digest(pairs) == episode_set_digest(reversed(pairs))
    assert episode_set_digest(pairs) != episode_set_digest([("a", "2"), ("b", "1")])


def test_shuffling_is_the_same_for_the_same_seed_and_loses_nothing() -> None:
    dataset = load_episodes([REACHER, SHORT_REACHER])

    first = list(dataset.samples(shuffle="7", buffer_steps=10))

    assert first == list(dataset.samples(shuffle="7", buffer_steps=10))
    assert first != list(dataset.samples(shuffle="8", buffer_steps=10))
    assert sorted(first) == sorted(dataset.samples())


def test_an_episode_keeps_its_side_when_others_join(tmp_path: Path) -> None:
    few = [episode(tmp_path / f"a{k}", f"ep_{k}") for k in range(4)]
    more = [episode(tmp_path / f"b{k}", f"ep_{k}") for k in range(4, 20)]
    small, large = load_episodes(few, held_out=0.5), load_episodes(few + more, held_out=0.5)

    held = {large.episodes[place].episode_id for place in large.members("held_out")}

    assert {small.episodes[p].episode_id for p in small.members("held_out")} == {
        e.episode_id for e in small.episodes if e.episode_id in held
    }
    assert len(large.members("train")) + len(held) == 20


def test_the_share_held_out_is_what_was_asked_for() -> None:
    sides = [split_of(f"ep_{k}", held_out=0.2) for k in range(5_000)]

    assert 900 < sides.count("held_out") < 1_100
    assert sides != [split_of(f"ep_{k}", held_out=0.2, salt="x") for k in range(5_000)]


def test_booleans_and_nested_lists_of_other_robots_are_read() -> None:
    fields = (
        "observation.robot_state.end_effector_pose.position",
        "observation.robot_state.gripper_open",
    )
    dataset = load_episodes([BRIDGE], fields=fields)

    samples = list(dataset.samples())

    assert (dataset.observation_width, dataset.action_width, len(samples)) == (4, 7, 9)
    assert {sample.observation[3] for sample in samples} <= {0.0, 1.0}


def test_without_a_choice_a_robot_is_seen_as_it_feels_itself() -> None:
    by_joints, by_hand = load_episodes([SHORT_REACHER]), load_episodes([BRIDGE])

    assert [path.rpartition(".")[2] for path in by_joints.fields] == [
        "joint_positions",
        "joint_velocities",
    ]
    # A position, a quaternion, and whether the gripper is open.
    assert (by_joints.observation_width, by_hand.observation_width) == (4, 8)


def test_a_robot_that_feels_nothing_needs_a_choice(tmp_path: Path) -> None:
    numb = episode(tmp_path / "numb", "ep_numb", joints=[])
    text = (numb / "steps.jsonl").read_text()
    (numb / "steps.jsonl").write_text(re.sub(r'"joint_velocities": \[[^]]*\]', '"x": 1', text))

    with pytest.raises(DatasetError) as caught:
        load_episodes([numb])

    assert caught.value.code == "dataset.no_proprioception"
    assert load_episodes([numb], fields=["observation.robot_state.x"]).observation_width == 1


@pytest.mark.parametrize(
    ("sources", "fields", "code"),
    [
        (["nowhere"], None, "dataset.missing"),
        (["fetched/bridge/bridge_00"], JOINTS, "dataset.field_empty"),
        (["fetched/donkeycar/donkey_a"], None, "dataset.not_eligible"),
        (["recorded/invalid/time_backwards"], None, "dataset.episode_invalid"),
        (["recorded/valid/s_fetch"], ("observation.nothing",), "dataset.field_missing"),
        (["recorded/valid/s_fetch"], ("observation.robot_state.frame_id",), "dataset.field_type"),
        (["recorded/valid/s_fetch"], (), "dataset.options"),
    ],
)
def test_what_cannot_be_used_is_named_by_code(
    sources: list[str], fields: tuple[str, ...] | None, code: str
) -> None:
    with pytest.raises(DatasetError) as caught:
        load_episodes([EPISODES / source for source in sources], fields=fields)

    assert caught.value.code == code


def test_an_empty_folder_is_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as caught:
        load_episodes([tmp_path])

    assert caught.value.code == "dataset.empty"


def test_robots_of_different_width_are_not_mixed() -> None:
    dataset = load_episodes([SHORT_REACHER, FETCH])

    with pytest.raises(DatasetError) as caught:
        list(dataset.samples())

    assert caught.value.code == "dataset.width_mismatch"
    assert "mujoco-reacher-2dof" in str(caught.value) or "fetch" in str(caught.value)


def test_two_episodes_with_one_id_are_refused(tmp_path: Path) -> None:
    sources = [episode(tmp_path / "a", "ep_1"), episode(tmp_path / "b", "ep_1", steps=7)]

    with pytest.raises(DatasetError) as caught:
        load_episodes(sources)

    assert caught.value.code == "dataset.duplicate_episode"


def test_personal_data_awaiting_review_is_not_trained_on(tmp_path: Path) -> None:
    safety = {"safety": {"pii_attestation": {"pii_present": True}}}
    source = episode(tmp_path / "a", "ep_1", metadata=safety)

    with pytest.raises(DatasetError) as caught:
        load_episodes([source])

    assert caught.value.code == "dataset.not_eligible"


def test_a_number_beyond_float32_is_refused(tmp_path: Path) -> None:
    source = episode(tmp_path / "a", "ep_1", command=[1e300, 0])

    with pytest.raises(DatasetError) as caught:
        load_episodes([source])

    assert caught.value.code == "dataset.not_finite"


@pytest.mark.parametrize("damage", [b'{"half', b""])
def test_an_episode_that_changes_after_it_was_judged_is_noticed(
    damage: bytes, tmp_path: Path
) -> None:
    source = episode(tmp_path / "a", "ep_1")
    dataset = load_episodes([source])
    lines = (source / "steps.jsonl").read_bytes().splitlines(keepends=True)
    (source / "steps.jsonl").write_bytes(b"".join(lines[:3]) + damage)

    with pytest.raises(DatasetError) as caught:
        list(dataset.samples())

    assert caught.value.code == "dataset.changed"


def test_iteration_needs_no_numpy_and_arrays_say_that_they_do() -> None:
    script = (
        "import sys; sys.modules['numpy'] = None\n"
        "from continuon_cloud import load_episodes\n"
        "from continuon_cloud.dataset import DatasetError\n"
        f"data = load_episodes([{str(SHORT_REACHER)!r}])\n"
        "print(sum(1 for _ in data.samples(shuffle='1')))\n"
        "try:\n    next(data.batches())\nexcept DatasetError as error:\n    print(error.code)\n"
    )
    done = subprocess.run(  # noqa: S603 - this interpreter, our script
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout.split() == ["23", "dataset.numpy_missing"]


def test_memory_does_not_grow_with_the_episode(tmp_path: Path) -> None:
    source = episode(tmp_path / "long", "ep_1", steps=20_000)
    dataset = load_episodes([source], batch_steps=64)

    tracemalloc.start()
    try:
        steps = sum(len(b.actions) for b in dataset.batches(shuffle="1", buffer_steps=256))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert steps == 19_999
    assert (source / "steps.jsonl").stat().st_size > 3_000_000
    assert peak < 2_500_000  # the steps as objects take forty
