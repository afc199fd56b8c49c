"""All areas, in the order of the table."""

from __future__ import annotations

from conformance import (
    firestore_aggregations,
    firestore_finds,
    firestore_limits,
    firestore_listen,
    firestore_queries,
    firestore_query_requests,
    firestore_reads,
    firestore_rules,
    firestore_transactions,
    firestore_transforms,
    firestore_values,
    firestore_writes,
    pubsub_messages,
    pubsub_replay,
    pubsub_resources,
)

__all__ = ["AREAS"]

AREAS = [
    *firestore_values.AREAS,
    *firestore_writes.AREAS,
    *firestore_transforms.AREAS,
    *firestore_limits.AREAS,
    *firestore_reads.AREAS,
    *firestore_queries.AREAS,
    *firestore_query_requests.AREAS,
    *firestore_aggregations.AREAS,
    *firestore_transactions.AREAS,
    *firestore_listen.AREAS,
    *firestore_rules.AREAS,
    *firestore_finds.AREAS,
    *pubsub_resources.AREAS,
    *pubsub_messages.AREAS,
    *pubsub_replay.AREAS,
]
