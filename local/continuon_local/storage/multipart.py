"""``multipart/related`` uploads, read as a stream: a JSON part, then a media part of any size."""

from __future__ import annotations

from email.message import Message
from typing import TYPE_CHECKING, Any

from continuon_local.storage.errors import invalid
from continuon_local.storage.json_body import parse_object

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["FormUpload", "MultipartUpload", "media_type_parameter"]

# A form has at most the fields of a policy: a dozen, and custom metadata.
_MAX_FIELDS = 200

# The JSON part holds at most 8 KiB of custom metadata and a few short fields; 256 KiB is generous.
_MAX_HEAD_BYTES = 256 << 10


def media_type_parameter(header: str, name: str) -> str | None:
    """Return a parameter of a ``Content-Type`` value, or None."""
    message = Message()
    message["content-type"] = header
    value = message.get_param(name)
    return value if isinstance(value, str) else None


class MultipartUpload:
    """One multipart body. Read :meth:`metadata` first, then iterate over :meth:`media`."""

    def __init__(self, content_type: str, stream: AsyncIterator[bytes]) -> None:
        boundary = media_type_parameter(content_type, "boundary")
        if not boundary:
            raise invalid("Multipart request without a boundary.", reason="badRequest")
        self._delimiter = b"\r\n--" + boundary.encode()
        # The first delimiter has no line break before it; adding one makes all of them alike.
        self._buffer = bytearray(b"\r\n")
        self._stream = stream
        self.media_type: str | None = None

    async def metadata(self) -> dict[str, Any]:
        """Return the JSON part and move on to the media part.

        Raises:
            StorageError: The body is not a JSON part followed by a media part (400).
        """
        await self._take_until(self._delimiter)
        await self._take_until(b"\r\n\r\n")
        text = await self._take_until(self._delimiter)
        head = await self._take_until(b"\r\n\r\n")
        self.media_type = _header(head, b"content-type")
        return parse_object(text)

    async def media(self) -> AsyncIterator[bytes]:
        """Yield the bytes of the media part.

        Raises:
            StorageError: The body ends without the closing delimiter (400).
        """
        keep = len(self._delimiter) - 1
        while (index := self._buffer.find(self._delimiter)) < 0:
            if len(self._buffer) > keep:
                yield bytes(self._buffer[:-keep])
                del self._buffer[:-keep]
            await self._more()
        if index:
            yield bytes(self._buffer[:index])
        async for _ in self._stream:
            pass  # the closing delimiter's rest and any epilogue carry nothing

    async def _take_until(self, mark: bytes) -> bytes:
        while (index := self._buffer.find(mark)) < 0:
            if len(self._buffer) > _MAX_HEAD_BYTES:
                raise invalid("The metadata part is too large.", reason="uploadTooLarge")
            await self._more()
        taken = bytes(self._buffer[:index])
        del self._buffer[: index + len(mark)]
        return taken

    async def _more(self) -> None:
        try:
            self._buffer += await anext(self._stream)
        except StopAsyncIteration:
            message = "Missing end boundary in multipart body."
            raise invalid(message, reason="badRequest") from None


class FormUpload(MultipartUpload):
    """One ``multipart/form-data`` body: fields, then a file, which :meth:`media` yields.

    Attributes:
        file_name: What the browser called the file; empty where it did not say.
    """

    file_name = ""

    async def fields(self) -> dict[str, str]:
        """Return the fields before the file by lower-case name, and move on to the file.

        Raises:
            StorageError: The body is malformed, has a field twice or too many, or no file (400).
        """
        found: dict[str, str] = {}
        await self._take_until(self._delimiter)
        for _ in range(_MAX_FIELDS):
            head = await self._take_until(b"\r\n\r\n")
            disposition = _header(head, b"content-disposition") or ""
            name = (media_type_parameter(disposition, "name") or "").lower()
            if name == "file":
                self.file_name = media_type_parameter(disposition, "filename") or ""
                self.media_type = _header(head, b"content-type")
                return found
            value = await self._take_until(self._delimiter)
            if not name or name in found:
                raise invalid(f"The form field {name!r} has no name, or is given twice.")
            found[name] = value.decode(errors="replace")
        raise invalid("The form has too many fields, or no file.")


def _header(head: bytes, name: bytes) -> str | None:
    for line in head.split(b"\r\n"):
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return value.strip().decode("latin-1")
    return None
