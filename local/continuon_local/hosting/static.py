"""Static files: what is served under a path, and with which headers."""

from __future__ import annotations

import hashlib
import mimetypes
import re
from dataclasses import dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.types import Send

    from continuon_local.functions.forward import Headers
    from continuon_local.hosting.config import HostingConfig

__all__ = ["Moved", "StaticFile", "StaticFiles", "send_file"]

CACHE_CONTROL = b"max-age=3600"
"""What Firebase Hosting says of static content that no ``headers`` rule speaks of."""

_CHUNK_BYTES = 65536
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_TYPES = {
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
    ".ipynb": "application/x-ipynb+json",
}
_TEXT = re.compile(r"text/.*|application/(json|javascript|manifest\+json)|image/svg\+xml")


@dataclass(frozen=True, kw_only=True)
class Moved:
    """The content is served under another path (clean URLs, trailing slashes)."""

    location: str


@dataclass(frozen=True, kw_only=True)
class StaticFile:
    """A file that may be served."""

    path: Path
    etag: str
    size: int
    modified_s: float

    @property
    def content_type(self) -> str:
        """By the file's name; text is UTF-8."""
        suffix = self.path.suffix.lower()
        kind = _TYPES.get(suffix) or mimetypes.guess_type(self.path.name)[0]
        kind = kind or "application/octet-stream"
        return f"{kind}; charset=utf-8" if _TEXT.fullmatch(kind) else kind


class StaticFiles:
    """The files below ``config.public`` that are not ignored."""

    def __init__(self, config: HostingConfig) -> None:
        self._config = config
        self._root = config.public
        self._etags: dict[tuple[Path, int, int], str] = {}

    def resolve(self, path: str) -> StaticFile | Moved | None:
        """Return what is served under the decoded URL ``path``, or None."""
        exact = self.file(path) if not path.endswith("/") else None
        if exact is not None:
            return self._canonical_file(path) or exact
        return self._page(path) or self._directory(path)

    def file(self, path: str) -> StaticFile | None:
        """Return the file at exactly ``path``, or None where none may be served."""
        relative = path.lstrip("/")
        if not _safe(relative) or self._ignored(relative):
            return None
        found = (self._root / relative).resolve()
        # A link may point out of the public folder; what it points at was never published.
        if not found.is_relative_to(self._root) or not found.is_file():
            return None
        status = found.stat()
        return StaticFile(
            path=found,
            etag=self._etag(found, status.st_mtime_ns, status.st_size),
            size=status.st_size,
            modified_s=status.st_mtime,
        )

    def _canonical_file(self, path: str) -> Moved | None:
        if not self._config.clean_urls or not path.endswith(".html"):
            return None
        clean = path.removesuffix(".html")
        if clean.endswith("/index"):
            clean = clean.removesuffix("index")
            if self._config.trailing_slash is False and clean != "/":
                clean = clean.removesuffix("/")
        elif self._config.trailing_slash:
            clean += "/"
        return Moved(location=clean)

    def _page(self, path: str) -> StaticFile | Moved | None:
        """Clean URLs: ``/about`` is ``about.html``."""
        bare = path.rstrip("/")
        if not self._config.clean_urls or not bare:
            return None
        page = self.file(bare + ".html")
        if page is None:
            return None
        return self._slash(path, wanted=bool(self._config.trailing_slash)) or page

    def _directory(self, path: str) -> StaticFile | Moved | None:
        index = self.file(path.rstrip("/") + "/index.html")
        if index is None:
            return None
        wanted = self._config.trailing_slash
        if wanted is None:
            # Left alone, a folder gets its slash so that relative links work.
            wanted = not self._config.clean_urls or path.endswith("/")
        return self._slash(path, wanted=wanted) or index

    @staticmethod
    def _slash(path: str, *, wanted: bool) -> Moved | None:
        if path == "/" or path.endswith("/") == wanted:
            return None
        return Moved(location=path + "/" if wanted else path.rstrip("/"))

    def _ignored(self, relative: str) -> bool:
        return any(
            pattern.match(f"/{relative}") is not None or pattern.match(relative) is not None
            for pattern in self._config.ignore
        )

    def _etag(self, path: Path, modified_ns: int, size: int) -> str:
        key = (path, modified_ns, size)
        if key not in self._etags:
            with path.open("rb") as file:
                self._etags[key] = f'"{hashlib.file_digest(file, "sha256").hexdigest()}"'
        return self._etags[key]


