"""The service as the local cloud holds it: start, stop, topics made beforehand."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from continuon_local.pubsub.errors import PubSubError
from continuon_local.pubsub.service import PubSubService
from continuon_local.service import ServiceContext

if TYPE_CHECKING:
    from pathlib import Path


async def test_it_stops_twice_and_starts_again_with_its_topics(tmp_path: Path) -> None:
    service = PubSubService(ServiceContext(data_dir=tmp_path / "new"), port=0)
    await service.stop()
    with pytest.raises(RuntimeError, match="not been started"):
        service.ensure_topic("early")
    await service.start()
    assert service.port > 0
    service.ensure_topic("training-jobs")
    service.ensure_topic("projects/other/topics/training-jobs")
    await service.stop()
    await service.stop()
    await service.start()
    service.ensure_topic("training-jobs")
    assert service.outbox.pending() == []
    with pytest.raises(PubSubError):
        service.ensure_topic("no name")
    await service.stop()


async def test_a_taken_port_is_an_error_and_not_shared() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        service = PubSubService(ServiceContext(data_dir=None), port=taken.getsockname()[1])
        with pytest.raises(OSError, match="in use"):
            await service.start()
        await service.stop()
