"""How the methods reach gRPC: raw messages in and out, refusals as statuses."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
from google.iam.v1 import iam_policy_pb2

from continuon_local.pubsub import messages
from continuon_local.pubsub.errors import PubSubError, unimplemented
from continuon_local.pubsub.streaming import streaming_pull

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from continuon_local.pubsub.broker import Broker
    from continuon_local.pubsub.iam import Policies
    from continuon_local.pubsub.messages import Message
    from continuon_local.pubsub.publisher import Publisher
    from continuon_local.pubsub.seeking import Seeking
    from continuon_local.pubsub.subscriber import Subscriber

    _Method = Callable[[Message, str], Awaitable[Message]]
    _Context = grpc.aio.ServicerContext[Any, Any]

__all__ = ["PubSubHandlers"]

_LOG = logging.getLogger(__name__)
_CALLER = "x-continuon-caller"
_PUBLISHER = "/google.pubsub.v1.Publisher/"
_SUBSCRIBER = "/google.pubsub.v1.Subscriber/"
_IAM = "/google.iam.v1.IAMPolicy/"


class PubSubHandlers(grpc.GenericRpcHandler):
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

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """Return the handler of a method."""
        path = handler_call_details.method
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


def _iam_handlers(policies: Policies) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
    methods: dict[str, tuple[Any, _Method]] = {
        "GetIamPolicy": (iam_policy_pb2.GetIamPolicyRequest, policies.get),
        "SetIamPolicy": (iam_policy_pb2.SetIamPolicyRequest, policies.set),
        "TestIamPermissions": (iam_policy_pb2.TestIamPermissionsRequest, policies.test),
    }
    return {
        f"{_IAM}{name}": _handler(kind.FromString, method)
        for name, (kind, method) in methods.items()
    }


def _unary(request_type: str, method: _Method) -> grpc.RpcMethodHandler[Any, Any]:
    return _handler(lambda raw: messages.parse(request_type, raw), method)


def _handler(read: Callable[[bytes], Message], method: _Method) -> grpc.RpcMethodHandler[Any, Any]:
    async def handle(request: Message, context: _Context) -> Message:
        try:
            return await method(request, _caller(context))
        except PubSubError as error:
            await _abort(context, error)
        except sqlite3.Error as error:
            await _abort(context, _failed(error))

    return grpc.unary_unary_rpc_method_handler(
        handle,
        request_deserializer=read,
        response_serializer=lambda answer: answer.SerializeToString(),
    )


def _streaming(subscriber: Subscriber, broker: Broker) -> grpc.RpcMethodHandler[Any, Any]:
    async def first_checked(requests: AsyncIterator[Message]) -> AsyncIterator[Message]:
        checked = False
        async for request in requests:
            if not checked:
                subscriber.check_pullable(request.subscription)
                checked = True
            yield request

    async def handle(requests: AsyncIterator[Message], context: _Context) -> AsyncIterator[Message]:
        try:
            responses = streaming_pull(broker, first_checked(requests), caller=_caller(context))
            async with contextlib.aclosing(responses):
                async for response in responses:
                    yield response
        except PubSubError as error:
            await _abort(context, error)
        except sqlite3.Error as error:
            await _abort(context, _failed(error))

    return grpc.stream_stream_rpc_method_handler(
        handle,
        request_deserializer=lambda raw: messages.parse("StreamingPullRequest", raw),
        response_serializer=lambda answer: answer.SerializeToString(),
    )


def _missing(path: str) -> grpc.RpcMethodHandler[Any, Any]:
    async def handle(_requests: AsyncIterator[bytes], context: _Context) -> None:
        await _abort(context, unimplemented(path.removeprefix("/").replace("/", ".")))

    # On the wire a unary call is a stream of one, so this refuses both kinds.
    return grpc.stream_stream_rpc_method_handler(handle)


def _failed(error: sqlite3.Error) -> PubSubError:
    """Return what a caller hears when the disk is full or broken: that it may try again."""
    _LOG.error("the database failed", exc_info=error)
    return PubSubError(grpc.StatusCode.UNAVAILABLE, f"The local database failed: {error}")


async def _abort(context: _Context, error: PubSubError) -> NoReturn:
    await context.abort(error.status, error.message)
    raise AssertionError("abort raises")


def _caller(context: _Context) -> str:
    for key, value in context.invocation_metadata() or ():
        if key == _CALLER and isinstance(value, str):
            return value
    return ""
