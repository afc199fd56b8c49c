"""Where the cloud is and where this client keeps its files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import platformdirs

from continuon_cloud.errors import SettingsError

__all__ = ["DEFAULT_URL", "Settings", "checked_url"]

DEFAULT_URL = "http://127.0.0.1:5000"
"""The hosting gateway of the local cloud."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of one client.

    Attributes:
        base_url: Of the cloud, without a trailing slash.
        home: Holds keys, sessions and the upload queue; owner-only.
        auth_emulator_host: ``host:port`` of an Auth emulator, or None.
    """

    base_url: str
    home: Path
    auth_emulator_host: str | None = None

    @classmethod
    def load(cls, *, url: str | None = None, home: Path | None = None) -> Settings:
        """Read what is not given from the environment.

        Variables: ``CONTINUON_URL``, ``CONTINUON_HOME``, ``FIREBASE_AUTH_EMULATOR_HOST``.

        Raises:
            SettingsError: The URL is not an absolute http(s) URL without a path.
        """
        chosen_home = home or Path(os.environ.get("CONTINUON_HOME") or _default_home())
        return cls(
            base_url=checked_url(url or os.environ.get("CONTINUON_URL") or DEFAULT_URL),
            home=chosen_home.expanduser(),
            auth_emulator_host=os.environ.get("FIREBASE_AUTH_EMULATOR_HOST") or None,
        )


def _default_home() -> Path:
    return platformdirs.user_config_path("continuon")


def checked_url(url: str) -> str:
    """Return the address of a cloud in one form: scheme and host, no path, no trailing slash.

    Raises:
        SettingsError: It is no such address.
    """
    parts = urlsplit(url)
    clean = parts.path in {"", "/"} and not (parts.query or parts.fragment or parts.username)
    if parts.scheme not in {"http", "https"} or not parts.hostname or not clean:
        raise SettingsError(
            f"{url!r} is not the address of a cloud",
            hint="Give scheme and host, as in https://fleet.example.com.",
        )
    return f"{parts.scheme}://{parts.netloc}"
