"""The service as the local cloud holds it: start and stop."""

from __future__ import annotations

import socket

import httpx
import pytest

from continuon_local.auth.service import AuthService
from continuon_local.service import ServiceContext


async def test_it_answers_between_start_and_stop_and_stops_twice() -> None:
    service = AuthService(ServiceContext(data_dir=None), port=0)
    await service.stop()
    await service.start()
    url = f"http://127.0.0.1:{service.port}/"
    async with httpx.AsyncClient() as client:
        assert (await client.get(url)).json()["authEmulator"]["ready"] is True
        await service.stop()
        await service.stop()
        with pytest.raises(httpx.ConnectError):
            await client.get(url)


async def test_a_taken_port_is_an_error_and_not_shared() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        service = AuthService(ServiceContext(data_dir=None), port=taken.getsockname()[1])
        with pytest.raises(OSError, match="in use"):
            await service.start()
        await service.stop()