def _safe(relative: str) -> bool:
    """Whether the path has no hidden, empty or climbing segment (``.well-known`` is public)."""
    if "\\" in relative or "\0" in relative:
        return False
    return all(
        segment and (not segment.startswith(".") or segment == ".well-known")
        for segment in relative.split("/")
    )


async def send_file(
    send: Send,
    file: StaticFile,
    *,
    status: int,
    request: dict[bytes, bytes],
    head: bool,
    extra: Headers,
) -> None:
    """Answer with ``file``, honouring ``If-None-Match`` and one ``Range`` on a 200.

    Args:
        send: Takes the answer.
        file: What to send.
        status: 200, or 404 for a page that says so.
        request: The request's headers by lower-case name.
        head: Leave out the body.
        extra: Headers that the ``headers`` rules add; they win over the defaults.
    """
    headers = _file_headers(file, extra)
    first, last = 0, file.size - 1
    if status == 200:  # noqa: PLR2004 - HTTP
        if _matches(request.get(b"if-none-match", b""), file.etag):
            await _send_head(send, 304, headers)
            return
        wanted = _range(request, file)
        if wanted is not None:
            first, last = wanted
            if first > last:
                unsatisfied = (b"content-range", f"bytes */{file.size}".encode())
                await _send_head(send, 416, [*headers, unsatisfied, (b"content-length", b"0")])
                return
            status = 206
            headers.append((b"content-range", f"bytes {first}-{last}/{file.size}".encode()))
    headers.append((b"content-length", str(last - first + 1).encode()))
    if head:
        await _send_head(send, status, headers)
        return
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await _send_bytes(send, file.path, first, last - first + 1)


def _file_headers(file: StaticFile, extra: Headers) -> Headers:
    named = {name for name, _ in extra}
    defaults = [
        (b"content-type", file.content_type.encode()),
        (b"cache-control", CACHE_CONTROL),
        (b"etag", file.etag.encode()),
        (b"last-modified", formatdate(file.modified_s, usegmt=True).encode()),
        (b"accept-ranges", b"bytes"),
    ]
    return [*(header for header in defaults if header[0] not in named), *extra]


def _matches(header: bytes, etag: str) -> bool:
    tags = [tag.strip().removeprefix("W/") for tag in header.decode("latin-1").split(",")]
    return etag in tags or "*" in tags


def _range(request: dict[bytes, bytes], file: StaticFile) -> tuple[int, int] | None:
    """Return the first and last byte asked for; an empty interval where none can be had."""
    condition = request.get(b"if-range")
    if condition is not None and condition.decode("latin-1") != file.etag:
        return None
    found = _RANGE.fullmatch(request.get(b"range", b"").decode("latin-1"))
    if found is None or found[0] == "bytes=-":
        return None
    if not found[1]:
        length = int(found[2])
        return (max(file.size - length, 0), file.size - 1) if length else (1, 0)
    first = int(found[1])
    last = min(int(found[2]), file.size - 1) if found[2] else file.size - 1
    if found[2] and int(found[2]) < first:
        return None  # syntactically invalid: ignored (RFC 9110, section 14.1.1)
    return (first, last) if first < file.size else (1, 0)


async def _send_head(send: Send, status: int, headers: Headers) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def _send_bytes(send: Send, path: Path, first: int, length: int) -> None:
    with path.open("rb") as file:
        file.seek(first)
        while length > 0 and (chunk := file.read(min(_CHUNK_BYTES, length))):
            length -= len(chunk)
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
