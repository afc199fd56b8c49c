"""Documents in SQLite: the current ones in key order, and an hour of superseded versions.

Collections are interned to small integers, so that one collection is one range of the index on
``(collection, key)``; ``key`` is the document id encoded to sort as Firestore sorts ids. A version
is a commit time in microseconds; it only grows, also over restarts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from continuon_local.firestore.field_index import FieldIndexes
from continuon_local.firestore.limits import READ_TIME_WINDOW_S
from continuon_local.firestore.paths import CollectionPath, decode_id, encode_id

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

    from continuon_local.firestore.messages import Message
    from continuon_local.firestore.paths import DocumentName

__all__ = ["Collection", "DocumentStore", "StoredDocument"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS collections (
    id INTEGER PRIMARY KEY,
    database TEXT NOT NULL,
    path TEXT NOT NULL,
    parent TEXT NOT NULL,
    collection_id TEXT NOT NULL,
    UNIQUE (database, path)
);
CREATE INDEX IF NOT EXISTS collections_by_id ON collections (database, collection_id);
CREATE INDEX IF NOT EXISTS collections_by_parent ON collections (database, parent);
CREATE TABLE IF NOT EXISTS documents (
    id INTEGER PRIMARY KEY,
    collection INTEGER NOT NULL,
    key BLOB NOT NULL,
    version INTEGER NOT NULL,
    data BLOB NOT NULL,
    UNIQUE (collection, key)
);
CREATE TABLE IF NOT EXISTS history (
    collection INTEGER NOT NULL,
    key BLOB NOT NULL,
    version INTEGER NOT NULL,
    superseded INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (collection, key, superseded)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS history_by_time ON history (superseded);
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
"""
_MICROSECONDS = 1_000_000
_PRUNE_EVERY_COMMITS = 1024


@dataclass(frozen=True, slots=True)
class Collection:
    """An interned collection.

    Attributes:
        number: The integer that stands for it in the tables.
        path: What it is called.
    """

    number: int
    path: CollectionPath


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """One version of one document.

    Attributes:
        number: The integer that stands for the document in indexes; 0 for one of the history.
        key: The encoded document id.
        version: Its update time, microseconds.
        data: The serialized ``Document``, name and times included.
    """

    number: int
    key: bytes
    version: int
    data: bytes


