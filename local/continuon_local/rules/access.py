"""Documents that rules read, and how many they may."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from continuon_local.rules.errors import EvaluationError
from continuon_local.rules.limits import MAX_ACCESS_CALLS, MAX_ACCESS_CALLS_OF_BATCH
from continuon_local.rules.values import Path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["AccessBudget", "DocumentReader", "NoDocuments", "PathText", "resource_value"]

_ROOT = ("databases", None, "documents")


class DocumentReader(Protocol):
    """Reads the documents that rules ask for."""

    def read(self, path: Sequence[str], *, after: bool) -> Mapping[str, Any] | None:
        """Return the fields of a document as rules values, None when it does not exist.

        Args:
            path: Collection and document ids in turn.
            after: As it will be once the whole request has been applied.
        """
        ...


class NoDocuments:
    """A reader of an empty database."""

    def read(self, path: Sequence[str], *, after: bool) -> Mapping[str, Any] | None:  # noqa: ARG002
        """Return None."""
        return None


@dataclass(slots=True)
class AccessBudget:
    """What may still be read, and what has been.

    One budget serves all evaluations of one request; a document read before is not counted again.

    Attributes:
        per_operation: Documents that one evaluation may read.
        total: Documents that all evaluations of the request may read.
    """

    per_operation: int = MAX_ACCESS_CALLS
    total: int = MAX_ACCESS_CALLS_OF_BATCH
    _seen: dict[tuple[str, ...], Any] = field(default_factory=dict)
    _counted: set[tuple[str, ...]] = field(default_factory=set)
    _operation: set[tuple[str, ...]] = field(default_factory=set)

    @property
    def counted(self) -> int:
        """How many documents were read, as they are billed."""
        return len(self._counted)

    def begin(self) -> None:
        """Begin the evaluation for one operation of the request."""
        self._operation.clear()

    def read(
        self, reader: DocumentReader, path: tuple[str, ...], *, after: bool, own: bool
    ) -> Mapping[str, Any] | None:
        """Return a document's fields.

        Args:
            reader: Where it is read.
            path: The document.
            after: After the request.
            own: It is the one that the operation is about, which costs nothing.

        Raises:
            EvaluationError: Too many documents.
        """
        if not own:
            self._count(path)
        key = ("after" if after else "before", *path)
        if key not in self._seen:
            self._seen[key] = reader.read(path, after=after)
        found: Mapping[str, Any] | None = self._seen[key]
        return found

    def _count(self, path: tuple[str, ...]) -> None:
        self._counted.add(path)
        self._operation.add(path)
        if len(self._operation) > self.per_operation or len(self._counted) > self.total:
            raise EvaluationError("Service call error: too many documents read.")


@dataclass(frozen=True, slots=True)
class PathText:
    """A path of ``get`` or ``exists``, checked: its database and what follows ``documents``."""

    database: str
    segments: tuple[str, ...]

    @classmethod
    def of(cls, value: Any, function: str) -> PathText:
        """Check the argument of ``function``.

        Raises:
            EvaluationError: It does not name a document.
        """
        if not isinstance(value, Path):
            raise EvaluationError(f"Unsupported operation error. {function} expects a path.")
        parts = [part if isinstance(part, str) else part.value for part in value.segments]
        text = [part for part in parts if part]
        below = text[len(_ROOT) :]
        rooted = (
            len(text) == len(parts) and text[:1] == ["databases"] and text[2:3] == ["documents"]
        )
        if not rooted or not below or len(below) % 2 or any("/" in part for part in text):
            raise EvaluationError(
                f"Service call error. Function: [{function}], Argument: [{value.text()}]."
            )
        return cls(text[1], tuple(below))


def resource_value(database: str, path: Sequence[str], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return what rules see of a document: ``data``, ``id`` and ``__name__``."""
    name = Path(("databases", database, "documents", *path))
    return {"data": dict(fields), "id": path[-1], "__name__": name}
