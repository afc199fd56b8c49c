"""Access to Firestore: one client a process, short deadlines, errors of our own family."""

from __future__ import annotations

import os
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypedDict

from google.api_core import exceptions
from google.api_core.retry import AsyncRetry, if_exception_type
from google.cloud import firestore
from google.cloud.firestore_v1.services.firestore.transports import FirestoreGrpcAsyncIOTransport
from grpc import aio

from continuon.errors import UnavailableError
from continuon.platform.channels import RECONNECT_SOON

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from google.cloud.firestore import DocumentSnapshot

__all__ = ["RPC", "Snapshot", "firestore_client", "firestore_errors"]

Snapshot: TypeAlias = "DocumentSnapshot[firestore.AsyncDocumentReference]"
"""A document as the asynchronous client returns it."""

RPC_TIMEOUT_S: Final = 10.0
"""Of one call that hangs: a robot that waits longer has given up."""

_RETRY_FOR_S: Final = 5.0
"""A service that refuses is tried again for this long, in seconds; the client's own 60 s would
keep a robot waiting that should be told to come back."""


class _RpcOptions(TypedDict):
    retry: AsyncRetry
    timeout: float


RPC: Final[_RpcOptions] = {
    "retry": AsyncRetry(
        predicate=if_exception_type(exceptions.ResourceExhausted, exceptions.ServiceUnavailable),
        initial=0.1,
        maximum=1.0,
        multiplier=2.0,
        timeout=_RETRY_FOR_S,
    ),
    "timeout": RPC_TIMEOUT_S,
}
"""How every call is made; passed as keywords, because the client has no setting for it."""

_TRANSIENT = (
    exceptions.Aborted,
    exceptions.Cancelled,
    exceptions.DeadlineExceeded,
    exceptions.InternalServerError,
    exceptions.ResourceExhausted,
    exceptions.RetryError,
    exceptions.ServiceUnavailable,
    exceptions.Unknown,
)


class _Transport(FirestoreGrpcAsyncIOTransport):
    """The client's own transport on a channel that reconnects soon."""

    @classmethod
    def create_channel(  # type: ignore[override]  # the caller passes two keywords and no more
        cls, host: str, *, credentials: Any, options: Iterable[tuple[str, Any]]
    ) -> aio.Channel:
        """Open a channel with the client's options and ours."""
        channel: aio.Channel = super().create_channel(
            host, credentials=credentials, options=[*options, *RECONNECT_SOON]
        )
        return channel


class _Client(firestore.AsyncClient):
    """The asynchronous client; upstream lets nobody choose the options of its channel."""

    def _firestore_api_helper(self, _transport: Any, client_class: Any, client_module: Any) -> Any:
        return super()._firestore_api_helper(_Transport, client_class, client_module)

    def _emulator_channel(self, _transport: Any) -> aio.Channel:
        options = [("grpc.max_receive_message_length", -1), *RECONNECT_SOON]
        return aio.insecure_channel(self._target, options=options)


@cache
def firestore_client() -> firestore.AsyncClient:
    """Return this process's client; the channel binds to the loop of its first call."""
    return _Client(project=os.environ.get("GOOGLE_CLOUD_PROJECT"))


@contextmanager
def firestore_errors() -> Iterator[None]:
    """Turn a failure of the service into :class:`UnavailableError`; let the rest through."""
    try:
        yield
    except _TRANSIENT as error:
        raise UnavailableError("Firestore") from error
