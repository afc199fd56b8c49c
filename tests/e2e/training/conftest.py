"""One product with a fake trainer and short durations for all tests of training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from training_stage import CRASH_POINTS, Stage, crash_variable, training_stage

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def shared_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    markers = tmp_path_factory.mktemp("markers")
    for point in CRASH_POINTS:
        (markers / point).touch()
    with training_stage(CONTINUON_FAULT=crash_variable(markers)) as stage:
        stage.markers = markers
        yield stage


@pytest.fixture
def stage(shared_stage: Stage) -> Stage:
    """The shared product, seen by a new account."""
    return shared_stage.of_new_account()
