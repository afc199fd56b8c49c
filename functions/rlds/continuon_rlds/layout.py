"""Where an episode's objects live, and what an object's name says. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from continuon.errors import FieldProblem, ProblemError
from continuon_rlds.errors import CONTENT_TYPE_UNSUPPORTED

__all__ = [
    "ARCHIVE_NAMES",
    "RawObject",
    "archive_name",
    "parse_raw_name",
    "raw_prefix",
    "rejected_report_name",
    "validated_prefix",
]

_RAW: Final = re.compile(
    r"^episodes/raw/(?P<robot_id>[A-Za-z0-9][A-Za-z0-9_-]{0,63})"
    r"/(?P<episode_id>[A-Za-z0-9][A-Za-z0-9_-]{0,127})/(?P<path>.+)$"
)
_ARCHIVE_BY_TYPE: Final = {
    "application/gzip": "episode.tar.gz",
    "application/x-gzip": "episode.tar.gz",
    "application/x-tar": "episode.tar",
    "application/zip": "episode.zip",
    "application/json": "episode.json",
}
ARCHIVE_NAMES: Final = frozenset(_ARCHIVE_BY_TYPE.values())
"""The names a one-object episode can have."""


@dataclass(frozen=True, slots=True)
class RawObject:
    """An object under ``episodes/raw``, taken apart."""

    robot_id: str
    episode_id: str
    path: str

    @property
    def is_archive(self) -> bool:
        """Whether this object is a whole episode."""
        return self.path in ARCHIVE_NAMES


def parse_raw_name(name: str) -> RawObject | None:
    """Take an object's name apart; None for anything that is not a raw episode's."""
    found = _RAW.fullmatch(name)
    return RawObject(found["robot_id"], found["episode_id"], found["path"]) if found else None


def raw_prefix(robot_id: str, episode_id: str) -> str:
    """Return the folder of the upload, without a trailing slash: the episode's reference."""
    return f"episodes/raw/{robot_id}/{episode_id}"


def validated_prefix(robot_id: str, episode_id: str) -> str:
    """Return the folder of the promoted episode, without a trailing slash."""
    return f"episodes/validated/{robot_id}/{episode_id}"


def rejected_report_name(robot_id: str, episode_id: str) -> str:
    """Return where the report of a rejected episode is kept; its data stays under raw."""
    return f"episodes/rejected/{robot_id}/{episode_id}/report.json"


def archive_name(content_type: str) -> str:
    """Return the object's name for a one-object upload of ``content_type``.

    Raises:
        ProblemError: ``episode.content_type_unsupported``.
    """
    name = _ARCHIVE_BY_TYPE.get(content_type.partition(";")[0])
    if name is None:
        raise ProblemError(
            CONTENT_TYPE_UNSUPPORTED,
            errors=[
                FieldProblem(
                    CONTENT_TYPE_UNSUPPORTED.code,
                    "content_type",
                    f"{content_type} is not one of {', '.join(sorted(_ARCHIVE_BY_TYPE))}",
                )
            ],
        )
    return name
