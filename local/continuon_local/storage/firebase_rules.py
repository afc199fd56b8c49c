"""Who calls a Firebase Storage path, and what the security rules say about it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from continuon_local.auth.tokens import decode_unsigned
from continuon_local.firestore.rules_values import claims_value
from continuon_local.meter import Operation
from continuon_local.rules import (
    ABSENT,
    AccessBudget,
    EvaluationError,
    RulesError,
    Ruleset,
    RulesRequest,
)
from continuon_local.rules.limits import MAX_ACCESS_CALLS_OF_STORAGE
from continuon_local.rules.values import Timestamp
from continuon_local.storage.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from continuon_local.rules import DocumentReader
    from continuon_local.storage.call import Call
    from continuon_local.storage.records import ObjectRecord

__all__ = ["Caller", "DocumentSource", "StorageRules", "caller_of"]

_LOG = logging.getLogger(__name__)

_ISSUER = "https://securetoken.google.com/"
_TOKEN_SCHEMES = ("Firebase ", "Bearer ")
_TEXTS = (
    "contentType",
    "cacheControl",
    "contentDisposition",
    "contentEncoding",
    "contentLanguage",
    "storageClass",
)


@dataclass(frozen=True)
class Caller:
    """Who asks: the administrator, or a user of the application.

    Attributes:
        auth: What rules see as ``request.auth``; None for a caller that is not signed in.
    """

    admin: bool
    auth: dict[str, Any] | None = None


def caller_of(call: Call) -> Caller:
    """Return who sent a request.

    Raises:
        StorageError: The token is none of the local cloud's, or expired (401).
    """
    authorization = call.headers.get("authorization")
    if not authorization:
        return Caller(admin=False)
    for scheme in _TOKEN_SCHEMES:
        if authorization.startswith(scheme):
            token = authorization.removeprefix(scheme)
            break
    else:
        raise _unauthenticated()
    if token == "owner":  # noqa: S105 - the name that emulators give the administrator
        return Caller(admin=True)
    context = call.engine.context
    return Caller(
        admin=False, auth=_auth(token, context.project_id, context.clock.now().timestamp())
    )


def _auth(token: str, project_id: str, now_s: float) -> dict[str, Any]:
    try:
        claims = decode_unsigned(token)
    except ValueError:
        raise _unauthenticated() from None
    subject, expires, issued = (claims.get(name) for name in ("sub", "exp", "iat"))
    known = claims.get("aud") == project_id and claims.get("iss") == f"{_ISSUER}{project_id}"
    if not known or not isinstance(subject, str) or not subject or type(expires) is not int:
        raise _unauthenticated()
    # A token issued at 0 never expires: @firebase/rules-unit-testing makes its users so.
    if issued != 0 and expires <= now_s:
        raise _unauthenticated()
    return {"uid": subject, "token": claims_value(claims)}


def _unauthenticated() -> StorageError:
    message = "Missing or invalid authentication."
    return StorageError(401, "unauthenticated", "Unauthenticated", message)


class DocumentSource(Protocol):
    """What the local Firestore does for storage rules."""

    def rules_documents(self, project_id: str) -> DocumentReader:
        """Return a reader of the project's default database."""
        ...


class _NoFirestore:
    """Answers where no Firestore runs beside: nothing must look like a missing document."""

    def read(self, path: Sequence[str], *, after: bool) -> Mapping[str, Any] | None:  # noqa: ARG002
        raise EvaluationError("There is no local Firestore in this process.")


class StorageRules:
    """The ruleset in ``storage.rules``, read again when the file changes.

    Without a file, or with one that does not load, nobody but the administrator may do anything.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._ruleset: Ruleset | None = None
        self._documents: DocumentReader = _NoFirestore()

    def connect(self, documents: DocumentReader) -> None:
        """Let ``firestore.get`` and ``firestore.exists`` read ``documents``."""
        self._documents = documents

    def check(
        self,
        call: Call,
        method: str,
        key: tuple[str, str],
        *,
        before: ObjectRecord | None = None,
        after: ObjectRecord | None = None,
    ) -> None:
        """Refuse what the rules do not allow.

        Args:
            call: The request, whose caller is asked about.
            method: ``get``, ``list``, ``create``, ``update`` or ``delete``.
            key: The bucket and the object, or the prefix of a listing.
            before: The object as it is.
            after: The object as it would be.

        Raises:
            StorageError: The caller may not (403), or the token is no good (401).
        """
        caller = caller_of(call)
        if caller.admin:
            return
        ruleset = self._current()
        bucket, name = key
        request = RulesRequest(
            service="firebase.storage",
            method=method,
            path=("b", bucket, "o", *(part for part in name.split("/") if part)),
            time=_timestamp(call.engine.context.clock.now()),
            auth=caller.auth,
            resource=None if before is None else _value(before),
            new_resource=_new_value(method, after),
        )
        if ruleset is None or not self._allows(ruleset, request, call):
            message = "Permission denied. No READ permission."
            if method not in {"get", "list"}:
                message = "Permission denied. No WRITE permission."
            raise StorageError(403, "forbidden", "AccessDenied", message)

    def _allows(self, ruleset: Ruleset, request: RulesRequest, call: Call) -> bool:
        """Evaluate; the documents that rules read are billed whatever comes out."""
        most = MAX_ACCESS_CALLS_OF_STORAGE
        budget = AccessBudget(per_operation=most, total=most)
        decision = ruleset.evaluate(request, self._documents, budget)
        if budget.counted:
            call.count(Operation.FIRESTORE_READ, budget.counted)
        if not decision.allowed:
            _LOG.info("rules refused %s: %s", request.method, decision.explain())
        return decision.allowed

    def _current(self) -> Ruleset | None:
        if self._path is None:
            return None
        try:
            found = self._path.stat()
            stamp = (found.st_mtime_ns, found.st_size)
            if stamp != self._stamp:
                self._stamp, self._ruleset = stamp, None
                self._ruleset = Ruleset.parse(self._path.read_text(encoding="utf-8"))
        except RulesError as error:
            _LOG.error("%s: %s", self._path, error)
        except (OSError, UnicodeError) as error:
            self._stamp = self._ruleset = None
            _LOG.error("%s cannot be read: %s", self._path, error)
        return self._ruleset


def _timestamp(moment: datetime) -> Timestamp:
    return Timestamp(int(moment.timestamp() * 1_000_000) * 1000)


def _new_value(method: str, after: ObjectRecord | None) -> Any:
    if method in {"get", "list"}:
        return ABSENT
    return None if after is None else _value(after)


def _value(record: ObjectRecord) -> dict[str, Any]:
    """Return an object as rules see it."""
    resource = record.resource("")
    value: dict[str, Any] = {
        "name": record.name,
        "bucket": record.bucket,
        "generation": record.generation,
        "metageneration": record.metageneration,
        "size": record.size,
        "timeCreated": _timestamp(datetime.fromisoformat(record.created)),
        "updated": _timestamp(datetime.fromisoformat(record.updated)),
        "crc32c": resource["crc32c"],
        "etag": record.etag,
        "metadata": dict(record.fields.get("metadata") or {}),
    }
    if "md5Hash" in resource:
        value["md5Hash"] = resource["md5Hash"]
    value |= {name: resource[name] for name in _TEXTS if name in resource}
    value["metadata"].pop("firebaseStorageDownloadTokens", None)
    return value
