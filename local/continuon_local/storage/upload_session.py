"""One resumable session, and how it is written into a row."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from continuon_local.storage.checksums import Expected, SizeRange
from continuon_local.storage.preconditions import Preconditions
from continuon_local.storage.records import ObjectRecord

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Session", "dump_record", "load_session"]


@dataclass(frozen=True, kw_only=True)
class Session:
    """One upload that is under way, or was.

    Attributes:
        created: RFC 3339.
        fields: The metadata that the object will have.
        total: The size in bytes announced at the start, or None.
        persisted: How many bytes are safe on the disk.
        result: The finished object, else None.
        open: Whether bytes may still come.
    """

    id: str
    bucket: str
    name: str
    created: str
    body_id: str
    fields: Mapping[str, Any]
    conditions: Preconditions
    expected: Expected
    sizes: SizeRange
    total: int | None
    persisted: int = 0
    open: bool = True
    result: ObjectRecord | None = None

    def request_json(self) -> str:
        """Return what does not change during the session."""
        return json.dumps(
            {
                "fields": dict(self.fields),
                "conditions": self.conditions.as_dict(),
                "md5": self.expected.md5.hex() if self.expected.md5 else None,
                "crc32c": self.expected.crc32c,
                "sizes": asdict(self.sizes),
                "total": self.total,
            }
        )


def dump_record(record: ObjectRecord) -> str:
    """Return a record as text; :func:`load_session` undoes it."""
    return json.dumps({**asdict(record), "md5": record.md5.hex() if record.md5 else None})


def _load_record(text: str) -> ObjectRecord:
    values = json.loads(text)
    values["md5"] = bytes.fromhex(values["md5"]) if values["md5"] else None
    return ObjectRecord(**values)


def load_session(row: tuple[Any, ...]) -> Session:
    """Return the session of a row of ``upload_sessions``."""
    request = json.loads(row[4])
    return Session(
        id=row[0],
        bucket=row[1],
        name=row[2],
        created=row[3],
        fields=request["fields"],
        conditions=Preconditions(**request["conditions"]),
        expected=Expected(
            md5=bytes.fromhex(request["md5"]) if request["md5"] else None,
            crc32c=request["crc32c"],
        ),
        sizes=SizeRange(**request["sizes"]),
        total=request["total"],
        body_id=row[5],
        persisted=row[6],
        open=row[7] == "open",
        result=_load_record(row[8]) if row[8] else None,
    )
