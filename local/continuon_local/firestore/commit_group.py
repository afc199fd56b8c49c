"""Commits that arrive together share one transaction of SQLite, and so one fsync.

Each is applied at once, and answered only when the shared transaction is on the disk. Nobody reads
what is not: whoever wants to read settles the group first. If the disk refuses, all of its members
fail and none of them has happened.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator

__all__ = ["CommitGroup"]

_LOG = logging.getLogger(__name__)
_MIN_TURNS = 2
_MAX_TURNS = 24
"""Turns of the event loop that a group stays open: long enough for clients that were just answered
to come again. A lone client should not wait for others, so it is long only after one of several."""

_TURNS_LESS = 4
"""How much shorter the next one is open after a group of one."""


class CommitGroup:
    """The commits under way on one connection.

    Args:
        connection: In autocommit mode; nobody else begins transactions on it without settling.

    Attributes:
        is_open: Whether something has been stored that is not on the disk yet.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._members: list[tuple[asyncio.Future[None], Callable[[], None]]] = []
        self.is_open = False
        self._turns = _MIN_TURNS

    @contextmanager
    def member(self, announce: Callable[[], None]) -> Iterator[asyncio.Future[None]]:
        """Store in the group's transaction; await the future to know that it is on the disk.

        Args:
            announce: Called once it is, before the future is done.

        Raises:
            sqlite3.Error: The group has failed, and with it every other member.
        """
        loop = asyncio.get_running_loop()
        if not self.is_open:
            self._connection.execute("BEGIN IMMEDIATE")
            self.is_open = True
            loop.call_soon(self._turn, 1)
        stored: asyncio.Future[None] = loop.create_future()
        try:
            yield stored
        except BaseException as error:
            self._fail(error)
            raise
        self._members.append((stored, announce))

    def _turn(self, turn: int) -> None:
        if not self.is_open:
            return
        if turn < self._turns:
            asyncio.get_running_loop().call_soon(self._turn, turn + 1)
        else:
            self.settle()

    def settle(self) -> None:
        """Bring what has been stored to the disk now, and tell everybody who waits for it."""
        if not self.is_open:
            return
        try:
            self._connection.execute("COMMIT")
        except BaseException as error:  # noqa: BLE001 - it is every member's error
            self._fail(error)
            return
        members, self._members, self.is_open = self._members, [], False
        alone = len(members) == 1
        self._turns = max(_MIN_TURNS, self._turns - _TURNS_LESS) if alone else _MAX_TURNS
        for stored, announce in members:
            try:
                announce()
            except Exception:  # noqa: BLE001 - whatever it is, it is logged
                # The commit has happened; who was to hear of it must not undo the answer.
                _LOG.exception("a listener failed")
            if not stored.done():
                stored.set_result(None)

    def _fail(self, error: BaseException) -> None:
        members, self._members, self.is_open = self._members, [], False
        # A full disk may have rolled back by itself.
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        for stored, _ in members:
            if not stored.done():
                stored.set_exception(error)
