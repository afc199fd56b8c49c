"""Episodes as training reads them: from Firestore, never written."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from google.cloud import firestore
from google.cloud.firestore import FieldFilter

from continuon import limits
from continuon.platform.firestore import RPC, firestore_client, firestore_errors
from continuon_training.records import EpisodeChoice
from continuon_training.selection import is_good_enough

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from google.cloud.firestore import AsyncQuery

    from continuon.platform.firestore import Snapshot

__all__ = ["EpisodeReader"]

_EPISODES: Final = "rlds_episodes"
_FIELDS: Final = tuple(EpisodeChoice.model_fields)
_BATCH: Final = 300
"""Documents in one batch read; answers stay well under gRPC's 4 MiB."""

_PAGE: Final = 1000
_CONCURRENT: Final = 4


def _choice(snapshot: Snapshot) -> EpisodeChoice | None:
    data = snapshot.to_dict()
    return EpisodeChoice.model_validate(data) if data else None


class EpisodeReader:
    """Finds episodes to train on."""

    def __init__(self) -> None:
        self._documents = firestore_client()
        self._free = asyncio.Semaphore(_CONCURRENT)

    async def by_ids(self, episode_ids: Sequence[str]) -> dict[str, EpisodeChoice]:
        """Return those of the episodes that exist: one billed read for each id."""
        batches = [episode_ids[at : at + _BATCH] for at in range(0, len(episode_ids), _BATCH)]
        found = await asyncio.gather(*(self._batch(batch) for batch in batches))
        return {choice.episode_id: choice for batch in found for choice in batch}

    async def _batch(self, episode_ids: Sequence[str]) -> list[EpisodeChoice]:
        collection = self._documents.collection(_EPISODES)
        references = [collection.document(episode_id) for episode_id in episode_ids]
        async with self._free:
            with firestore_errors():
                snapshots = [
                    snapshot
                    async for snapshot in self._documents.get_all(references, _FIELDS, **RPC)
                ]
        return [choice for snapshot in snapshots if (choice := _choice(snapshot)) is not None]

    def _eligible(self, owner_id: str, robot_model: str) -> AsyncQuery:
        query = self._documents.collection(_EPISODES).where(
            filter=FieldFilter("owner_id", "==", owner_id)
        )
        query = query.where(filter=FieldFilter("robot_model", "==", robot_model))
        query = query.where(filter=FieldFilter("status", "==", "validated"))
        return query.where(filter=FieldFilter("training_eligible", "==", True))  # noqa: FBT003

    async def newest(
        self, owner_id: str, robot_model: str, *, min_quality: float | None, limit: int
    ) -> list[EpisodeChoice]:
        """Return an owner's newest eligible episodes of a robot model.

        Quality is compared here and not in the query: a range in it would decide the order.
        """
        descending = firestore.Query.DESCENDING
        query = self._eligible(owner_id, robot_model).select(_FIELDS)
        query = query.order_by("validated_at", direction=descending).limit(_PAGE)
        return await self._fitting(query, min_quality, limit)

    async def validated_since(
        self, owner_id: str, robot_model: str, since: datetime, *, min_quality: float | None
    ) -> list[EpisodeChoice]:
        """Return an owner's eligible episodes of a robot model validated after ``since``."""
        query = self._eligible(owner_id, robot_model).select(_FIELDS)
        query = query.where(filter=FieldFilter("validated_at", ">", since))
        query = query.order_by("validated_at").limit(_PAGE)
        return await self._fitting(query, min_quality, limits.MAX_JOB_EPISODES)

    async def _fitting(
        self, query: AsyncQuery, min_quality: float | None, limit: int
    ) -> list[EpisodeChoice]:
        """Return what ``query`` finds in pages, but for episodes of too low quality."""
        chosen: list[EpisodeChoice] = []
        page = query
        while len(chosen) < limit:
            with firestore_errors():
                snapshots = await page.get(**RPC)
            found = [choice for s in snapshots if (choice := _choice(s)) is not None]
            chosen += [choice for choice in found if is_good_enough(choice, min_quality)]
            if len(snapshots) < _PAGE:
                break
            page = query.start_after(snapshots[-1])
        return chosen[:limit]

    async def count_since(self, owner_id: str, robot_model: str, since: datetime | None) -> int:
        """Count eligible episodes that were validated after ``since``: a read for each 1,000."""
        query = self._eligible(owner_id, robot_model)
        if since is not None:
            query = query.where(filter=FieldFilter("validated_at", ">", since))
        with firestore_errors():
            # Upstream declares the method without self.
            results = await query.count(alias="n").get(**RPC)  # type: ignore[call-arg]
        return int(results[0][0].value)
