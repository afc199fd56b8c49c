"""Episodes, tokens, names and prices."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from continuon import limits
from continuon.contracts.training import JOB_ID, Backend, JobRequest, MetricRow, Resources
from continuon.errors import ProblemError
from continuon_training import creation, money, selection, tokens
from continuon_training.records import EpisodeChoice
from job_records import NOW, queued

if TYPE_CHECKING:
    from pathlib import Path

TABLE = money.price_table()


def _choice(name: str, **changes: Any) -> EpisodeChoice:
    fields = {
        "owner_id": "olivia",
        "robot_id": "r1",
        "robot_model": "arm",
        "status": "validated",
        "training_eligible": True,
        "quality": 0.5,
    }
    return EpisodeChoice(**{"episode_id": name, **fields, **changes})


def test_a_set_of_episodes_has_one_digest_in_whatever_order() -> None:
    expected = hashlib.sha256(b"a\nb\n").hexdigest()
    assert selection.digest(["b", "a"]) == selection.digest(["a", "b"]) == expected
    assert selection.digest(["a\nb"]) != selection.digest([])


def test_the_size_of_a_job_is_bounded_by_number_and_by_bytes() -> None:
    selection.check_size([f"ep_{n}" for n in range(limits.MAX_JOB_EPISODES)])
    for too_many in (
        [f"ep_{n}" for n in range(limits.MAX_JOB_EPISODES + 1)],
        [f"{n:0128d}" for n in range(5_000)],
    ):
        with pytest.raises(ProblemError, match=r"job\.episodes_too_large"):
            selection.check_size(too_many)
    with pytest.raises(ProblemError, match=r"job\.no_episodes"):
        selection.check_size([])


def test_what_fell_away_is_counted_and_the_digest_follows() -> None:
    record = queued()
    found = {"ep_1": _choice("ep_1"), "ep_2": _choice("ep_2", status="rejected")}
    left = selection.still_eligible(record, found)
    after = selection.with_episodes(record, left)
    assert after.config.episode_ids == ["ep_1"]
    assert (after.config.episode_count, after.config.dropped_episodes) == (1, 1)
    assert after.config.episodes_digest == selection.digest(["ep_1"])
    assert selection.still_eligible(record, {}) == []


def test_tokens_are_long_distinct_and_known_by_their_hash_only() -> None:
    made = {tokens.mint() for _ in range(100)}
    assert len(made) == 100
    assert min(map(len, made)) >= 43
    token, other = sorted(made)[:2]
    stored = [tokens.token_hash(token)]
    assert token not in stored[0]
    assert tokens.is_among(token, stored)
    assert tokens.is_among(token, [tokens.token_hash(other), *stored])
    for wrong in (other, stored[0], "", token[:-1], token + " ", "x" * 1000):
        assert not tokens.is_among(wrong, stored)
    assert not tokens.is_among(token, [])


def test_one_key_of_one_owner_is_one_job_id() -> None:
    assert creation.job_id("a", "key-1") == creation.job_id("a", "key-1")
    others = {
        creation.job_id("a", "key-1"),
        creation.job_id("b", "key-1"),
        creation.job_id("a", "key-2"),
        creation.job_id("a", None),
        creation.job_id("a", None),
    }
    assert len(others) == 5
    assert all(JOB_ID.fullmatch(name) for name in others)


def test_two_requests_are_the_same_exactly_if_they_ask_for_the_same() -> None:
    base = {"type": "seed", "robot_model": "arm", "backend": "subprocess"}
    first = JobRequest(**base)
    spelled_out = JobRequest(**base, hyperparams={}, timeout_s=limits.DEFAULT_JOB_TIMEOUT_S)
    assert creation.request_digest(first) == creation.request_digest(spelled_out)
    other = JobRequest(**base, hyperparams={"lr": 0.1})
    assert creation.request_digest(first) != creation.request_digest(other)


def test_a_job_waits_for_its_message_only_where_one_is_sent() -> None:
    def made(**changes: Any) -> Any:
        fields = {"type": "seed", "robot_model": "arm", "backend": "subprocess", **changes}
        return creation.new_job(
            JobRequest(**fields),
            owner_id="olivia",
            episode_ids=["b", "a"],
            model_base=None,
            name="job_" + "a" * 20,
            prices=TABLE,
            redispatch_s=180,
            now=NOW,
        )

    record = made()
    assert (record.next_dispatch_at - NOW).total_seconds() == 180
    assert record.config.episode_ids == ["a", "b"]
    assert record.month == "2026-11"
    assert made(backend="pull", backend_label="lab").next_dispatch_at is None
    assert made(backend="modal").usd_per_hour > 0


def test_every_backend_has_a_dated_price_with_a_source() -> None:
    assert set(TABLE.backends) == {backend.value for backend in Backend}
    assert datetime.fromisoformat(TABLE.date).replace(tzinfo=UTC)
    assert all(prices.source for prices in TABLE.backends.values())


def test_an_hour_costs_what_its_parts_cost() -> None:
    assert money.usd_per_hour(TABLE, Backend.SUBPROCESS, Resources(cpu=64)) == 0.0
    modal = TABLE.backends["modal"]
    wanted = Resources(cpu=4, memory_mib=8192, gpu_type="H100", gpu_count=2)
    expected = 4 * modal.vcpu + 8 * modal.memory_gib + 2 * 3.9492
    assert money.usd_per_hour(TABLE, Backend.MODAL, wanted) == pytest.approx(expected)
    unknown = Resources(gpu_type="newest", gpu_count=1)
    dearest = max(modal.gpu.values())
    assert money.usd_per_hour(TABLE, Backend.MODAL, unknown) > dearest


def test_ones_own_price_table_is_used_and_checked(tmp_path: Path) -> None:
    own = tmp_path / "prices.toml"
    own.write_text(
        'date = "2027-01-01"\n[backends.subprocess]\nsource = "power"\nvcpu = 2\nmemory_gib = 0\n'
    )
    table = money.price_table(own)
    assert money.usd_per_hour(table, Backend.SUBPROCESS, Resources(cpu=3)) == 6.0
    assert money.usd_per_hour(table, Backend.MODAL, Resources()) == 0.0
    wrong = tmp_path / "wrong.toml"
    wrong.write_text('date = "x"\n[backends.subprocess]\nsource = ""\nvcpu = -1\nmemory_gib = 0\n')
    with pytest.raises(ValidationError):
        money.price_table(wrong)


@pytest.mark.parametrize(
    "row",
    [
        {"step": 1, "loss": float("nan")},
        {"step": 1, "loss": float("inf")},
        {"step": 1, "loss": "x"},
        {"step": 1, "__x__": 1.0},
        {"step": 1, "": 1.0},
        {"step": 1.5},
        {"loss": 1.0},
    ],
)
def test_a_row_that_no_plot_could_show_is_refused(row: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        MetricRow.model_validate(row)


@pytest.mark.parametrize(
    "hyperparams",
    [
        {"lr": float("nan")},
        {"lr": float("inf")},
        {"text": "\ud800"},
        {"\udfff": 1},
        {"deep": [[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]},
        {"long": "x" * 17_000},
    ],
)
def test_hyperparameters_that_no_program_could_read_are_refused(
    hyperparams: dict[str, Any],
) -> None:
    request = {"type": "seed", "robot_model": "arm", "backend": "subprocess"}
    with pytest.raises(ValidationError):
        JobRequest(**request, hyperparams=hyperparams)


def test_hyperparameters_may_hold_whatever_json_holds() -> None:
    odd = {"": None, "__x__": [[1, [2.5]], {"a b": True}], "big": 10**30, "ä": "ö"}
    request = {"type": "seed", "robot_model": "arm", "backend": "subprocess"}
    assert JobRequest(**request, hyperparams=odd).hyperparams == odd
