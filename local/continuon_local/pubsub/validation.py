"""What a topic, a subscription and a message must look like; defaults are filled in here."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from continuon_local.pubsub import limits
from continuon_local.pubsub.errors import invalid, out_of_range, unimplemented
from continuon_local.pubsub.filters import compile_filter
from continuon_local.pubsub.names import check_name
from continuon_local.pubsub.policy import seconds

if TYPE_CHECKING:
    from continuon_local.pubsub.messages import Message

__all__ = [
    "check_ack_deadline",
    "check_publish",
    "check_push",
    "check_subscription",
    "check_topic",
]

_TOPIC_FEATURES = (
    "kms_key_name",
    "schema_settings",
    "ingestion_data_source_settings",
    "message_transforms",
)
_SUBSCRIPTION_FEATURES = (
    "bigquery_config",
    "cloud_storage_config",
    "bigtable_config",
    "enable_exactly_once_delivery",
    "message_transforms",
)


def check_topic(topic: Message) -> None:
    """Refuse a malformed topic, and features that the local cloud would only pretend to have.

    Raises:
        PubSubError: INVALID_ARGUMENT or UNIMPLEMENTED.
    """
    check_name(topic.name, "topics")
    _refuse_features(topic, _TOPIC_FEATURES)
    if topic.HasField("message_retention_duration"):
        _check_period(topic)


def check_subscription(subscription: Message) -> None:
    """Refuse a malformed subscription, and fill in Google's defaults.

    Raises:
        PubSubError: INVALID_ARGUMENT or UNIMPLEMENTED.
    """
    check_name(subscription.name, "subscriptions")
    check_name(subscription.topic, "topics")
    _refuse_features(subscription, _SUBSCRIPTION_FEATURES)
    if not subscription.ack_deadline_seconds:
        subscription.ack_deadline_seconds = limits.MIN_ACK_DEADLINE_S
    check_ack_deadline(subscription.ack_deadline_seconds)
    compile_filter(subscription.filter)
    check_push(subscription.push_config)
    _check_retention(subscription)
    if subscription.HasField("retry_policy"):
        _check_retry(subscription.retry_policy)
    if subscription.HasField("dead_letter_policy"):
        _check_dead_letter(subscription.dead_letter_policy)


def check_ack_deadline(deadline_s: int, *, least: int = limits.MIN_ACK_DEADLINE_S) -> None:
    """Refuse an acknowledgement deadline out of range.

    Raises:
        PubSubError: INVALID_ARGUMENT.
    """
    if not least <= deadline_s <= limits.MAX_ACK_DEADLINE_S:
        raise invalid(
            f"Invalid ack deadline given ({deadline_s}); "
            f"it must be between {least} and {limits.MAX_ACK_DEADLINE_S} seconds."
        )


def check_push(config: Message) -> None:
    """Refuse a push endpoint that is no HTTP address.

    Raises:
        PubSubError: INVALID_ARGUMENT or UNIMPLEMENTED.
    """
    if config.HasField("no_wrapper"):
        raise unimplemented("push_config.no_wrapper")
    if not config.push_endpoint:
        return
    try:
        address = urlsplit(config.push_endpoint)
        well_formed = address.scheme in {"http", "https"} and bool(address.hostname)
    except ValueError:
        well_formed = False
    if not well_formed:
        raise invalid(f"Invalid push endpoint given (endpoint={config.push_endpoint}).")


def check_publish(messages: list[Message]) -> None:
    """Refuse a batch that Pub/Sub would refuse; none of it is published then.

    Raises:
        PubSubError: INVALID_ARGUMENT.
    """
    if not 0 < len(messages) <= limits.MAX_PUBLISH_MESSAGES:
        raise invalid(f"A publish takes 1 to {limits.MAX_PUBLISH_MESSAGES} messages.")
    if sum(message.ByteSize() for message in messages) > limits.MAX_PUBLISH_BYTES:
        raise invalid(f"A publish takes at most {limits.MAX_PUBLISH_BYTES} bytes.")
    for message in messages:
        _check_message(message)


def _check_message(message: Message) -> None:
    if not message.data and not message.attributes:
        raise invalid("Some messages are empty: a message has data or an attribute.")
    if len(message.attributes) > limits.MAX_ATTRIBUTES:
        raise invalid(f"A message takes at most {limits.MAX_ATTRIBUTES} attributes.")
    if len(message.ordering_key.encode()) > limits.MAX_ORDERING_KEY_BYTES:
        raise invalid(f"An ordering key takes at most {limits.MAX_ORDERING_KEY_BYTES} bytes.")
    for key, value in message.attributes.items():
        _check_attribute(key, value)


def _check_attribute(key: str, value: str) -> None:
    if not 0 < len(key.encode()) <= limits.MAX_ATTRIBUTE_KEY_BYTES:
        raise invalid(f"An attribute key takes 1 to {limits.MAX_ATTRIBUTE_KEY_BYTES} bytes.")
    if key.lower().startswith("goog"):
        raise invalid("An attribute key does not start with 'goog'.")
    if len(value.encode()) > limits.MAX_ATTRIBUTE_VALUE_BYTES:
        raise invalid(f"An attribute value takes at most {limits.MAX_ATTRIBUTE_VALUE_BYTES} bytes.")


def _refuse_features(resource: Message, names: tuple[str, ...]) -> None:
    present = {field.name for field, _ in resource.ListFields()}
    for name in names:
        if name in present:
            raise unimplemented(f"{resource.DESCRIPTOR.name}.{name}")


def _check_retention(subscription: Message) -> None:
    if not subscription.HasField("message_retention_duration"):
        subscription.message_retention_duration.seconds = limits.DEFAULT_RETENTION_S
    _check_period(subscription)


def _check_period(resource: Message) -> None:
    retention = seconds(resource.message_retention_duration)
    if not limits.MIN_RETENTION_S <= retention <= limits.MAX_RETENTION_S:
        raise invalid("message_retention_duration must be between 10 minutes and 31 days.")


def _check_retry(policy: Message) -> None:
    if not policy.HasField("minimum_backoff"):
        policy.minimum_backoff.seconds = limits.DEFAULT_MIN_BACKOFF_S
    if not policy.HasField("maximum_backoff"):
        policy.maximum_backoff.seconds = limits.DEFAULT_MAX_BACKOFF_S
    shortest, longest = seconds(policy.minimum_backoff), seconds(policy.maximum_backoff)
    if not 0 <= shortest <= longest <= limits.MAX_RETRY_BACKOFF_S:
        raise invalid("A retry policy backs off 0 to 600 seconds, the minimum first.")


def _check_dead_letter(policy: Message) -> None:
    check_name(policy.dead_letter_topic, "topics")
    if not policy.max_delivery_attempts:
        policy.max_delivery_attempts = limits.MIN_DELIVERY_ATTEMPTS
    attempts = policy.max_delivery_attempts
    if not limits.MIN_DELIVERY_ATTEMPTS <= attempts <= limits.MAX_DELIVERY_ATTEMPTS:
        raise out_of_range("max_delivery_attempts must be between 5 and 100.")
