"""What can go wrong while the local cloud is set up, split by whose fault it is."""

from __future__ import annotations

__all__ = ["AlreadyRunningError", "ConfigurationError", "LocalCloudError", "PortTakenError"]


class LocalCloudError(Exception):
    """Any failure of the local cloud that its user can act on."""


class ConfigurationError(LocalCloudError):
    """A file or an option of the project is wrong; the message names the file and the key."""


class PortTakenError(LocalCloudError):
    """Another program listens on a port that a service was told to use."""


class AlreadyRunningError(LocalCloudError):
    """Another local cloud uses the same data folder."""
