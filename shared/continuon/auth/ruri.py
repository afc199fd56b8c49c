"""Robot URIs: ``rcan://{registry}/{manufacturer}/{model}/{device_id}``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from continuon.identifiers import ROBOT_ID

__all__ = ["InvalidRuriError", "Ruri"]

_HOST = r"[a-z0-9](?:[a-z0-9-]{0,62})(?:\.[a-z0-9][a-z0-9-]{0,62})*"
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_RURI = re.compile(
    rf"rcan://(?P<registry>{_HOST})/(?P<manufacturer>{_NAME})/(?P<model>{_NAME})/(?P<device>[^/]+)"
)
_MAX_CHARS = 512


class InvalidRuriError(ValueError):
    """A text that is not a robot URI."""


@dataclass(frozen=True, slots=True)
class Ruri:
    """A parsed robot URI. The device id is also the robot id everywhere else."""

    registry: str
    manufacturer: str
    model: str
    device_id: str

    @classmethod
    def parse(cls, text: str) -> Ruri:
        """Read ``text`` strictly: no query, no fragment, no percent-encoding, no trailing slash.

        Raises:
            InvalidRuriError: ``text`` has another form.
        """
        match = _RURI.fullmatch(text) if len(text) <= _MAX_CHARS else None
        if match is None or ROBOT_ID.fullmatch(match["device"]) is None:
            raise InvalidRuriError(
                "a robot URI looks like rcan://{registry}/{manufacturer}/{model}/{device_id}"
            )
        return cls(match["registry"], match["manufacturer"], match["model"], match["device"])

    def __str__(self) -> str:
        return f"rcan://{self.registry}/{self.manufacturer}/{self.model}/{self.device_id}"
