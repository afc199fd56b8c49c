from __future__ import annotations

from typing import Any

import pytest

from continuon_local.pubsub.errors import PubSubError
from continuon_local.pubsub.messages import new
from continuon_local.pubsub.names import check_name, check_project
from continuon_local.pubsub.updates import apply_mask
from continuon_local.pubsub.validation import check_publish, check_subscription, check_topic

TOPIC = "projects/p/topics/jobs"


def subscription(**fields: Any) -> Any:
    return new("Subscription", name="projects/p/subscriptions/sub", topic=TOPIC, **fields)


def refusal(call: Any, *arguments: Any) -> tuple[str, str]:
    with pytest.raises(PubSubError) as error:
        call(*arguments)
    return error.value.code.name, error.value.message


@pytest.mark.parametrize(
    "name",
    [
        "jobs",
        "projects/p/topics/",
        "projects/p/topics/ab",
        "projects/p/topics/1jobs",
        "projects/p/topics/goog-jobs",
        "projects/p/topics/a b c",
        "projects/p/topics/" + "x" * 256,
        "projects/p/subscriptions/jobs",
        "projects//topics/jobs",
        "projects/p/topics/jobs/x",
        "projects/p/topics/jobs\n",
    ],
)
def test_malformed_names_are_refused(name: str) -> None:
    assert refusal(check_name, name, "topics")[0] == "INVALID_ARGUMENT"
    assert check_name(TOPIC, "topics") == TOPIC
    assert refusal(check_project, name)[0] == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"ordering_key": "k"},
        {"attributes": {"": "x"}},
        {"attributes": {"googclient": "x"}},
        {"attributes": {"k" * 257: "x"}},
        {"attributes": {"k": "é" * 513}},
        {"attributes": {str(number): "x" for number in range(101)}},
        {"data": b"x", "ordering_key": "k" * 1025},
        {"data": b"x" * 10_000_001},
    ],
)
def test_one_bad_message_refuses_the_whole_publish(message: dict[str, Any]) -> None:
    good = new("PubsubMessage", data=b"good")
    assert refusal(check_publish, [good, new("PubsubMessage", **message)])[0] == "INVALID_ARGUMENT"


def test_a_publish_has_one_to_a_thousand_messages() -> None:
    message = new("PubsubMessage", attributes={"k" * 256: "v" * 1024})
    check_publish([message] * 1000)
    for count in (0, 1001):
        assert refusal(check_publish, [message] * count)[0] == "INVALID_ARGUMENT"


def test_defaults_are_googles() -> None:
    policy = new("DeadLetterPolicy", dead_letter_topic=TOPIC)
    config = subscription(dead_letter_policy=policy, retry_policy=new("RetryPolicy"))
    check_subscription(config)
    assert config.ack_deadline_seconds == 10
    assert config.message_retention_duration.seconds == 7 * 24 * 3600
    assert config.dead_letter_policy.max_delivery_attempts == 5
    assert config.retry_policy.minimum_backoff.seconds == 10
    assert config.retry_policy.maximum_backoff.seconds == 600


def retry(shortest_s: int, longest_s: int) -> Any:
    policy = new("RetryPolicy")
    policy.minimum_backoff.seconds, policy.maximum_backoff.seconds = shortest_s, longest_s
    return policy


@pytest.mark.parametrize(
    "fields",
    [
        {"ack_deadline_seconds": 9},
        {"ack_deadline_seconds": 601},
        {"ack_deadline_seconds": -1},
        {"filter": "attributes"},
        {"push_config": new("PushConfig", push_endpoint="ftp://127.0.0.1/x")},
        {"push_config": new("PushConfig", push_endpoint="http://[")},
        {"retry_policy": retry(20, 10)},
        {"retry_policy": retry(10, 601)},
        {"dead_letter_policy": new("DeadLetterPolicy", dead_letter_topic="dead")},
    ],
)
def test_subscriptions_out_of_range_are_refused(fields: dict[str, Any]) -> None:
    assert refusal(check_subscription, subscription(**fields))[0] == "INVALID_ARGUMENT"


@pytest.mark.parametrize("attempts", [1, 4, 101])
def test_delivery_attempts_out_of_range_have_a_code_of_their_own(attempts: int) -> None:
    policy = new("DeadLetterPolicy", dead_letter_topic=TOPIC, max_delivery_attempts=attempts)
    code = refusal(check_subscription, subscription(dead_letter_policy=policy))[0]
    assert code == "OUT_OF_RANGE"


@pytest.mark.parametrize(
    ("fields", "feature"),
    [
        ({"enable_exactly_once_delivery": True}, "enable_exactly_once_delivery"),
        ({"bigquery_config": new("BigQueryConfig", table="t")}, "bigquery_config"),
    ],
)
def test_features_that_are_missing_are_named(fields: dict[str, Any], feature: str) -> None:
    status, message = refusal(check_subscription, subscription(**fields))
    assert status == "UNIMPLEMENTED"
    assert feature in message
    status, message = refusal(check_topic, new("Topic", name=TOPIC, kms_key_name="k"))
    assert (status, "kms_key_name" in message) == ("UNIMPLEMENTED", True)


def test_a_mask_replaces_the_fields_it_names_and_no_others() -> None:
    before = subscription(ack_deadline_seconds=10, labels={"a": "1"}, filter="attributes:a")
    after = subscription(ack_deadline_seconds=20, labels={"b": "2"})
    updatable = {"labels", "ack_deadline_seconds", "retry_policy"}
    apply_mask(before, after, ["labels"], updatable)
    assert dict(before.labels) == {"b": "2"}
    assert before.ack_deadline_seconds == 10
    for paths in ([], ["filter"], ["nonsense"]):
        assert refusal(apply_mask, before, after, paths, updatable)[0] == "INVALID_ARGUMENT"
    nested = ["retry_policy.minimum_backoff"]
    assert refusal(apply_mask, before, after, nested, updatable)[0] == "UNIMPLEMENTED"
