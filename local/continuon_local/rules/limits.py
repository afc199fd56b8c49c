"""The limits of security rules.

From firebase.google.com/docs/firestore/security/rules-structure#security_rule_limits, where not
marked as ours.
"""

from __future__ import annotations

__all__ = [
    "MAX_ACCESS_CALLS",
    "MAX_ACCESS_CALLS_OF_BATCH",
    "MAX_ACCESS_CALLS_OF_STORAGE",
    "MAX_CALL_DEPTH",
    "MAX_EVALUATION_DEPTH",
    "MAX_EXPRESSIONS",
    "MAX_LETS",
    "MAX_MATCH_NESTING",
    "MAX_NESTING",
    "MAX_PARAMETERS",
    "MAX_SOURCE_BYTES",
    "MAX_VALUE_SIZE",
]

MAX_SOURCE_BYTES = 256 * 1024
"""Of one ruleset's text, in bytes."""

MAX_PARAMETERS = 7
"""Of a function."""

MAX_LETS = 10
"""``let`` bindings in one function."""

MAX_CALL_DEPTH = 20
"""Functions that call functions."""

MAX_EXPRESSIONS = 1000
"""Expressions evaluated for one request: operators, calls, reads of properties, literals."""

MAX_ACCESS_CALLS = 10
"""Documents read by ``get`` and ``exists`` for a request about one document or one query."""

MAX_ACCESS_CALLS_OF_BATCH = 20
"""Documents read for a whole transaction, batch of writes or read of several documents."""

MAX_ACCESS_CALLS_OF_STORAGE = 2
"""Documents read by ``firestore.get`` and ``firestore.exists`` for one request to Cloud Storage;
from firebase.google.com/docs/storage/security#limits."""

MAX_MATCH_NESTING = 10
"""``match`` blocks inside ``match`` blocks."""

MAX_NESTING = 100
"""Expressions inside expressions in the source; a chain of ``&&`` nests to the left. Measured."""

MAX_EVALUATION_DEPTH = 220
"""Expressions under evaluation at once, through calls. Ours, for the same reason."""

MAX_VALUE_SIZE = 2 * 1024 * 1024
"""Characters of a string or items of a list that an expression makes. Ours: doubling a string in
twenty calls would fill the memory; a document has at most half of this."""
