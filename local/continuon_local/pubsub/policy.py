"""When a message comes again, and when it has come often enough."""

from __future__ import annotations

from typing import TYPE_CHECKING

from continuon_local.pubsub import limits

if TYPE_CHECKING:
    from continuon_local.pubsub.messages import Message

__all__ = ["backoff_ms", "max_attempts", "seconds"]

_MAX_DOUBLINGS = 30  # beyond it every maximum is long reached


def seconds(duration: Message) -> float:
    """Return a protobuf Duration in seconds."""
    return float(duration.seconds + duration.nanos / 1e9)


def backoff_ms(subscription: Message, attempts: int) -> int:
    """Return how long a message waits after its delivery number ``attempts`` failed.

    Without a retry policy, pull redelivers at once and push backs off from 0.1 s to 60 s.
    """
    if subscription.HasField("retry_policy"):
        policy = subscription.retry_policy
        shortest, longest = seconds(policy.minimum_backoff), seconds(policy.maximum_backoff)
    elif subscription.push_config.push_endpoint:
        shortest, longest = limits.PUSH_MIN_BACKOFF_S, limits.PUSH_MAX_BACKOFF_S
    else:
        return 0
    doublings = min(max(attempts - 1, 0), _MAX_DOUBLINGS)
    return int(min(shortest * 2**doublings, longest) * 1000)


def max_attempts(subscription: Message) -> int | None:
    """Return after how many deliveries a message is a dead letter; None: never."""
    policy = subscription.dead_letter_policy
    if not policy.dead_letter_topic:
        return None
    return int(policy.max_delivery_attempts)
