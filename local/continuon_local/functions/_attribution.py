"""Names the function, and the request it serves, on every call to the local cloud.

Loaded into a function's process before its code. Google's clients stay as they are; gRPC and
``requests``, which carry their calls, add one header that production never sees. Without it the
local cloud's meter could not tell who reads and writes.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import os
import re
import sys
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

HEADER = "x-continuon-caller"
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-")
_CLOUD_TRACE = re.compile(rb"([0-9a-f]{32})\b")
_EVENT_ID = re.compile(rb"[\x21-\x7e]{1,100}")
_request: ContextVar[str] = ContextVar("continuon_request", default="")


def caller() -> str:
    """Return who calls: the function, and its request where the call is made for one."""
    function, request = os.environ["K_SERVICE"], _request.get()
    return f"{function};trace={request}" if request else function


def request_id(headers: Sequence[tuple[bytes, bytes]]) -> str:
    """Return the trace id of a request, else the id of the event it delivers, else nothing."""
    given = dict(headers)
    found = _TRACEPARENT.match(given.get(b"traceparent", b"")) or _CLOUD_TRACE.match(
        given.get(b"x-cloud-trace-context", b"")
    )
    if found is not None:
        return found[1].decode()
    event = _EVENT_ID.fullmatch(given.get(b"ce-id", b""))
    return "" if event is None else event[0].decode()


def remember_request(app: Any) -> Any:
    """Wrap an ASGI application so that its calls are known to belong to their request."""

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            _request.set(request_id(scope["headers"]))
        await app(scope, receive, send)

    return wrapped


def install() -> None:
    """Add the header from now on; modules are changed when they are imported, never before."""
    changes: dict[str, Callable[[ModuleType], None]] = {
        "grpc._compression": _change_grpc,
        "grpc.aio._channel": _change_grpc_aio,
        "requests.adapters": _change_requests,
    }
    for name in [name for name in changes if name in sys.modules]:
        changes.pop(name)(sys.modules[name])
    sys.meta_path.insert(0, _AfterImport(changes))


def _change_grpc(module: Any) -> None:
    # Every call of a synchronous channel passes here with its metadata. It is gRPC's own affair, as
    # is its sister below: a version without it costs the attribution, never the function.
    original = getattr(module, "augment_metadata", None)
    if original is None:
        return

    def augment_metadata(metadata: Any, compression: Any) -> Any:
        return original((*(metadata or ()), (HEADER, caller())), compression)

    module.augment_metadata = augment_metadata


def _change_grpc_aio(module: Any) -> None:
    base = getattr(module, "_BaseMultiCallable", None)
    original = getattr(base, "_init_metadata", None)
    if base is None or original is None:
        return

    def init_metadata(metadata: Any = None, compression: Any = None) -> Any:
        # A copy: the caller may use its own again.
        return module.Metadata(*original(metadata, compression), (HEADER, caller()))

    base._init_metadata = staticmethod(init_metadata)  # noqa: SLF001 - nothing public sees it all


def _change_requests(module: Any) -> None:
    local = {
        value.rpartition("/")[2]
        for name, value in os.environ.items()
        if name.endswith("_EMULATOR_HOST")
    }
    original = module.HTTPAdapter.add_headers

    def add_headers(self: Any, request: Any, **options: Any) -> None:
        original(self, request, **options)
        if urlsplit(request.url).netloc in local:
            request.headers[HEADER] = caller()

    module.HTTPAdapter.add_headers = add_headers


class _AfterImport(importlib.abc.MetaPathFinder):
    """Calls a function with a module once, right after its import."""

    def __init__(self, changes: dict[str, Callable[[ModuleType], None]]) -> None:
        self._changes = changes

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 - the interface's
        target: ModuleType | None = None,  # noqa: ARG002 - the interface's
    ) -> ModuleSpec | None:
        """Return what the other finders find, with the change behind it."""
        change = self._changes.pop(fullname, None)
        if change is None:
            return None
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            change(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign] # of this one instance
        return spec
