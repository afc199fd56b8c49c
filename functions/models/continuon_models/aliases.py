"""Aliases and their history in Firestore."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from google.cloud import firestore
from google.cloud.firestore import FieldFilter

from continuon.errors import ProblemError
from continuon.platform.audit import append_audit
from continuon.platform.firestore import RPC, firestore_client, firestore_errors
from continuon.platform.transactions import fetch, transact
from continuon_models.errors import ALIAS_NOT_FOUND
from continuon_models.records import AliasRecord
from continuon_models.store import version_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from continuon.platform.firestore import Snapshot
    from continuon_models.records import VersionRecord

__all__ = ["AliasStore"]

_MODELS: Final = "models"
_VERSIONS: Final = "versions"
_ALIASES: Final = "aliases"
_HISTORY: Final = "history"


class AliasStore:
    """Reads and writes of aliases, in the words of the domain."""

    def __init__(self) -> None:
        self._documents = firestore_client()

    def _alias(self, model_id: str, alias: str) -> firestore.AsyncDocumentReference:
        aliases = self._documents.collection(_MODELS).document(model_id).collection(_ALIASES)
        reference: firestore.AsyncDocumentReference = aliases.document(alias)
        return reference

    async def alias(self, model_id: str, alias: str) -> AliasRecord | None:
        """Return an alias as it is now, or None when it was never set."""
        with firestore_errors():
            snapshot = await self._alias(model_id, alias).get(**RPC)
        return _alias_of(snapshot)

    async def aliases(self, model_id: str) -> list[AliasRecord]:
        """Return every alias of a model that points at something, by name."""
        query = self._documents.collection(_MODELS).document(model_id).collection(_ALIASES)
        records = [_alias_of(snapshot) for snapshot in await fetch(query)]
        return [record for record in records if record is not None and record.version]

    async def move_alias(
        self,
        model_id: str,
        alias: str,
        target: int | None,
        decide: Callable[[AliasRecord | None, VersionRecord | None], AliasRecord | None],
        *,
        now: datetime,
    ) -> AliasRecord:
        """Move an alias and add the move to its history, in one transaction.

        The version is read in it too: one that is deleted at the same moment is never pointed at.

        Args:
            model_id: An existing model.
            alias: Which one.
            target: The version that ``decide`` needs.
            decide: Given the alias and the version as they are, returns the alias as it shall be,
                or None for "leave it".
            now: The invocation's reading of the clock.

        Raises:
            ProblemError: Whatever ``decide`` refuses with, or ``model.alias_not_found``.
        """
        reference = self._alias(model_id, alias)
        model = self._documents.collection(_MODELS).document(model_id)

        async def work(transaction: firestore.AsyncTransaction) -> AliasRecord:
            present = _alias_of(await reference.get(transaction=transaction, **RPC))
            version = None
            if target is not None:
                document = model.collection(_VERSIONS).document(str(target))
                version = version_of(await document.get(transaction=transaction, **RPC))
            moved = decide(present, version)
            if moved is None:
                if present is None:
                    raise ProblemError(ALIAS_NOT_FOUND)
                return present
            entry = reference.collection(_HISTORY).document(str(moved.revision))
            transaction.set(reference, moved.model_dump())
            transaction.create(entry, moved.model_dump())
            action, subject = "model.alias", reference.path
            append_audit(transaction, actor=moved.by, action=action, subject=subject, now=now)
            return moved

        return await transact(work)

    async def alias_at(self, model_id: str, alias: str, moment: datetime) -> AliasRecord | None:
        """Return an alias as it was at ``moment``: one billed read."""
        query = (
            self._alias(model_id, alias)
            .collection(_HISTORY)
            .where(filter=FieldFilter("at", "<=", moment))
            .order_by("at", direction=firestore.Query.DESCENDING)
            .limit(1)
        )
        found = await fetch(query)
        return _alias_of(found[0]) if found else None

    async def alias_history(
        self, model_id: str, alias: str, *, before: int | None, size: int
    ) -> list[AliasRecord]:
        """Return up to ``size`` changes of an alias, newest first, those below ``before``."""
        query = (
            self._alias(model_id, alias)
            .collection(_HISTORY)
            .order_by("revision", direction=firestore.Query.DESCENDING)
            .limit(size)
        )
        if before is not None:
            query = query.where(filter=FieldFilter("revision", "<", before))
        records = [_alias_of(snapshot) for snapshot in await fetch(query)]
        return [record for record in records if record is not None]


def _alias_of(snapshot: Snapshot) -> AliasRecord | None:
    data = snapshot.to_dict()
    return AliasRecord.model_validate(data) if data else None
