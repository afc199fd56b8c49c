"""What an uploader states about the bytes: checksums and a range of sizes."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from continuon_local.storage.errors import StorageError, invalid
from continuon_local.storage.records import encode_crc32c

if TYPE_CHECKING:
    from collections.abc import Mapping

    from continuon_local.storage.bodies import Digests

__all__ = ["Expected", "SizeRange"]


@dataclass(frozen=True, kw_only=True)
class Expected:
    """Checksums that the uploader stated; None is "not stated"."""

    md5: bytes | None = None
    crc32c: int | None = None
    sha256: str | None = None

    @classmethod
    def parse(cls, md5: str | None, crc32c: str | None) -> Expected:
        """Read base64 checksums.

        Raises:
            StorageError: One is not base64 of the right length (400).
        """
        digest = _decode("MD5", md5, 16)
        crc = _decode("CRC32C", crc32c, 4)
        return cls(md5=digest, crc32c=None if crc is None else int.from_bytes(crc, "big"))

    @classmethod
    def from_headers(cls, headers: Mapping[str, str]) -> Expected:
        """Read ``X-Goog-Hash`` and ``Content-MD5``.

        Raises:
            StorageError: A value is malformed (400).
        """
        stated = {"md5": headers.get("content-md5")}
        for part in filter(None, headers.get("x-goog-hash", "").split(",")):
            name, separator, value = part.strip().partition("=")
            if not separator or name not in {"md5", "crc32c"}:
                raise invalid(f"Invalid X-Goog-Hash header: {part}", code="InvalidDigest")
            stated[name] = value
        return cls.parse(stated.get("md5"), stated.get("crc32c"))

    def with_sha256(self, digest: str | None) -> Expected:
        """Add the digest (hexadecimal) that a signature covers."""
        return replace(self, sha256=digest)

    def merged(self, other: Expected) -> Expected:
        """Return both statements as one.

        Raises:
            StorageError: They contradict each other, so no body can satisfy both (400).
        """
        for mine, theirs in ((self.md5, other.md5), (self.crc32c, other.crc32c)):
            if mine is not None and theirs is not None and mine != theirs:
                raise invalid("The request states two different checksums.", code="BadDigest")
        return Expected(
            md5=self.md5 if self.md5 is not None else other.md5,
            crc32c=self.crc32c if self.crc32c is not None else other.crc32c,
        )

    def check(self, digests: Digests) -> None:
        """Refuse bytes that are not those the uploader meant.

        Raises:
            StorageError: A checksum differs (400).
        """
        if self.md5 is not None and self.md5 != digests.md5:
            sent, got = base64.b64encode(self.md5).decode(), digests.md5 or b""
            computed = base64.b64encode(got).decode()
            message = f'Provided MD5 hash "{sent}" doesn\'t match calculated MD5 hash "{computed}".'
            raise invalid(message, code="BadDigest")
        if self.sha256 is not None and self.sha256 != digests.sha256:
            message = "The body's SHA-256 is not the signed x-goog-content-sha256."
            raise invalid(message, code="BadDigest")
        if self.crc32c is not None and self.crc32c != digests.crc32c:
            sent, computed = encode_crc32c(self.crc32c), encode_crc32c(digests.crc32c)
            message = f'Provided CRC32C "{sent}" doesn\'t match calculated CRC32C "{computed}".'
            raise invalid(message, code="BadDigest")


def _decode(name: str, text: str | None, size: int) -> bytes | None:
    if text is None:
        return None
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        value = b""
    if len(value) != size:
        raise invalid(f'Provided {name} hash "{text}" is not valid.', code="InvalidDigest")
    return value


@dataclass(frozen=True, kw_only=True)
class SizeRange:
    """The sizes in bytes that a signed upload may have, ends included; None is no limit."""

    low: int = 0
    high: int | None = None

    @classmethod
    def from_headers(cls, headers: Mapping[str, str]) -> SizeRange:
        """Read ``x-goog-content-length-range``.

        Raises:
            StorageError: It is not two numbers in order (400).
        """
        text = headers.get("x-goog-content-length-range")
        if text is None:
            return cls()
        match = re.fullmatch(r"\s*([0-9]{1,18})\s*,\s*([0-9]{1,18})\s*", text)
        if match is None or int(match[1]) > int(match[2]):
            raise invalid(f"Invalid x-goog-content-length-range header: {text}")
        return cls(low=int(match[1]), high=int(match[2]))

    def check_upper(self, size: int) -> None:
        """Refuse a body as soon as it is too large.

        Raises:
            StorageError: ``EntityTooLarge`` (400).
        """
        if self.high is not None and size > self.high:
            message = "Your proposed upload is larger than the maximum object size."
            details = {"Details": f"Content-length exceeds upper bound on range: {self.high}"}
            raise StorageError(400, "invalid", "EntityTooLarge", message, details=details)

    def check(self, size: int) -> None:
        """Refuse a complete body whose size is out of range.

        Raises:
            StorageError: ``EntityTooLarge`` or ``EntityTooSmall`` (400).
        """
        self.check_upper(size)
        if size < self.low:
            message = "Your proposed upload is smaller than the minimum object size."
            details = {"Details": f"Content-length smaller than lower bound on range: {self.low}"}
            raise StorageError(400, "invalid", "EntityTooSmall", message, details=details)
