"""Idempotency and leases: each piece of work is done by one worker, and once.

A piece of work has a key (an object's generation, an ``Idempotency-Key``) and a record in one
field of one Firestore document. Taking the lease is a single conditional write: the document must
still be the one that was read. What the record says has three names:

* **in progress**: another worker holds the lease; come back when it ends,
* **expired**: that worker died; whoever writes first takes over,
* **completed**: the result is there; nothing is done again.

A worker that lost its lease finds out at its next write, because that write is conditional too.
"""

from __future__ import annotations

import secrets
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from google.api_core import exceptions
from google.cloud import firestore

from continuon.errors import ContinuonError
from continuon.platform.firestore import RPC, Snapshot, firestore_errors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from datetime import datetime, timedelta

__all__ = [
    "Completed",
    "InProgress",
    "Lease",
    "LeaseLostError",
    "WorkState",
    "released_on_error",
    "take",
    "work_state",
]

_TOKEN_BYTES: Final = 12


class WorkState(StrEnum):
    """What a work record says at a moment."""

    NONE = "none"
    IN_PROGRESS = "in_progress"
    EXPIRED = "expired"
    COMPLETED = "completed"


class LeaseLostError(ContinuonError):
    """Another worker took over; whatever this one still wants to write is void."""


@dataclass(frozen=True, slots=True)
class InProgress:
    """Another worker holds the lease until ``until``."""

    until: datetime


@dataclass(frozen=True, slots=True)
class Completed:
    """The work is done; ``snapshot`` is the document that says so."""

    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to do one piece of work, held until ``until``.

    Attributes:
        attempt: 1 for the first worker, one more for each that took over from a dead one.
        snapshot: The document as it was when the lease was taken.
    """

    reference: firestore.AsyncDocumentReference
    field: str
    key: str
    token: str
    attempt: int
    until: datetime
    update_time: Any
    snapshot: Snapshot

    async def write(self, fields: Mapping[str, Any], *, completed: bool = False) -> Lease:
        """Write ``fields`` while the lease is still ours, in one conditional write.

        Args:
            fields: Field paths and values of the document.
            completed: Mark the work as done in the same write.

        Raises:
            LeaseLostError: Another worker has taken over.
            UnavailableError: Firestore failed; nothing is known about the write.
        """
        update = dict(fields)
        if completed:
            update[f"{self.field}.state"] = WorkState.COMPLETED.value
            update[f"{self.field}.until"] = None
        update_time = self.update_time
        while True:
            option = firestore.AsyncClient.write_option(last_update_time=update_time)
            try:
                with firestore_errors():
                    result = await self.reference.update(update, option=option, **RPC)
            except (exceptions.FailedPrecondition, exceptions.NotFound) as error:
                update_time = await self._still_ours(error)
            else:
                return replace(self, update_time=result.update_time)

    async def _still_ours(self, error: Exception) -> Any:
        """Return the document's update time when only unrelated fields have changed."""
        with firestore_errors():
            snapshot = await self.reference.get(**RPC)
        record = (snapshot.to_dict() or {}).get(self.field) or {}
        if record.get("token") != self.token:
            raise LeaseLostError(f"lease of {self.reference.path} lost") from error
        return snapshot.update_time

    async def release(self) -> None:
        """Give the work back unfinished, so that the next worker need not wait for the lease.

        The record may have been written since by this same worker, so only the token decides.
        """
        with firestore_errors():
            snapshot = await self.reference.get(**RPC)
        record = (snapshot.to_dict() or {}).get(self.field) or {}
        if record.get("token") != self.token or record.get("state") == WorkState.COMPLETED:
            return
        mine = replace(self, update_time=snapshot.update_time)
        await mine.write({f"{self.field}.until": snapshot.read_time})


@asynccontextmanager
async def released_on_error(lease: Lease) -> AsyncIterator[None]:
    """Release ``lease`` when the block raises. The block's own error survives a failing release."""
    try:
        yield
    except Exception:
        # A release that fails leaves a lease that expires: slower, and still right.
        with suppress(Exception):
            await lease.release()
        raise


def work_state(record: Mapping[str, Any] | None, key: str, now: datetime) -> WorkState:
    """Say what ``record`` means for work ``key`` at ``now``. Pure.

    A record of another key (an earlier generation of the object) says nothing about this one
    unless its worker is still busy: two generations are never worked on at once.
    """
    if not record:
        return WorkState.NONE
    until = record.get("until")
    if record.get("state") == WorkState.COMPLETED:
        return WorkState.COMPLETED if record.get("key") == key else WorkState.NONE
    return WorkState.IN_PROGRESS if until is not None and until > now else WorkState.EXPIRED


async def take(
    reference: firestore.AsyncDocumentReference,
    *,
    field: str,
    key: str,
    lease_for: timedelta,
    now: datetime,
    snapshot: Snapshot,
) -> Lease | InProgress | Completed:
    """Try to take the lease on work ``key``, recorded in ``field`` of an existing document.

    Args:
        reference: The document.
        field: Where the record lives.
        key: What the work is about; a new key after a completed one is new work.
        lease_for: Longer than any worker can live.
        now: The invocation's reading of the clock.
        snapshot: The document as just read.

    Raises:
        UnavailableError: Firestore failed.
    """
    record = (snapshot.to_dict() or {}).get(field) or {}
    state = work_state(record, key, now)
    if state is WorkState.COMPLETED:
        return Completed(snapshot)
    if state is WorkState.IN_PROGRESS:
        return InProgress(record["until"])
    attempt = int(record.get("attempt", 0)) + 1 if record.get("key") == key else 1
    token, until = secrets.token_hex(_TOKEN_BYTES), now + lease_for
    new_record = {
        "key": key,
        "state": WorkState.IN_PROGRESS.value,
        "token": token,
        "attempt": attempt,
        "until": until,
    }
    option = firestore.AsyncClient.write_option(last_update_time=snapshot.update_time)
    try:
        with firestore_errors():
            result = await reference.update({field: new_record}, option=option, **RPC)
        update_time: Any = result.update_time
    except (exceptions.FailedPrecondition, exceptions.NotFound):
        # Someone wrote first, or deleted the document: who comes back will see which. Or our own
        # write arrived, its answer was lost, and the client repeated it.
        with firestore_errors():
            found = await reference.get(**RPC)
        if ((found.to_dict() or {}).get(field) or {}).get("token") != token:
            return InProgress(until)
        update_time = found.update_time
    return Lease(reference, field, key, token, attempt, until, update_time, snapshot)
