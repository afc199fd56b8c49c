"""The hosting gateway: what Firebase Hosting does with a request, by ``firebase.json``."""

from __future__ import annotations

import json
import re
import secrets
from typing import TYPE_CHECKING
from urllib.parse import quote

from continuon_local.functions.forward import answer
from continuon_local.hosting.static import Moved, StaticFile, StaticFiles, send_file
from continuon_local.http_server import HttpServer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.types import Message, Receive, Scope, Send

    from continuon_local.functions.forward import Headers
    from continuon_local.functions.host import FunctionsHost
    from continuon_local.hosting.config import HostingConfig, Rewrite
    from continuon_local.service import ServiceContext

__all__ = ["HostingGateway"]

TIMEOUT_S = 60
"""Firebase Hosting gives a function 60 seconds, whatever the function's own limit is."""

_SESSION_COOKIE = b"__session"
"""The one cookie that Firebase Hosting passes on to functions."""

_INIT_PATH = "/__/firebase/init.json"
"""Where every deployed site tells its clients which project it belongs to."""

_DEFAULT_404 = "Page not found"
_PARAMETER = re.compile(r":([A-Za-z_][A-Za-z0-9_]*|\d+)\*?")


class HostingGateway:
    """Serves static files, redirects and rewrites on one loopback port.

    The order is Firebase's: reserved ``/__/`` paths, redirects, static content, rewrites, 404.

    Args:
        config: The ``hosting`` section; None serves nothing but 404.
        functions: Where rewrites to functions go.
        site: What ``/__/firebase/init.json`` says, read at each request.
    """

    name = "hosting"

    def __init__(
        self,
        context: ServiceContext,
        *,
        port: int,
        config: HostingConfig | None,
        functions: FunctionsHost,
        site: Callable[[], Mapping[str, str]],
    ) -> None:
        self._config = config
        self._site = site
        self._functions = functions
        self._files = None if config is None else StaticFiles(config)
        self._server = HttpServer(self._serve, host=context.host, port=port)

    @property
    def port(self) -> int:
        """The bound port."""
        return self._server.port

    async def start(self) -> None:
        """Bind the port and begin to serve."""
        await self._server.start()

    async def stop(self) -> None:
        """Close the port. Safe to call twice."""
        await self._server.stop()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if any(name == b"upgrade" for name, _ in scope["headers"]) or scope["type"] != "http":
            await answer(send, 501, "Firebase Hosting does not pass on WebSockets")
            return
        config, files = self._config, self._files
        path: str = scope["path"]
        if config is None or files is None:
            await answer(send, 404, "firebase.json has no hosting section")
        elif path == _INIT_PATH:
            headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-cache")]
            await answer(send, 200, json.dumps(dict(self._site())), headers)
        elif path.startswith("/__/"):
            await answer(send, 501, f"{path}: reserved; the local cloud serves nothing here")
        else:
            exchange = _Exchange(
                (scope, receive, send), config=config, files=files, functions=self._functions
            )
            await exchange.run()


