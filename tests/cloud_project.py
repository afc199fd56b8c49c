"""A small project for the local cloud: a function for each trigger, each writes down its calls."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from google.auth.credentials import AnonymousCredentials

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from google.auth.credentials import Credentials

MAIN = """
import asyncio, base64, json, os, sys, time
import functions_framework.aio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

JOURNAL = os.environ["JOURNAL"]

def write_down(function, **what):
    with open(JOURNAL, "a") as file:
        file.write(json.dumps({"function": function, "pid": os.getpid(), **what}) + "\\n")

@functions_framework.aio.http
async def web(request: Request):
    path = request.url.path
    if path.endswith("/slow"):
        write_down("web", step="slow")
        await asyncio.sleep(30)
    if path.endswith("/die"):
        os.kill(os.getpid(), 9)
    if path.endswith("/stream"):
        async def chunks():
            for index in range(3):
                yield f"{index}\\n"
                await asyncio.sleep(0.05)
        return StreamingResponse(chunks(), media_type="text/plain")
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
    return JSONResponse({
        "method": request.method, "path": path, "raw_path": request.scope["raw_path"].decode(),
        "query": request.url.query, "headers": dict(request.headers), "size": size,
        "pid": os.getpid(), "env": dict(os.environ), "modules": sorted(sys.modules),
    })

def note(function, event):
    data = event.data
    if isinstance(data, bytes):
        data = base64.b64encode(data).decode()
    write_down(function, attributes=dict(event.get_attributes()), data=data)

@functions_framework.aio.cloud_event
async def on_object(event):
    note("on_object", event)
    failures = int(os.environ.get("FAILURES", "0"))
    tries = sum(1 for line in open(JOURNAL) if json.loads(line)["function"] == "on_object")
    if tries <= failures:
        raise RuntimeError("store trouble")

@functions_framework.aio.cloud_event
async def on_object_once(event):
    note("on_object_once", event)
    raise RuntimeError("never retried")

@functions_framework.aio.cloud_event
async def on_document(event):
    note("on_document", event)

@functions_framework.aio.cloud_event
async def on_change_by(event):
    note("on_change_by", event)

@functions_framework.aio.cloud_event
async def on_message(event):
    note("on_message", event)

@functions_framework.aio.http
async def tick(request: Request):
    write_down("tick", headers=dict(request.headers), body=(await request.body()).decode())
    return Response("done")
"""

MANIFEST = """
specVersion: v1alpha1
requiredAPIs: []
endpoints:
  web:
    platform: gcfv2
    entryPoint: web
    region: [us-central1]
    timeoutSeconds: 2
    httpsTrigger: {}
  on_object:
    platform: gcfv2
    entryPoint: on_object
    eventTrigger:
      eventType: google.cloud.storage.object.v1.finalized
      eventFilters: {bucket: continuon-rlds}
      retry: true
  on_object_once:
    platform: gcfv2
    entryPoint: on_object_once
    eventTrigger:
      eventType: google.cloud.storage.object.v1.deleted
      eventFilters: {bucket: continuon-rlds}
      retry: false
  on_document:
    platform: gcfv2
    entryPoint: on_document
    eventTrigger:
      eventType: google.cloud.firestore.document.v1.written
      eventFilters: {database: (default)}
      eventFilterPathPatterns: {document: "bundles/{bundle}"}
      retry: true
  on_change_by:
    platform: gcfv2
    entryPoint: on_change_by
    eventTrigger:
      eventType: google.cloud.firestore.document.v1.created.withAuthContext
      eventFilters: {database: (default)}
      eventFilterPathPatterns: {document: "owned/{id}"}
      retry: true
  on_message:
    platform: gcfv2
    entryPoint: on_message
    eventTrigger:
      eventType: google.cloud.pubsub.topic.v1.messagePublished
      eventFilters: {topic: jobs}
      retry: true
  tick:
    platform: gcfv2
    entryPoint: tick
    scheduleTrigger:
      schedule: every 5 minutes
      timeZone: UTC
"""

FIREBASE_JSON: dict[str, Any] = {
    "functions": [{"source": "functions/demo", "codebase": "demo", "runtime": "python311"}],
    "hosting": {
        "public": "public",
        "ignore": ["firebase.json", "**/.*", "**/secret/**"],
        "cleanUrls": True,
        "redirects": [
            {"source": "/old/:page", "destination": "/new/:page", "type": 302},
            {"source": "/both", "destination": "/redirected", "type": 301},
        ],
        "rewrites": [
            {"source": "/api/gone", "function": {"functionId": "missing"}},
            {"source": "/api/**", "function": {"functionId": "web", "region": "us-central1"}},
            {"source": "/app/**", "destination": "/index.html"},
        ],
        "headers": [
            {"source": "**", "headers": [{"key": "X-Frame-Options", "value": "DENY"}]},
            {
                "source": "/assets/**",
                "headers": [{"key": "Cache-Control", "value": "max-age=31536000"}],
            },
        ],
    },
}


def anonymous() -> Credentials:
    """Return credentials that the local cloud does not look at."""
    credentials: Credentials = AnonymousCredentials()  # type: ignore[no-untyped-call] # upstream has no types
    return credentials


class CloudProject:
    """The project in ``root`` and the calls its functions wrote down."""

    def __init__(self, root: Path, **environment: str) -> None:
        self.root = root
        self.journal = root / "journal.jsonl"
        codebase = root / "functions" / "demo"
        codebase.mkdir(parents=True)
        self.journal.touch()
        variables = {"JOURNAL": str(self.journal), **environment}
        lines = [f"{name}={value}\n" for name, value in variables.items()]
        (codebase / ".env.local").write_text("".join(lines))
        (codebase / "main.py").write_text(MAIN)
        (codebase / "functions.yaml").write_text(MANIFEST)
        (root / "firebase.json").write_text(json.dumps(FIREBASE_JSON))
        (root / "continuon-local.toml").write_text('buckets = ["continuon-rlds"]\n')
        self._write_public(root / "public")

    def calls(self, function: str) -> list[dict[str, Any]]:
        """Return what ``function`` wrote down, in order."""
        lines = [json.loads(line) for line in self.journal.read_text().splitlines()]
        return [line for line in lines if line["function"] == function]

    def wait_for_calls(
        self, function: str, count: int, *, timeout_s: float = 20
    ) -> list[dict[str, Any]]:
        """Wait until ``function`` was called ``count`` times."""
        wait_until(lambda: len(self.calls(function)) >= count, timeout_s=timeout_s)
        return self.calls(function)

    @staticmethod
    def _write_public(public: Path) -> None:
        for name, text in {
            "index.html": "<h1>home</h1>",
            "about.html": "<h1>about</h1>",
            "404.html": "<h1>lost</h1>",
            "both": "static",
            "assets/app.js": "0123456789",
            "secret/key.txt": "hidden",
            ".env": "hidden",
            "api/static.txt": "before the rewrite",
        }.items():
            (public / name).parent.mkdir(parents=True, exist_ok=True)
            (public / name).write_text(text)


def wait_until(condition: Callable[[], bool], *, timeout_s: float = 20) -> None:
    """Wait until ``condition`` holds; fail when it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)
