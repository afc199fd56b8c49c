"""The back end that pushes nothing."""

from __future__ import annotations

import pytest

from continuon_training.executors import executor
from continuon_training.executors.base import ExecutorRefusedError, WorkState, work_name
from integration.executors.works import python_work


async def test_nothing_is_ever_submitted_to_a_queue_that_is_fetched_from() -> None:
    pull = executor("pull")
    assert not pull.starts_work
    with pytest.raises(ExecutorRefusedError) as refused:
        await pull.submit(python_work(""))
    assert refused.value.code == "executor.pull"


async def test_a_leased_work_is_never_taken_for_one_that_ended() -> None:
    pull = executor("pull")
    await pull.cancel("continuon-job-1-1")
    assert (await pull.poll("continuon-job-1-1")).state is WorkState.PENDING
    assert (await pull.logs("continuon-job-1-1", 7)).next_offset == 7


def test_an_attempts_name_is_a_dns_label() -> None:
    assert work_name("job_a1b2c3d4e5f6g7h8i9j0", 5) == "continuon-job-a1b2c3d4e5f6g7h8i9j0-5"
