"""Pub/Sub's quotas (cloud.google.com/pubsub/quotas) and the local cloud's own bounds."""

from __future__ import annotations

MAX_PUBLISH_MESSAGES = 1000
"""Messages in one Publish call."""

MAX_PUBLISH_BYTES = 10_000_000
"""Bytes of one Publish call, and so of one message."""

MAX_REQUEST_BYTES = 20 * 1024 * 1024
"""What gRPC takes in, so that our own limit answers INVALID_ARGUMENT before gRPC's does."""

MAX_ATTRIBUTES = 100
"""Attributes of one message."""

MAX_ATTRIBUTE_KEY_BYTES = 256
MAX_ATTRIBUTE_VALUE_BYTES = 1024
MAX_ORDERING_KEY_BYTES = 1024
MAX_FILTER_BYTES = 256

MIN_ACK_DEADLINE_S = 10
MAX_ACK_DEADLINE_S = 600

MIN_DELIVERY_ATTEMPTS = 5
MAX_DELIVERY_ATTEMPTS = 100

MAX_RETRY_BACKOFF_S = 600
DEFAULT_MIN_BACKOFF_S = 10
DEFAULT_MAX_BACKOFF_S = 600

PUSH_MIN_BACKOFF_S = 0.1
PUSH_MAX_BACKOFF_S = 60.0
"""Push without a retry policy backs off between these two, in seconds."""

MIN_RETENTION_S = 600
MAX_RETENTION_S = 31 * 24 * 3600
DEFAULT_RETENTION_S = 7 * 24 * 3600
"""How long an unacknowledged message waits, in seconds."""

SNAPSHOT_LIFETIME_S = 7 * 24 * 3600
"""How long after its oldest message a snapshot ends, in seconds."""

MIN_SNAPSHOT_LIFETIME_S = 3600
"""A snapshot that would end sooner than this is refused, in seconds."""

MAX_PULL_MESSAGES = 1000
"""Messages of one Pull answer."""

MAX_STREAM_BATCH_MESSAGES = 100
"""Messages of one StreamingPull answer: few, so that streams of one subscription share."""

MAX_BATCH_BYTES = 4_000_000
"""Bytes of one answer; a single larger message still goes through."""

PULL_WAIT_S = 10.0
"""How long Pull waits for a first message before it answers with none, in seconds."""

MAX_IDLE_S = 0.5
"""How long a waiting consumer sleeps before it looks again, in seconds.

A test may move the clock, which no timer notices; this bounds how long that stays unseen.
"""

PUSH_CONCURRENCY = 16
"""Push requests under way at once for one subscription."""

MAX_PAGE = 1000
DEFAULT_PAGE = 100