class DocumentStore:
    """Reads and writes documents; the caller owns the transaction on the connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        connection.executescript(_SCHEMA)
        self._connection = connection
        self.indexes = FieldIndexes(connection)
        self._collections: dict[CollectionPath, Collection] = {}
        row = connection.execute("SELECT value FROM state WHERE name = 'last_version'").fetchone()
        self.last_version: int = row[0] if row else 0
        self._started_version = self.last_version
        self._changed: dict[int, int] = {}
        self._commits = 0

    def find_collection(self, path: CollectionPath) -> Collection | None:
        """Return the collection, or None when it never held a document."""
        known = self._collections.get(path)
        if known is not None:
            return known
        row = self._connection.execute(
            "SELECT id FROM collections WHERE database = ? AND path = ?",
            (path.database, path.path),
        ).fetchone()
        if row is None:
            return None
        found = Collection(row[0], path)
        if not self._connection.in_transaction:
            # Within a transaction the row may be one that is still rolled back.
            self._collections[path] = found
        return found

    def _intern(self, path: CollectionPath) -> Collection:
        found = self.find_collection(path)
        if found is not None:
            return found
        cursor = self._connection.execute(
            "INSERT INTO collections (database, path, parent, collection_id) VALUES (?, ?, ?, ?)",
            (path.database, path.path, path.parent, path.collection_id),
        )
        return Collection(int(cursor.lastrowid or 0), path)

    def find_group(
        self, database: str, parent: str, collection_id: str | None
    ) -> Sequence[Collection]:
        """Return the collections below ``parent`` (empty: the root) with one id, or all of them."""
        query = "SELECT id, path FROM collections WHERE database = ?"
        arguments: list[str] = [database]
        if collection_id is not None:
            query += " AND collection_id = ?"
            arguments.append(collection_id)
        if parent:
            # "0" follows "/" in ASCII: the range holds exactly the paths below the parent.
            query += " AND path > ? AND path < ?"
            arguments += [parent + "/", parent + "0"]
        rows = self._connection.execute(query, arguments)
        return [Collection(row[0], CollectionPath(database, row[1])) for row in rows]

    def databases_with(self, collection_id: str) -> Sequence[str]:
        """Return the databases that have a collection with an id."""
        rows = self._connection.execute(
            "SELECT DISTINCT database FROM collections WHERE collection_id = ?", (collection_id,)
        )
        return [row[0] for row in rows]

    def get(self, name: DocumentName) -> StoredDocument | None:
        """Return the current version of a document."""
        collection = self.find_collection(name.collection)
        if collection is None:
            return None
        key = encode_id(name.document_id)
        row = self._connection.execute(
            "SELECT id, version, data FROM documents WHERE collection = ? AND key = ?",
            (collection.number, key),
        ).fetchone()
        return None if row is None else StoredDocument(row[0], key, row[1], row[2])

    def version_of(self, name: DocumentName) -> int:
        """Return a document's version, 0 when there is none."""
        collection = self.find_collection(name.collection)
        if collection is None:
            return 0
        row = self._connection.execute(
            "SELECT version FROM documents WHERE collection = ? AND key = ?",
            (collection.number, encode_id(name.document_id)),
        ).fetchone()
        return int(row[0]) if row else 0

    def get_at(self, name: DocumentName, version: int) -> StoredDocument | None:
        """Return the document as it was at ``version``."""
        current = self.get(name)
        if current is not None and current.version <= version:
            return current
        collection = self.find_collection(name.collection)
        if collection is None:
            return None
        key = encode_id(name.document_id)
        row = self._connection.execute(
            "SELECT version, data FROM history WHERE collection = ? AND key = ?"
            " AND version <= ? AND superseded > ?",
            (collection.number, key, version, version),
        ).fetchone()
        return None if row is None else StoredDocument(0, key, row[0], row[1])

    def scan(
        self,
        collection: Collection,
        *,
        start: bytes = b"",
        end: bytes | None = None,
        descending: bool = False,
        limit: int | None = None,
    ) -> Iterator[StoredDocument]:
        """Yield the current documents with ``start <= key < end`` in the order of their ids."""
        query = "SELECT id, key, version, data FROM documents WHERE collection = ? AND key >= ?"
        arguments: list[int | bytes] = [collection.number, start]
        if end is not None:
            query += " AND key < ?"
            arguments.append(end)
        query += " ORDER BY key DESC" if descending else " ORDER BY key"
        query += " LIMIT ?"
        arguments.append(-1 if limit is None else limit)
        for row in self._connection.execute(query, arguments):
            yield StoredDocument(*row)

    def changed_since(self, collection: Collection, version: int) -> bool:
        """Tell whether the collection may have changed after ``version``."""
        return self._changed.get(collection.number, self._started_version) > version

    def scan_at(
        self,
        collection: Collection,
        version: int,
        *,
        after: bytes = b"",
        limit: int | None = None,
    ) -> Iterator[StoredDocument]:
        """Yield documents as they were at ``version``, with ``key > after``, in id order."""
        rows = self._connection.execute(
            "SELECT key, version, data FROM documents"
            " WHERE collection = ?1 AND key > ?3 AND version <= ?2"
            " UNION ALL SELECT key, version, data FROM history WHERE collection = ?1"
            " AND key > ?3 AND version <= ?2 AND superseded > ?2 ORDER BY key LIMIT ?4",
            (collection.number, version, after, -1 if limit is None else limit),
        )
        for key, at, data in rows:
            yield StoredDocument(0, key, at, data)

    def put(
        self,
        name: DocumentName,
        version: int,
        new: Message,
        stored: StoredDocument | None,
        old: Message | None,
    ) -> None:
        """Store ``new`` in place of ``stored``, which is ``old`` parsed."""
        collection = self._intern(name.collection)
        data = new.SerializeToString()
        if stored is None:
            cursor = self._connection.execute(
                "INSERT INTO documents (collection, key, version, data) VALUES (?, ?, ?, ?)",
                (collection.number, encode_id(name.document_id), version, data),
            )
            number = int(cursor.lastrowid or 0)
        else:
            number = stored.number
            self._supersede(collection, stored, version)
            self._connection.execute(
                "UPDATE documents SET version = ?, data = ? WHERE id = ?", (version, data, number)
            )
        self.indexes.update(collection.number, number, old, new)
        self._changed[collection.number] = version

    def delete(
        self, name: DocumentName, version: int, stored: StoredDocument, old: Message
    ) -> None:
        """Remove ``stored``, which is ``old`` parsed, keeping it in the history."""
        collection = self._intern(name.collection)
        self._supersede(collection, stored, version)
        self._connection.execute("DELETE FROM documents WHERE id = ?", (stored.number,))
        self.indexes.update(collection.number, stored.number, old, None)
        self._changed[collection.number] = version

    def clear(self, collection: Collection, version: int) -> None:
        """Remove every document of a collection, keeping them in the history."""
        self._connection.execute(
            "INSERT INTO history (collection, key, version, superseded, data)"
            " SELECT collection, key, version, ?, data FROM documents WHERE collection = ?",
            (version, collection.number),
        )
        self._connection.execute("DELETE FROM documents WHERE collection = ?", (collection.number,))
        self.indexes.clear(collection.number)
        self._changed[collection.number] = version

    def _supersede(self, collection: Collection, old: StoredDocument, version: int) -> None:
        self._connection.execute(
            "INSERT INTO history (collection, key, version, superseded, data)"
            " VALUES (?, ?, ?, ?, ?)",
            (collection.number, old.key, old.version, version, old.data),
        )

    def advance(self, version: int) -> None:
        """Record ``version`` as the last one, in the open transaction; drop what is too old."""
        self._connection.execute(
            "INSERT INTO state VALUES ('last_version', ?1)"
            " ON CONFLICT (name) DO UPDATE SET value = ?1",
            (version,),
        )
        self.last_version = version
        self._commits += 1
        if self._commits % _PRUNE_EVERY_COMMITS == 0:
            oldest = version - READ_TIME_WINDOW_S * _MICROSECONDS
            self._connection.execute("DELETE FROM history WHERE superseded < ?", (oldest,))

    def child_collection_ids(
        self, database: str, parent: str, version: int | None
    ) -> Sequence[str]:
        """Return the ids of the collections directly below a document (or the root), sorted.

        A collection exists as long as it or a collection below it holds a document.
        """
        prefix = f"{parent}/" if parent else ""
        rows = self._connection.execute(
            "SELECT id, path FROM collections WHERE database = ?1 AND (?2 = '' OR (path > ?2 AND"
            " path < ?3))",
            (database, prefix, f"{parent}0"),
        ).fetchall()
        found = {
            path[len(prefix) :].partition("/")[0]
            for number, path in rows
            if self._holds_any(number, version)
        }
        return sorted(found, key=str.encode)

    def _holds_any(self, number: int, version: int | None) -> bool:
        at = self.last_version if version is None else version
        query = "SELECT EXISTS (SELECT 1 FROM documents WHERE collection = ?1 AND version <= ?2)"
        if version is not None:
            query += (
                " OR EXISTS (SELECT 1 FROM history WHERE collection = ?1 AND version <= ?2"
                " AND superseded > ?2)"
            )
        return bool(self._connection.execute(query, (number, at)).fetchone()[0])

    def missing_children(self, collection: CollectionPath) -> Sequence[str]:
        """Return ids of documents that do not exist but have documents below them."""
        prefix = f"{collection.path}/"
        rows = self._connection.execute(
            "SELECT path FROM collections WHERE database = ? AND path > ? AND path < ?"
            " AND EXISTS (SELECT 1 FROM documents WHERE collection = collections.id)",
            (collection.database, prefix, f"{collection.path}0"),
        )
        parents = {row[0][len(prefix) :].partition("/")[0] for row in rows}
        known = self.find_collection(collection)
        if known is not None:
            parents -= {
                decode_id(row[0])
                for row in self._connection.execute(
                    "SELECT key FROM documents WHERE collection = ?", (known.number,)
                )
            }
        return sorted(parents, key=encode_id)
