"""Firestore transactions: what is read in one is still so when it is written, or it runs again."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any, Final, TypeVar

from google.api_core import exceptions
from google.cloud import firestore

from continuon.errors import UnavailableError
from continuon.platform.firestore import RPC, Snapshot, firestore_client, firestore_errors

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["fetch", "transact"]

T = TypeVar("T")

_ATTEMPTS: Final = 30
"""Of a transaction that others were faster at; one of them succeeds each time."""

_MAX_PAUSE_S: Final = 0.25
"""Before the next attempt: about what a transaction takes, so that losers do not meet again."""


async def transact(work: Callable[[firestore.AsyncTransaction], Awaitable[T]]) -> T:
    """Run ``work`` in a transaction, again when others wrote what it has read.

    Args:
        work: Reads through the transaction it is given, then adds writes to it. It may run several
            times, also after a commit that was applied and whose answer was lost: it has to
            recognise what it has done before.

    Raises:
        UnavailableError: Firestore failed, or others were faster every time.
    """
    for _ in range(_ATTEMPTS):
        transaction = firestore_client().transaction(max_attempts=1)
        try:
            with firestore_errors():
                return await _once(transaction, work)
        except _OvertakenError:
            await asyncio.sleep(random.uniform(0, _MAX_PAUSE_S))  # noqa: S311 - jitter
    raise UnavailableError("Firestore")


class _OvertakenError(Exception):
    """Another transaction wrote, or holds, what this one read; or nothing is known about it."""


async def _once(
    transaction: firestore.AsyncTransaction,
    work: Callable[[firestore.AsyncTransaction], Awaitable[T]],
) -> T:
    try:
        return await firestore.async_transactional(work)(transaction)
    except exceptions.Aborted as error:
        raise _OvertakenError from error
    except exceptions.InvalidArgument as error:
        # The client repeats a commit that was not answered. If it was applied, there is no such
        # transaction any more.
        if "transaction" not in error.message:
            raise
        raise _OvertakenError from error
    except ValueError as error:
        # How the client says that its attempts, here one, were used up.
        if not isinstance(error.__cause__, exceptions.Aborted):
            raise
        raise _OvertakenError from error


async def fetch(query: Any) -> list[Snapshot]:
    """Return what ``query`` finds.

    Raises:
        UnavailableError: Firestore failed.
    """
    with firestore_errors():
        found: list[Snapshot] = await query.get(**RPC)
    return found
