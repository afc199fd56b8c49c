"""Whole databases at once, as the emulator's REST extras have it: cleared, exported, imported.

None of this raises events: it prepares tests, and production has no such call.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from google.protobuf import json_format

from continuon_local.firestore.errors import failed_precondition, invalid_argument, not_found
from continuon_local.firestore.messages import Document
from continuon_local.firestore.paths import decode_id, parse_document_name
from continuon_local.firestore.times import to_timestamp
from continuon_local.firestore.transactions import Change
from continuon_local.firestore.validation import check_document, check_fields

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from continuon_local.firestore.engine import Engine
    from continuon_local.firestore.messages import Message

__all__ = ["FORMAT", "clear", "dump", "load"]

FORMAT = "continuon-local-firestore/1"
"""What ``metadata.json`` of an export says; the documents are proto3 JSON, one to a line."""

_METADATA = "metadata.json"
_DOCUMENTS = "documents.jsonl"
_BATCH = 500
"""Documents imported in one commit."""


def clear(engine: Engine, database: str) -> None:
    """Delete every document of a database. Listeners and transactions see it."""
    engine.settle()
    collections = engine.store.find_group(database, "", None)
    changes: dict[str, Change] = {}
    if engine.is_observed:
        for collection in collections:
            prefix = f"{database}/documents/{collection.path.path}/"
            for stored in engine.store.scan(collection):
                name = prefix + decode_id(stored.key)
                changes[name] = Change(name, Document.FromString(stored.data), None)
    with engine.writing(changes) as version:
        for collection in collections:
            engine.store.clear(collection, version)


def dump(engine: Engine, database: str, folder: Path) -> int:
    """Write every document of a database below ``folder``; return how many there were.

    Raises:
        StatusError: FAILED_PRECONDITION when the folder cannot be written.
    """
    count = 0
    engine.settle()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / _DOCUMENTS).open("w", encoding="utf-8") as file:
            for document in _documents(engine, database):
                file.write(json.dumps(json_format.MessageToDict(document)) + "\n")
                count += 1
        metadata = {"format": FORMAT, "database": database, "documents": count}
        (folder / _METADATA).write_text(json.dumps(metadata) + "\n", encoding="utf-8")
    except OSError as error:
        raise failed_precondition(f"The export could not be written: {error}") from error
    return count


def _documents(engine: Engine, database: str) -> Iterator[Message]:
    for collection in engine.store.find_group(database, "", None):
        for stored in engine.store.scan(collection):
            yield Document.FromString(stored.data)


def load(engine: Engine, database: str, folder: Path) -> int:
    """Store every document of an export, under its path in ``database``; return how many.

    Raises:
        StatusError: NOT_FOUND when there is no export, INVALID_ARGUMENT when it is not one.
    """
    try:
        metadata = json.loads((folder / _METADATA).read_text(encoding="utf-8"))
        if metadata["format"] != FORMAT:
            raise invalid_argument(f'"{folder}" holds an export of another format.')
        with (folder / _DOCUMENTS).open(encoding="utf-8") as file:
            return sum(_store(engine, batch) for batch in _batches(_read(file, database)))
    except OSError as error:
        raise not_found(f'There is no export at "{folder}".') from error
    except (ValueError, KeyError, TypeError, json_format.ParseError) as error:
        raise invalid_argument(f'"{folder}" holds a damaged export: {error}') from error


def _read(lines: Iterable[str], database: str) -> Iterator[Message]:
    for line in lines:
        document: Message = json_format.ParseDict(json.loads(line), Document())
        path = parse_document_name(document.name).path
        document.name = f"{database}/documents/{path}"
        check_fields(document.fields)
        check_document(path, document)
        yield document


def _batches(documents: Iterator[Message]) -> Iterator[Sequence[Message]]:
    batch: list[Message] = []
    for document in documents:
        batch.append(document)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    yield batch


def _store(engine: Engine, documents: Sequence[Message]) -> int:
    changes: dict[str, Change] = {}
    with engine.writing(changes) as version:
        for document in documents:
            name = parse_document_name(document.name)
            stored = engine.store.get(name)
            old = None if stored is None else Document.FromString(stored.data)
            if not document.HasField("create_time"):
                document.create_time.CopyFrom(to_timestamp(version))
            document.update_time.CopyFrom(to_timestamp(version))
            engine.store.put(name, version, document, stored, old)
            changes[document.name] = Change(document.name, old, document)
    return len(documents)