class _Exchange:
    """One request on its way through the configuration."""

    def __init__(
        self,
        asgi: tuple[Scope, Receive, Send],
        *,
        config: HostingConfig,
        files: StaticFiles,
        functions: FunctionsHost,
    ) -> None:
        scope, self._receive, self._send = asgi
        self._config = config
        self._files = files
        self._functions = functions
        self._scope = scope
        self._path: str = scope["path"]
        self._extra = self._rule_headers()

    async def run(self) -> None:
        """Answer the request."""
        for redirect in self._config.redirects:
            captures = redirect.pattern.match(self._path)
            if captures is not None:
                location = fill(redirect.destination, captures)
                await self._redirect(redirect.status, location)
                return
        readable = self._scope["method"] in {"GET", "HEAD"}
        found = self._files.resolve(self._path) if readable else None
        if found is not None:
            await self._static(found)
            return
        for rewrite in self._config.rewrites:
            if rewrite.pattern.match(self._path) is not None:
                await self._rewrite(rewrite)
                return
        await self._not_found()

    def _rule_headers(self) -> Headers:
        # A later rule replaces an earlier one's header of the same name.
        headers: dict[bytes, bytes] = {}
        for rule in self._config.headers:
            if rule.pattern.match(self._path) is not None:
                headers.update((k.encode(), v.encode("latin-1")) for k, v in rule.headers)
        return list(headers.items())

    async def _redirect(self, status: int, location: str) -> None:
        target = quote(location, safe="/:?#[]@!$&'()*+,;=%~-._")
        await answer(
            self._send,
            status,
            f"Redirecting to {target}",
            [(b"location", target.encode()), *self._extra],
        )

    async def _static(self, found: StaticFile | Moved) -> None:
        if isinstance(found, Moved):
            # "//host/index.html" would otherwise become a redirect to another site.
            location = "/" + found.location.lstrip("/")
            query: bytes = self._scope["query_string"]
            await self._redirect(301, location + ("?" + query.decode("latin-1") if query else ""))
        else:
            await self._file(found, 200)

    async def _file(self, file: StaticFile, status: int) -> None:
        await send_file(
            self._send,
            file,
            status=status,
            request=dict(self._scope["headers"]),
            head=self._scope["method"] == "HEAD",
            extra=self._extra,
        )

    async def _rewrite(self, rewrite: Rewrite) -> None:
        if rewrite.run_service is not None:
            await answer(
                self._send, 501, f"Cloud Run service {rewrite.run_service!r}: not emulated"
            )
        elif rewrite.destination is not None:
            await self._destination(rewrite.destination)
        else:
            await self._function(rewrite)

    async def _destination(self, destination: str) -> None:
        file = self._files.file(destination)
        if self._scope["method"] not in {"GET", "HEAD"}:
            await answer(
                self._send, 405, "static content takes GET and HEAD", [(b"allow", b"GET, HEAD")]
            )
        elif file is None:
            await self._not_found()
        else:
            await self._file(file, 200)

    async def _function(self, rewrite: Rewrite) -> None:
        target = rewrite.function
        assert target is not None  # noqa: S101 - the loader demands exactly one target
        spec = self._functions.find(target.function_id, target.region)
        if spec is None:
            await answer(self._send, 404, f"no function {target.function_id!r} in the project")
            return
        await self._functions.forward(
            spec,
            self._scope,
            self._receive,
            _with_defaults(self._send, self._extra),
            path=self._scope["raw_path"],
            headers=forwarded_headers(self._scope),
            timeout_s=TIMEOUT_S,
        )

    async def _not_found(self) -> None:
        page = self._files.file("/404.html")
        if page is None or self._scope["method"] not in {"GET", "HEAD"}:
            await answer(self._send, 404, _DEFAULT_404, self._extra)
        else:
            await self._file(page, 404)


def fill(destination: str, captures: Mapping[str, str]) -> str:
    """Put captures in place of ``:name``, ``:name*`` and ``:1``; other colons stay."""
    return _PARAMETER.sub(lambda found: captures.get(found[1], found[0]), destination)


def forwarded_headers(scope: Scope) -> Headers:
    """Return the request's headers as Firebase Hosting passes them to a function."""
    headers: Headers = []
    given: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        given[name] = value
        if name == b"cookie":
            headers += [(name, kept)] if (kept := _session_only(value)) else []
        elif name not in {b"host", b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-for"}:
            headers.append((name, value))
    client = scope.get("client") or ("127.0.0.1", 0)
    hops = [hop for hop in (given.get(b"x-forwarded-for"), client[0].encode()) if hop]
    headers += [
        (b"x-forwarded-host", given.get(b"host", b"localhost")),
        (b"x-forwarded-proto", scope["scheme"].encode()),
        (b"x-forwarded-for", b", ".join(hops)),
    ]
    return headers + _trace(given)


def _session_only(cookies: bytes) -> bytes:
    pairs = (pair.strip() for pair in cookies.split(b";"))
    return b"; ".join(pair for pair in pairs if pair.partition(b"=")[0] == _SESSION_COOKIE)


def _trace(given: Mapping[bytes, bytes]) -> Headers:
    """Return trace headers where the client sent none; one trace id for both forms."""
    if b"traceparent" in given or b"x-cloud-trace-context" in given:
        return []
    trace, span = secrets.token_hex(16), secrets.randbits(63)
    return [
        (b"x-cloud-trace-context", f"{trace}/{span};o=1".encode()),
        (b"traceparent", f"00-{trace}-{span:016x}-01".encode()),
    ]


def _with_defaults(send: Send, extra: Headers) -> Send:
    """Add what Hosting adds to a function's answer where the function has not said it itself."""

    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            named = {name.lower() for name, _ in message["headers"]}
            added = [*extra, (b"cache-control", b"private")]
            for name, value in added:
                if name not in named:
                    named.add(name)
                    message["headers"].append((name, value))
        await send(message)

    return wrapped
