"""Why an update was not installed."""

from __future__ import annotations

from continuon_cloud.errors import ClientError

__all__ = ["DownloadBrokeError", "UpdateError"]


class UpdateError(ClientError):
    """The update is not installed, and the robot keeps what it runs.

    Codes that begin with ``trust.`` say that something was not signed as it must be, codes that
    begin with ``ota.`` that the robot could not do it.
    """

    code = "ota.failed"


class DownloadBrokeError(UpdateError):
    """The download did not get through; what is there is kept and continued the next time."""

    code = "ota.download_broke"
