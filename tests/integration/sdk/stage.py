"""A stage for the upload queue: grants as the service does, and a wire that can be cut.

Not a double of the store: every byte goes on to the local Cloud Storage, which checks the signed
URL, the session and the preconditions. The stage only grants, writes down, and breaks connections.

    python stage.py '{"storage": "http://127.0.0.1:1", "key_file": ..., "journal": ..., "jwk": ...}'
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import uvicorn
from google.cloud.storage import Client
from google.oauth2 import service_account
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from continuon.auth.keys import public_key_from_jwk
from continuon.auth.signatures import SignedRequest, claimed_key_id, verify_request
from continuon.contracts.episodes import SignedUrlRequest
from continuon.errors import ProblemError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, MutableMapping

BUCKET = "stage"
_DROPPED = {"host", "connection", "keep-alive", "transfer-encoding", "date", "server"}


class _CutError(Exception):
    """The stage breaks this connection."""


class Stage:
    """The application."""

    def __init__(self, config: dict[str, Any], origin: str) -> None:
        self._storage = config["storage"]
        self._journal = Path(config["journal"])
        self._key = public_key_from_jwk(config["jwk"])
        self._robot_id = config["robot_id"]
        self._nonces: set[str] = set()
        self._arrivals = 0
        self._reset()
        self._origin = origin
        self._credentials = service_account.Credentials.from_service_account_file(  # type: ignore[no-untyped-call]
            config["key_file"]
        )
        self._bucket = Client(project="demo-continuon").bucket(BUCKET)
        self._upstream = httpx.AsyncClient(timeout=30, trust_env=False)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        self._arrivals += 1
        entry: dict[str, Any] = {
            "arrival": self._arrivals,
            "method": request.method,
            "path": request.url.path,
            "range": request.headers.get("content-range") or request.headers.get("range"),
            "session": request.query_params.get("upload_id"),
            "received": 0,
        }
        try:
            response = await self._answer(request, entry)
        except _CutError:
            self._write(entry | {"status": "cut"})
            send.__self__.transport.abort()
            return
        part = entry.pop("answered", None)
        known = response.headers.get("range")
        self._write(entry | {"status": response.status_code, "known": known})
        with contextlib.suppress(OSError):
            if part is None:
                await response(scope, receive, send)
                return
            start = {"type": "http.response.start", "status": response.status_code}
            await send({**start, "headers": response.raw_headers})
            await send({"type": "http.response.body", "body": part, "more_body": True})
            # Long enough for the part to leave; then the connection goes, not the answer's end.
            await asyncio.sleep(0.05)
            send.__self__.transport.abort()

    async def _answer(self, request: Request, entry: dict[str, Any]) -> Response:
        path = request.url.path
        if path == "/_control":
            return self._control(json.loads(await request.body()))
        rule = self._rule(request)
        if rule and "status" in rule:
            async for piece in request.stream():
                entry["received"] += len(piece)
            return Response(
                rule.get("body", ""), status_code=rule["status"], headers=rule.get("headers", {})
            )
        if path == "/api/rlds/signed-url":
            return await self._grant(request)
        if path.startswith("/api/v1/episodes/"):
            return await self._episode(request)
        return await self._forward(request, entry, rule)

    def _reset(self) -> None:
        self._rules: list[dict[str, Any]] = []
        self._announced: dict[str, str] = {}
        self._settled = False
        self._url_lifetime_s = 3600
        self._report: dict[str, Any] = {}
        self._rename: str | None = None
        self._journal.write_text("")

    def _control(self, wish: dict[str, Any]) -> Response:
        if wish.get("reset"):
            self._reset()
        self._rules = wish.get("rules", self._rules)
        self._settled = wish.get("settled", self._settled)
        self._report = wish.get("report", self._report)
        self._rename = wish.get("rename", self._rename)
        self._url_lifetime_s = wish.get("url_lifetime_s", self._url_lifetime_s)
        return JSONResponse({})

    def _rule(self, request: Request) -> dict[str, Any] | None:
        for rule in self._rules:
            has_body = request.headers.get("content-length", "0") != "0"
            wanted = rule["method"] == request.method and rule.get("path", "") in request.url.path
            if wanted and rule["times"] > 0 and (has_body or not rule.get("with_body")):
                rule["times"] -= 1
                return rule
        return None

    # --- What the service does -------------------------------------------------------------------

    async def _prove(self, request: Request, body: bytes) -> None:
        target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        key_id = claimed_key_id(request.headers.get("signature-input", ""))
        assert key_id is not None
        assert key_id == self._robot_id
        signed = SignedRequest(request.method, target, dict(request.headers), body)
        proof = verify_request(signed, key_id=key_id, key=self._key, now=datetime.now(UTC))
        assert proof.nonce not in self._nonces, "a signature was used twice"
        self._nonces.add(proof.nonce)

    async def _grant(self, http_request: Request) -> Response:
        body = await http_request.body()
        try:
            await self._prove(http_request, body)
        except ProblemError as error:
            return _problem(401, error.type.code, str(error))
        request = SignedUrlRequest.model_validate_json(body)
        assert request.episode_id is not None
        reference = f"episodes/raw/{self._robot_id}/{request.episode_id}"
        if self._settled:
            return _problem(409, "episode.settled", "judged before")
        announced = request.model_dump_json(exclude={"metadata"})
        if self._announced.setdefault(request.episode_id, announced) != announced:
            return _problem(409, "episode.upload_mismatch", "announced in another form")
        uploads = await asyncio.to_thread(self._uploads, request, reference)
        first = uploads[0]
        return JSONResponse(
            {
                "upload_url": first["url"],
                "expires_at": (
                    datetime.now(UTC) + timedelta(seconds=max(self._url_lifetime_s, 600))
                ).isoformat(),
                "episode_ref": reference,
                "method": first["method"],
                "headers": first["headers"],
                "uploads": uploads,
            }
        )

    def _uploads(self, request: SignedUrlRequest, reference: str) -> list[dict[str, Any]]:
        if request.files is None:
            wanted = [("episode.tar.gz", request.size_bytes or 0, request.content_type)]
        else:
            wanted = [(file.path, file.size_bytes, file.content_type) for file in request.files]
        return [
            self._upload(f"{reference}/{path}", path, size, kind, resumable=request.resumable)
            for path, size, kind in wanted
        ]

    def _upload(
        self, name: str, path: str, size: int, content_type: str, *, resumable: bool
    ) -> dict[str, Any]:
        headers = {
            "content-type": content_type,
            "x-goog-if-generation-match": "0",
            "x-goog-content-length-range": f"{size},{size}",
        }
        if resumable:
            headers["x-goog-resumable"] = "start"
        method = "POST" if resumable else "PUT"
        url = self._bucket.blob(name).generate_signed_url(
            version="v4",
            method=method,
            expiration=timedelta(seconds=self._url_lifetime_s),
            headers=headers,
            credentials=self._credentials,
            api_access_endpoint=self._origin,
        )
        return {
            "path": path,
            "url": url,
            "method": method,
            "headers": headers,
            "resumable": resumable,
            "already_uploaded": self._bucket.blob(name).exists(),
        }

    async def _episode(self, request: Request) -> Response:
        await self._prove(request, b"")
        episode_id, _, part = request.url.path.removeprefix("/api/v1/episodes/").partition("/")
        prefix = f"episodes/raw/{self._robot_id}/{episode_id}/"
        blobs = await asyncio.to_thread(lambda: list(self._bucket.list_blobs(prefix=prefix)))
        if not blobs:
            return _problem(404, "episode.not_found", "not yet")
        if part == "download":
            return JSONResponse(await asyncio.to_thread(self._downloads, episode_id, prefix))
        if part == "report":
            return JSONResponse(self._report)
        announced = json.loads(self._announced[episode_id])
        return JSONResponse(
            {
                "episode_id": episode_id,
                "robot_id": self._robot_id,
                "status": "validated",
                "uploaded_at": datetime.now(UTC).isoformat(),
                "storage_ref": prefix.rstrip("/"),
                "sha256": announced["sha256"],
                "quality": 0.9,
                "training_eligible": True,
            }
        )

    def _downloads(self, episode_id: str, prefix: str) -> dict[str, Any]:
        files = [
            {
                "path": self._rename or blob.name.removeprefix(prefix),
                "url": blob.generate_signed_url(
                    version="v4",
                    method="GET",
                    expiration=timedelta(seconds=self._url_lifetime_s),
                    credentials=self._credentials,
                    api_access_endpoint=self._origin,
                ),
                "size_bytes": blob.size,
                "crc32c": blob.crc32c,
            }
            for blob in self._bucket.list_blobs(prefix=prefix)
        ]
        expires_at = datetime.now(UTC) + timedelta(seconds=900)
        return {"episode_id": episode_id, "expires_at": expires_at.isoformat(), "files": files}

    # --- The wire --------------------------------------------------------------------------------

    async def _forward(
        self, request: Request, entry: dict[str, Any], rule: dict[str, Any] | None
    ) -> Response:
        raw_path = request.scope["raw_path"].decode()
        url = f"{self._storage}{raw_path}?{request.url.query}"
        cut_after = rule.get("cut_after") if rule else None

        async def body() -> AsyncIterator[bytes]:
            async for piece in request.stream():
                if cut_after is not None and entry["received"] + len(piece) > cut_after:
                    raise _CutError
                entry["received"] += len(piece)
                yield piece

        headers = [(name, value) for name, value in request.headers.items() if name != "connection"]
        has_body = request.headers.get("content-length", "0") != "0"
        try:
            answer = await self._upstream.request(
                request.method, url, headers=headers, content=body() if has_body else None
            )
        except Exception as error:
            raise _CutError from error
        if rule and rule.get("swallow_answer"):
            raise _CutError
        if rule and "cut_answer_after" in rule:
            entry["answered"] = answer.content[: rule["cut_answer_after"]]
        kept = {n: v for n, v in answer.headers.items() if n not in _DROPPED}
        return Response(answer.content, status_code=answer.status_code, headers=kept)

    def _write(self, entry: dict[str, Any]) -> None:
        if entry["path"] != "/_control":
            with self._journal.open("a") as journal:
                journal.write(json.dumps(entry) + "\n")


def _problem(status: int, code: str, detail: str) -> Response:
    body = {"type": "about:blank", "title": "No.", "status": status, "detail": detail, "code": code}
    return JSONResponse(body, status_code=status, media_type="application/problem+json")


def main() -> None:
    """Serve on a free port and print it."""
    config = json.loads(sys.argv[1])
    os.environ["STORAGE_EMULATOR_HOST"] = config["storage"]
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = uvicorn.Server(
        uvicorn.Config(Stage(config, origin), lifespan="off", log_level="error", access_log=False)
    )
    sys.stdout.write(origin + "\n")
    sys.stdout.flush()
    asyncio.run(server.serve(sockets=[listener]))


if __name__ == "__main__":
    main()
