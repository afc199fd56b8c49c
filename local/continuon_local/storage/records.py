"""What is stored about buckets and objects, and how the JSON API shows it."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["BucketRecord", "ObjectRecord", "encode_crc32c", "etag", "project_number", "timestamp"]

# Fields that an empty value removes from the answer.
_NON_EMPTY_ONLY = ("metadata", "temporaryHold", "eventBasedHold")

# What is kept among the fields and shown only by the methods that are about it.
_HIDDEN = frozenset({"acl", "defaultObjectAcl", "holdReleased", "iamBindings"})


def timestamp(moment: datetime) -> str:
    """Return RFC 3339 in UTC with milliseconds, as the service writes times."""
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def encode_crc32c(value: int) -> str:
    """Return a CRC32C as the service writes it: base64 of four big-endian bytes."""
    return base64.b64encode(value.to_bytes(4, "big")).decode()


@lru_cache(maxsize=64)
def project_number(project_id: str) -> str:
    """Return the number that stands for a project: always the same one, of twelve digits."""
    digest = hashlib.sha256(project_id.encode()).digest()
    return str(10**11 + int.from_bytes(digest[:8], "big") % (9 * 10**11))


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:  # noqa: PLR2004 - seven bits of payload in each byte
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def etag(generation: int, metageneration: int) -> str:
    """Return the JSON API's entity tag, which changes with content and with metadata."""
    packed = b"\x08" + _varint(generation) + b"\x10" + _varint(metageneration)
    return base64.b64encode(packed).decode()


@dataclass(frozen=True, kw_only=True)
class BucketRecord:
    """One bucket.

    Attributes:
        fields: What the owner set: versioning, lifecycle, cors, labels and the like.
        created: RFC 3339; ``updated`` as well.
    """

    name: str
    project_id: str
    metageneration: int
    generation: int
    created: str
    updated: str
    fields: Mapping[str, Any]

    @property
    def versioned(self) -> bool:
        """Whether an overwritten or deleted object stays as a noncurrent version."""
        return bool((self.fields.get("versioning") or {}).get("enabled"))

    def resource(self, base_url: str) -> dict[str, Any]:
        """Return the JSON API's bucket resource."""
        return {
            "storageClass": "STANDARD",
            "location": "US",
            "locationType": "multi-region",
            "rpo": "DEFAULT",
            "iamConfiguration": {
                "bucketPolicyOnly": {"enabled": False},
                "uniformBucketLevelAccess": {"enabled": False},
                "publicAccessPrevention": "inherited",
            },
            **{name: value for name, value in self.fields.items() if name not in _HIDDEN},
            "kind": "storage#bucket",
            "id": self.name,
            "selfLink": f"{base_url}/storage/v1/b/{self.name}",
            "name": self.name,
            "projectNumber": project_number(self.project_id),
            "generation": str(self.generation),
            "metageneration": str(self.metageneration),
            "timeCreated": self.created,
            "updated": self.updated,
            "etag": etag(self.metageneration, 0),
        }


@dataclass(frozen=True, kw_only=True)
class ObjectRecord:
    """One generation of one object.

    Attributes:
        size: In bytes.
        md5: The digest, or None for a composed object, as in production.
        body_id: Names the file that holds the bytes.
        component_count: Of a composed object, else None.
        fields: What the uploader set: contentType, metadata, cacheControl and the like.
        created: RFC 3339; the other moments as well. ``deleted`` is None for the live version.
    """

    bucket: str
    name: str
    generation: int
    metageneration: int
    size: int
    md5: bytes | None
    crc32c: int
    body_id: str
    component_count: int | None
    fields: Mapping[str, Any]
    created: str
    updated: str
    class_updated: str
    deleted: str | None

    @property
    def content_type(self) -> str:
        """The media type that downloads carry."""
        return str(self.fields.get("contentType") or "application/octet-stream")

    @property
    def storage_class(self) -> str:
        """The storage class, as in ``STANDARD``."""
        return str(self.fields.get("storageClass") or "STANDARD")

    @property
    def etag(self) -> str:
        """The JSON API's entity tag, which changes with content and with metadata."""
        return etag(self.generation, self.metageneration)

    @property
    def xml_etag(self) -> str:
        """The XML API's entity tag: the MD5 in hexadecimal where there is one."""
        if self.md5 is not None:
            return f'"{self.md5.hex()}"'
        return f'"{self.etag}"'

    @property
    def hash_header(self) -> str:
        """The value of ``X-Goog-Hash``."""
        crc32c = f"crc32c={encode_crc32c(self.crc32c)}"
        if self.md5 is None:
            return crc32c
        return f"{crc32c},md5={base64.b64encode(self.md5).decode()}"

    def resource(self, base_url: str) -> dict[str, Any]:
        """Return the JSON API's object resource; the payload of events is the same."""
        path = f"/b/{self.bucket}/o/{quote(self.name, safe='')}"
        resource: dict[str, Any] = {
            key: value
            for key, value in self.fields.items()
            if value is not None and (value or key not in _NON_EMPTY_ONLY) and key not in _HIDDEN
        }
        resource |= {
            "kind": "storage#object",
            "id": f"{self.bucket}/{self.name}/{self.generation}",
            "selfLink": f"{base_url}/storage/v1{path}",
            "mediaLink": (
                f"{base_url}/download/storage/v1{path}?generation={self.generation}&alt=media"
            ),
            "name": self.name,
            "bucket": self.bucket,
            "generation": str(self.generation),
            "metageneration": str(self.metageneration),
            "storageClass": self.storage_class,
            "size": str(self.size),
            "crc32c": encode_crc32c(self.crc32c),
            "etag": self.etag,
            "timeCreated": self.created,
            "updated": self.updated,
            "timeStorageClassUpdated": self.class_updated,
            "timeFinalized": self.created,
        }
        if self.md5 is not None:
            resource["md5Hash"] = base64.b64encode(self.md5).decode()
        if self.component_count is not None:
            resource["componentCount"] = self.component_count
        if self.deleted is not None:
            resource["timeDeleted"] = self.deleted
        return resource
