"""Who may see an episode, and what is said to those who may not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from continuon.errors import ProblemError
from continuon_rlds import service
from continuon_rlds.errors import EPISODE_NOT_FOUND, REPORT_NOT_READY

if TYPE_CHECKING:
    from continuon.auth.principals import Principal
    from continuon_rlds.records import EpisodeRecord
    from continuon_rlds.store import EpisodeStore

__all__ = ["report_of", "visible_episode"]


async def visible_episode(
    store: EpisodeStore, episode_id: str, principal: Principal
) -> EpisodeRecord:
    """Return the episode if ``principal`` may see it.

    Raises:
        ProblemError: ``episode.not_found``, for another's episode too: 404 says nothing of it.
    """
    record = await store.find(episode_id)
    if record is None or not service.may_read(record, principal):
        raise ProblemError(EPISODE_NOT_FOUND)
    return record


async def report_of(store: EpisodeStore, record: EpisodeRecord) -> bytes:
    """Return the stored report, as JSON.

    Raises:
        ProblemError: ``episode.report_not_ready``.
    """
    body = await store.read_report(record.report_ref) if record.report_ref else None
    if body is None:
        raise ProblemError(REPORT_NOT_READY, f"The episode is {record.status.value}.")
    return body
