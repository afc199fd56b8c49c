"""A nonce is spent once, however many present it at the same moment."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from continuon.errors import ProblemError
from continuon.platform import identity
from continuon.platform.identity import Nonce
from continuon.platform.unary import create_documents

if TYPE_CHECKING:
    from google.cloud import firestore

_EXPIRES = datetime(2026, 1, 4, 12, 10, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _one_client(documents: firestore.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    # The process's own client is bound to the loop of its first call; each test has another loop.
    monkeypatch.setattr(identity, "firestore_client", lambda: documents)


async def _spent(nonce: Nonce) -> str:
    try:
        await nonce.spend()
    except ProblemError as problem:
        return problem.type.code
    return "spent"


async def test_of_eight_replays_at_once_one_is_accepted() -> None:
    nonce = Nonce("robot-1", "n" * 24, _EXPIRES)
    outcomes = await asyncio.gather(*(_spent(nonce) for _ in range(8)))
    assert sorted(outcomes) == ["signature.replayed"] * 7 + ["spent"]


async def test_two_robots_may_have_the_same_nonce() -> None:
    for robot_id in ("robot-2", "robot-3"):
        assert await _spent(Nonce(robot_id, "m" * 24, _EXPIRES)) == "spent"


async def test_a_nonce_spent_with_the_requests_effect_is_spent(
    documents: firestore.AsyncClient,
) -> None:
    nonce = Nonce("robot-4", "k" * 24, _EXPIRES)
    effect = documents.collection("effects").document("one")
    await create_documents({**nonce.document, effect: {"done": True}})
    assert (await effect.get()).to_dict() == {"done": True}
    assert await _spent(nonce) == "signature.replayed"


async def test_a_nonce_is_remembered_until_it_cannot_be_used(
    documents: firestore.AsyncClient,
) -> None:
    await Nonce("robot-5", "j" * 24, _EXPIRES).spend()
    kept = [s.get("expires_at") async for s in documents.collection("nonces").stream()]
    assert _EXPIRES in kept
    assert all(at - _EXPIRES < timedelta(seconds=1) for at in kept)


async def test_what_is_created_by_the_plain_call_is_what_the_client_reads(
    documents: firestore.AsyncClient,
) -> None:
    data: dict[str, Any] = {
        "null": None,
        "flag": True,
        "count": -(2**63),
        "share": 0.1,
        "name": "Zoë",
        "at": datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        "empty": {},
        "none": [],
        "nested": {"list": [1, {"deep": [False]}], "ä b.c": 1},
    }
    reference = documents.collection("types").document("all")
    await create_documents({reference: data})
    assert (await reference.get()).to_dict() == data
