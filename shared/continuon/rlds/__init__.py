"""The episode validator: pure, streaming, the same on the robot and in the cloud."""

from continuon.limits import DEFAULT_LIMITS as DEFAULT
from continuon.limits import Limits
from continuon.rlds.api import validate_members, validate_stream
from continuon.rlds.episode import EpisodeMember
from continuon.rlds.errors import EpisodeError, ReportError, SourceError, StepsError
from continuon.rlds.metadata import ExpectedIdentity
from continuon.rlds.packaging import SNIFF_BYTES, Packaging, detect_packaging
from continuon.rlds.report import (
    Counts,
    Eligibility,
    Finding,
    Part,
    Quality,
    Repair,
    Report,
)
from continuon.rlds.sources import folder_members, read_file, validate_path
from continuon.rlds.steps import iter_steps

__all__ = [
    "DEFAULT",
    "SNIFF_BYTES",
    "Counts",
    "Eligibility",
    "EpisodeError",
    "EpisodeMember",
    "ExpectedIdentity",
    "Finding",
    "Limits",
    "Packaging",
    "Part",
    "Quality",
    "Repair",
    "Report",
    "ReportError",
    "SourceError",
    "StepsError",
    "detect_packaging",
    "folder_members",
    "iter_steps",
    "read_file",
    "validate_members",
    "validate_path",
    "validate_stream",
]
