"""The requests of a resumable session, which are alike in both APIs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response

from continuon_local.meter import Operation
from continuon_local.storage.checksums import Expected
from continuon_local.storage.errors import StorageError, invalid
from continuon_local.storage.ranges import ContentRange, parse_content_range
from continuon_local.storage.resumable import CHUNK_UNIT_BYTES

if TYPE_CHECKING:
    from continuon_local.storage.call import Call
    from continuon_local.storage.records import ObjectRecord
    from continuon_local.storage.upload_session import Session

__all__ = ["cancel_upload", "continue_upload", "incomplete"]


def incomplete(call: Call, session: Session) -> Response:
    """Answer 308 and say how many bytes are safe.

    Browsers follow a 308 by themselves; their clients ask for a 200 that carries it in a header.
    """
    headers = {"content-length": "0", "x-guploader-uploadid": session.id}
    if session.persisted:
        headers["range"] = f"bytes=0-{session.persisted - 1}"
    if call.headers.get("x-guploader-no-308") == "yes":
        headers["x-http-status-code-override"] = "308"
        return Response(status_code=200, headers=headers)
    return Response(status_code=308, headers=headers)


async def cancel_upload(call: Call, session_id: str) -> Response:
    """Answer ``DELETE`` of a session: 499, as the service does."""
    session = await call.engine.sessions.settled(session_id)
    _check_path(session)
    await call.engine.sessions.cancel(session)
    return Response(status_code=499, headers={"content-length": "0"})


def _check_path(session: Session) -> None:
    """Refuse a session of Firebase Storage: its end has to pass the security rules."""
    if session.fields.get("judged"):
        raise StorageError(404, "notFound", "NoSuchUpload", "No such upload session.")


async def continue_upload(call: Call, session_id: str) -> ObjectRecord | Session:
    """Take the next bytes, or answer how far the upload is; finish it when all are there.

    Raises:
        StorageError: The request contradicts the session (400), leaves a gap (503), or the
            finished upload is refused (400, 412). The session is gone (404, 410, 499).
    """
    sessions = call.engine.sessions
    session = await sessions.settled(session_id)
    _check_path(session)
    if session.result is not None:
        return session.result
    part = _part(call)
    total = part.total
    if total is not None:
        await _check_total(call, session, total)
    if part.start is not None:
        session = await _append(call, session, part)
        if part.end is None:
            total = session.persisted  # a body of unknown length that has ended
    if total is None or session.persisted < total:
        return session
    return await sessions.complete(session, _expected(call, part))


def _expected(call: Call, part: ContentRange) -> Expected:
    """Read the checksums of the whole object; ``Content-MD5`` is that of this request's body."""
    headers = dict(call.headers)
    if part.start != 0:
        headers.pop("content-md5", None)
    return Expected.from_headers(headers)


def _part(call: Call) -> ContentRange:
    header = call.headers.get("content-range")
    if header is None:
        # The whole object in one request.
        return ContentRange(0, call.content_length, call.content_length)
    part = parse_content_range(header)
    length = call.content_length
    if part.start is not None and part.end is not None:
        if length not in {None, part.end - part.start}:
            raise invalid("Content-Length and Content-Range do not agree.")
        last = part.total is not None and part.end == part.total
        if not last and (part.end - part.start) % CHUNK_UNIT_BYTES:
            message = f"Chunks but the last must be multiples of {CHUNK_UNIT_BYTES} bytes."
            raise invalid(message)
    return part


async def _check_total(call: Call, session: Session, total: int) -> None:
    if session.total not in {None, total} or total < session.persisted:
        raise invalid("The size of the upload differs from what was announced.")
    try:
        session.sizes.check(total)
    except StorageError:
        await call.engine.sessions.end(session, "failed")
        raise


async def _append(call: Call, session: Session, part: ContentRange) -> Session:
    start = part.start or 0
    if start > session.persisted:
        # The service answers 503 to a gap, which makes clients ask how far the upload is.
        message = f"Bytes {session.persisted} to {start - 1} are missing."
        raise StorageError(503, "backendError", "ServiceUnavailable", message)
    sessions = call.engine.sessions
    before = session.persisted
    # A chunk that ends before what is safe already has nothing to add.
    end = None if part.end is None else max(part.end, before)
    work = sessions.append(session, call.stream(), skip=before - start, end=end)
    try:
        await sessions.exclusively(session.id, work)
    except StorageError as error:
        if error.code == "EntityTooLarge":
            await sessions.end(session, "failed")
        raise
    finally:
        after = sessions.persisted(session.id)
        call.count(Operation.STORAGE_INGRESS_BYTES, max(0, after - before))
    return sessions.get(session.id)
