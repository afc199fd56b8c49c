"""What can be wrong with a bundle, a version or signed metadata: the input's fault, always."""

from __future__ import annotations

from continuon.errors import ContinuonError

__all__ = ["BundleError", "OtaError", "TrustError", "VersionError"]


class OtaError(ContinuonError):
    """The base of every refusal of this package; trying again changes nothing.

    Attributes:
        code: Stable, dotted, lower case.
    """

    code = "ota.error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code or type(self).code


class VersionError(OtaError, ValueError):
    """A text is no version, or no requirement on versions."""

    code = "ota.version_invalid"


class BundleError(OtaError):
    """An archive is not the bundle that its manifest describes."""

    code = "bundle.invalid"


class TrustError(OtaError):
    """Metadata is not signed by whom it must be, is expired, or goes backwards."""

    code = "trust.invalid"
