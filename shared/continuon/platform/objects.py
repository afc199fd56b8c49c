"""Objects of one bucket: looked at, read, hashed, copied and deleted by their exact generation."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from google.api_core import exceptions

from continuon.platform.storage import STORAGE, storage_client, storage_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from google.cloud.storage import Blob, Bucket

__all__ = ["ObjectStore", "StoredObject", "in_thread"]

T = TypeVar("T")

_READ_BYTES: Final = 256 * 1024
_RANGE_BYTES: Final = 8 * 1024 * 1024
"""One ranged read of an object: one class B operation and the memory that a reader holds."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as it was seen: its name, its generation, and what it holds."""

    name: str
    generation: int
    size_bytes: int
    content_type: str | None
    crc32c: str | None

    @classmethod
    def of(cls, blob: Blob) -> StoredObject:
        """Read a blob whose metadata is loaded."""
        generation, size = int(blob.generation or 0), int(blob.size or 0)
        return cls(blob.name, generation, size, blob.content_type, blob.crc32c)


async def in_thread(call: Callable[[], T]) -> T:
    """Run a call of the Storage client, which is synchronous; its transport is thread-safe.

    Raises:
        UnavailableError: The store failed.
    """
    with storage_errors():
        return await asyncio.to_thread(call)


class ObjectStore:
    """One bucket. Every method raises ``UnavailableError`` when the store fails."""

    def __init__(self, bucket: str) -> None:
        self._name = bucket

    @property
    def bucket(self) -> Bucket:
        """The bucket, by Google's own client."""
        return storage_client().bucket(self._name)

    async def stat(self, name: str) -> StoredObject | None:
        """Return an object's present state, or None: one class B operation."""

        def call() -> StoredObject | None:
            blob = self.bucket.get_blob(name, **STORAGE)
            return StoredObject.of(blob) if blob else None

        return await in_thread(call)

    async def list(self, prefix: str) -> list[StoredObject]:
        """Return the objects under ``prefix/``: one class A operation for each 1,000."""

        def call() -> list[StoredObject]:
            blobs = self.bucket.list_blobs(prefix=f"{prefix}/", **STORAGE)
            return [StoredObject.of(blob) for blob in blobs]

        return await in_thread(call)

    def stream(self, stored: StoredObject) -> Iterator[bytes]:
        """Yield an object's bytes, exactly that generation. Blocks: call it from a thread."""
        blob = self.bucket.blob(stored.name, generation=stored.generation)
        with (
            storage_errors(),
            blob.open("rb", chunk_size=_RANGE_BYTES, raw_download=True, **STORAGE) as reader,
        ):
            # The size is known: asking for more would cost one more operation to learn the end.
            remaining = stored.size_bytes
            while remaining > 0 and (chunk := reader.read(min(_READ_BYTES, remaining))):
                remaining -= len(chunk)
                yield chunk

    async def read(self, stored: StoredObject) -> bytes:
        """Return the bytes of exactly that generation, which the caller knows to be few.

        Raises:
            NotFound: That generation is gone.
        """
        return await in_thread(lambda: b"".join(self.stream(stored)))

    async def sha256(self, stored: StoredObject) -> str:
        """Return the lower-case hex SHA-256 of exactly that generation, read once as a stream.

        Raises:
            NotFound: That generation is gone.
        """

        def call() -> str:
            digest = hashlib.sha256()
            for chunk in self.stream(stored):
                digest.update(chunk)
            return digest.hexdigest()

        return await in_thread(call)

    async def copy(self, source: StoredObject, destination: str) -> StoredObject:
        """Copy exactly that generation to a name that holds nothing, and return the copy.

        A destination with the same checksum was made by an earlier attempt, and stays.

        Raises:
            NotFound: That generation is gone.
            PreconditionFailed: The destination holds something else.
        """

        def call() -> StoredObject:
            blob = self.bucket.blob(source.name)
            target = self.bucket.blob(destination)
            token: str | None = None
            while True:
                token, _, _ = target.rewrite(
                    blob,
                    token=token,
                    if_generation_match=0,
                    if_source_generation_match=source.generation,
                    **STORAGE,
                )
                if token is None:
                    return StoredObject.of(target)

        try:
            return await in_thread(call)
        except exceptions.PreconditionFailed:
            copied = await self.stat(destination)
            if copied is None or copied.crc32c != source.crc32c:
                raise
            return copied

    async def delete(self, stored: StoredObject) -> None:
        """Delete exactly that generation; one that is gone already is no error."""

        def call() -> None:
            blob = self.bucket.blob(stored.name, generation=stored.generation)
            try:
                blob.delete(**STORAGE)
            except exceptions.NotFound:
                return

        await in_thread(call)
