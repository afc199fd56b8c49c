"""How the methods reach gRPC: raw messages in and out, refusals as statuses."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from typing import TYPE_CHECKING, Any

from google.iam.v1 import iam_policy_pb2
from google.protobuf.message import DecodeError

from continuon_local.grpc_wire.call import Handler
from continuon_local.grpc_wire.codes import Code
from continuon_local.pubsub import messages
from continuon_local.pubsub.errors import PubSubError, unimplemented
from continuon_local.pubsub.streaming import streaming_pull

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from continuon_local.grpc_wire.call import Call
    from continuon_local.pubsub.broker import Broker
    from continuon_local.pubsub.iam import Policies
    from continuon_local.pubsub.messages import Message
    from continuon_local.pubsub.publisher import Publisher
    from continuon_local.pubsub.seeking import Seeking
    from continuon_local.pubsub.subscriber import Subscriber

    _Method = Callable[[Message, str], Awaitable[Message]]

__all__ = ["PubSubHandlers"]

_LOG = logging.getLogger(__name__)
_CALLER = "x-continuon-caller"
_PUBLISHER = "/google.pubsub.v1.Publisher/"
_SUBSCRIBER = "/google.pubsub.v1.Subscriber/"
_IAM = "/google.iam.v1.IAMPolicy/"


class PubSubHandlers:
    """Every method of the two services; those that are missing answer UNIMPLEMENTED by name."""

    def __init__(
        self,
        publisher: Publisher,
        subscriber: Subscriber,
        seeking: Seeking,
        policies: Policies,
        broker: Broker,
    ) -> None:
        unary: dict[str, tuple[str, _Method]] = {
            f"{_PUBLISHER}CreateTopic": ("Topic", publisher.create_topic),
            f"{_PUBLISHER}UpdateTopic": ("UpdateTopicRequest", publisher.update_topic),
            f"{_PUBLISHER}GetTopic": ("GetTopicRequest", publisher.get_topic),
            f"{_PUBLISHER}ListTopics": ("ListTopicsRequest", publisher.list_topics),
            f"{_PUBLISHER}ListTopicSubscriptions": (
                "ListTopicSubscriptionsRequest",
                publisher.list_topic_subscriptions,
            ),
            f"{_PUBLISHER}DeleteTopic": ("DeleteTopicRequest", publisher.delete_topic),
            f"{_PUBLISHER}Publish": ("PublishRequest", publisher.publish),
            f"{_SUBSCRIBER}CreateSubscription": ("Subscription", subscriber.create_subscription),
            f"{_SUBSCRIBER}GetSubscription": (
                "GetSubscriptionRequest",
                subscriber.get_subscription,
            ),
            f"{_SUBSCRIBER}UpdateSubscription": (
                "UpdateSubscriptionRequest",
                subscriber.update_subscription,
            ),
            f"{_SUBSCRIBER}ListSubscriptions": (
                "ListSubscriptionsRequest",
                subscriber.list_subscriptions,
            ),
            f"{_SUBSCRIBER}DeleteSubscription": (
                "DeleteSubscriptionRequest",
                subscriber.delete_subscription,
            ),
            f"{_SUBSCRIBER}ModifyPushConfig": (
                "ModifyPushConfigRequest",
                subscriber.modify_push_config,
            ),
            f"{_SUBSCRIBER}Pull": ("PullRequest", subscriber.pull),
            f"{_SUBSCRIBER}Acknowledge": ("AcknowledgeRequest", subscriber.acknowledge),
            f"{_SUBSCRIBER}ModifyAckDeadline": (
                "ModifyAckDeadlineRequest",
                subscriber.modify_ack_deadline,
            ),
        }
        unary |= _seeking_methods(seeking)
        self._handlers = {path: _unary(*entry) for path, entry in unary.items()}
        self._handlers |= _iam_handlers(policies)
        self._handlers[f"{_SUBSCRIBER}StreamingPull"] = _streaming(subscriber, broker)

    def resolve(self, path: str) -> Handler:
        """Return the handler of a method."""
        return self._handlers.get(path) or _missing(path)


def _seeking_methods(seeking: Seeking) -> dict[str, tuple[str, _Method]]:
    return {
        f"{_PUBLISHER}ListTopicSnapshots": (
            "ListTopicSnapshotsRequest",
            seeking.list_topic_snapshots,
        ),
        f"{_PUBLISHER}DetachSubscription": (
            "DetachSubscriptionRequest",
            seeking.detach_subscription,
        ),
        f"{_SUBSCRIBER}Seek": ("SeekRequest", seeking.seek),
        f"{_SUBSCRIBER}CreateSnapshot": ("CreateSnapshotRequest", seeking.create_snapshot),
        f"{_SUBSCRIBER}GetSnapshot": ("GetSnapshotRequest", seeking.get_snapshot),
        f"{_SUBSCRIBER}ListSnapshots": ("ListSnapshotsRequest", seeking.list_snapshots),
        f"{_SUBSCRIBER}UpdateSnapshot": ("UpdateSnapshotRequest", seeking.update_snapshot),
        f"{_SUBSCRIBER}DeleteSnapshot": ("DeleteSnapshotRequest", seeking.delete_snapshot),
    }


def _iam_handlers(policies: Policies) -> dict[str, Handler]:
    methods: dict[str, tuple[Any, _Method]] = {
        "GetIamPolicy": (iam_policy_pb2.GetIamPolicyRequest, policies.get),
        "SetIamPolicy": (iam_policy_pb2.SetIamPolicyRequest, policies.set),
        "TestIamPermissions": (iam_policy_pb2.TestIamPermissionsRequest, policies.test),
    }
    return {
        f"{_IAM}{name}": _handler(kind.FromString, method)
        for name, (kind, method) in methods.items()
    }


def _unary(request_type: str, method: _Method) -> Handler:
    return _handler(lambda raw: messages.parse(request_type, raw), method)


def _handler(read: Callable[[bytes], Message], method: _Method) -> Handler:
    async def serve(call: Call) -> None:
        with _refusals():
            answer = await method(_parsed(read, call.request()), _caller(call))
            await call.send(answer.SerializeToString())

    return Handler(serve)


def _streaming(subscriber: Subscriber, broker: Broker) -> Handler:
    async def first_checked(requests: AsyncIterator[bytes]) -> AsyncIterator[Message]:
        checked = False
        async for raw in requests:
            request = _parsed(_streaming_pull_request, raw)
            if not checked:
                subscriber.check_pullable(request.subscription)
                checked = True
            yield request

    async def serve(call: Call) -> None:
        with _refusals():
            requests = first_checked(call.requests())
            responses = streaming_pull(broker, requests, caller=_caller(call))
            async with contextlib.aclosing(responses):
                async for response in responses:
                    await call.send(response.SerializeToString())
                    # Who was served queues behind those who wait as well.
                    await asyncio.sleep(0)

    return Handler(serve, streams_requests=True)


def _streaming_pull_request(raw: bytes) -> Message:
    return messages.parse("StreamingPullRequest", raw)


def _missing(path: str) -> Handler:
    async def refuse(_: Call) -> None:
        raise unimplemented(path.removeprefix("/").replace("/", "."))

    # Whichever kind it is: the client hears it before it has said anything.
    return Handler(refuse, streams_requests=True)


def _parsed(read: Callable[[bytes], Message], raw: bytes) -> Message:
    try:
        return read(raw)
    except DecodeError as error:
        raise PubSubError(Code.INTERNAL, "The request could not be parsed.") from error


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """Let a caller hear that it may try again when the disk is full or broken."""
    try:
        yield
    except sqlite3.Error as error:
        _LOG.exception("the database failed")
        raise PubSubError(Code.UNAVAILABLE, f"The local database failed: {error}") from error


def _caller(call: Call) -> str:
    for key, value in call.head.metadata:
        if key == _CALLER:
            return value
    return ""
