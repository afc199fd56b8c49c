"""Firestore's limits, from https://firebase.google.com/docs/firestore/quotas."""

from __future__ import annotations

__all__ = [
    "MAX_COMMIT_TRANSFORMS",
    "MAX_DEPTH",
    "MAX_DISJUNCTIONS",
    "MAX_DOCUMENT_BYTES",
    "MAX_FIELD_NAME_BYTES",
    "MAX_ID_BYTES",
    "MAX_INDEX_ENTRIES",
    "MAX_IN_VALUES",
    "MAX_MESSAGE_BYTES",
    "MAX_NOT_IN_VALUES",
    "MAX_PATH_BYTES",
    "MAX_PROPERTY_BYTES",
    "MAX_SORT_ORDERS",
    "READ_TIME_WINDOW_S",
    "TRANSACTION_IDLE_S",
    "TRANSACTION_MAX_S",
]

MAX_DOCUMENT_BYTES = 1_048_576
"""Size of a document as Google counts it: name, field names, values and 32 bytes."""

MAX_PROPERTY_BYTES = 1_048_487
"""Size of one string or bytes value: a document less its smallest overhead."""

MAX_INDEX_ENTRIES = 40_000
"""Entries of one document in the indexes that exist by themselves."""

MAX_DEPTH = 20
"""Nesting of maps and arrays."""

MAX_FIELD_NAME_BYTES = 1_500
MAX_ID_BYTES = 1_500
MAX_INDEXED_VALUE_BYTES = 1_500
"""UTF-8 bytes of a field name, a collection id or a document id."""

MAX_PATH_BYTES = 6 * 1024
"""UTF-8 bytes of a document name."""

MAX_PATH_DOCUMENTS = 100
"""Documents on the way from the root to a document: collections nest so deep."""

MAX_VECTOR_DIMENSIONS = 2_048
"""Numbers in one vector."""

MAX_COMMIT_TRANSFORMS = 500
"""Field transforms on one document in one commit."""

MAX_MESSAGE_BYTES = 10 * 1024 * 1024
"""One API request."""

MAX_DISJUNCTIONS = 30
"""Disjunctions of a query in disjunctive normal form."""

MAX_IN_VALUES = 30
MAX_NOT_IN_VALUES = 10
"""Values of one ``in`` or ``array-contains-any``, and of one ``not-in``."""

MAX_SORT_ORDERS = 100
"""Sort orders and filters of one query."""

TRANSACTION_IDLE_S = 60.0
TRANSACTION_MAX_S = 270.0
"""A transaction ends after so long without a request, and after so long in all."""

READ_TIME_WINDOW_S = 3600
"""How far back ``read_time`` may reach without point-in-time recovery."""
