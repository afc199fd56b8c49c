"""Access to Pub/Sub: publish one message and know that it was taken."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING, Final

from google.api_core import exceptions
from google.api_core.client_options import ClientOptions
from google.api_core.retry import AsyncRetry, if_exception_type
from google.pubsub_v1 import PublisherAsyncClient, PubsubMessage
from google.pubsub_v1.services.publisher.transports import PublisherGrpcAsyncIOTransport

from continuon.errors import UnavailableError
from continuon.platform.channels import RECONNECT_SOON

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["publish"]

_TIMEOUT_S: Final = 10.0
_RETRY: Final = AsyncRetry(
    predicate=if_exception_type(
        exceptions.Aborted, exceptions.ResourceExhausted, exceptions.ServiceUnavailable
    ),
    initial=0.1,
    maximum=1.0,
    multiplier=2.0,
    timeout=5.0,
)
"""Shorter than the client's own minute: the event that publishes is delivered again anyway."""


@cache
def _publisher() -> PublisherAsyncClient:
    if host := os.environ.get("PUBSUB_EMULATOR_HOST"):
        # The generated asynchronous client does not read the variable; only the batching
        # publisher does, and that one answers on threads of its own.
        from grpc import aio  # noqa: PLC0415 - not needed in production

        channel = aio.insecure_channel(host, options=RECONNECT_SOON)
        transport = PublisherGrpcAsyncIOTransport(channel=channel)
        return PublisherAsyncClient(transport=transport, client_options=ClientOptions())
    host = PublisherGrpcAsyncIOTransport.DEFAULT_HOST
    channel = PublisherGrpcAsyncIOTransport.create_channel(host, options=RECONNECT_SOON)
    return PublisherAsyncClient(transport=PublisherGrpcAsyncIOTransport(channel=channel))


async def publish(topic: str, data: bytes, attributes: Mapping[str, str]) -> str:
    """Publish one message and return its id, once the service has stored it.

    Args:
        topic: Short name; the project is this process's.
        data: The payload.
        attributes: Routing and deduplication keys.

    Raises:
        UnavailableError: The service did not confirm.
    """
    project = os.environ.get("GOOGLE_CLOUD_PROJECT", "")
    message = PubsubMessage(data=data, attributes=dict(attributes))
    try:
        answer = await _publisher().publish(
            topic=f"projects/{project}/topics/{topic}",
            messages=[message],
            retry=_RETRY,
            timeout=_TIMEOUT_S,
        )
    except (exceptions.GoogleAPICallError, exceptions.RetryError) as error:
        raise UnavailableError("Pub/Sub") from error
    return str(answer.message_ids[0])
