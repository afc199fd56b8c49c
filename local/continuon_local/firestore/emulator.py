"""The emulator's own REST calls: clear, rules, export, import, triggers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from continuon_local.firestore import bulk
from continuon_local.firestore.calls import status_of
from continuon_local.firestore.errors import (
    StatusError,
    invalid_argument,
    not_found,
    unimplemented,
)
from continuon_local.firestore.json_errors import error_document, http_status
from continuon_local.firestore.paths import check_database
from continuon_local.firestore.rest import json_response, read_json
from continuon_local.firestore.triggers import parse_eventarc_trigger, parse_legacy_trigger
from continuon_local.grpc_wire.codes import Code

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from continuon_local.firestore.access import Access, RulesIssue
    from continuon_local.firestore.engine import Engine
    from continuon_local.firestore.triggers import TriggerDelivery

    Handler = Callable[[Request, "re.Match[str]"], Awaitable[Any]]

__all__ = ["EmulatorApi"]


def _issues(issues: Sequence[RulesIssue]) -> dict[str, Any]:
    return {
        "issues": [
            {
                "sourcePosition": {"line": issue.line, "column": issue.column},
                "description": issue.description,
                "severity": issue.severity,
            }
            for issue in issues
        ]
    }


def _rules_source(body: dict[str, Any]) -> str:
    try:
        (file,) = body["rules"]["files"]
        source = file["content"]
    except (KeyError, TypeError, ValueError) as error:
        raise invalid_argument('The body must be {"rules": {"files": [{"content": ...}]}}.') from (
            error
        )
    if not isinstance(source, str):
        raise invalid_argument("The content of the rules must be text.")
    return source


def _folder(body: dict[str, Any]) -> Path:
    directory, name = body.get("export_directory"), body.get("export_name", "")
    if not isinstance(directory, str) or not directory or not isinstance(name, str):
        raise invalid_argument("export_directory must name a folder.")
    return Path(directory) / name


class EmulatorApi:
    """Answers everything below ``/emulator/v1/``.

    Args:
        engine: The database.
        access: Takes security rules.
        triggers: Takes the triggers that the Firebase CLI registers.
    """

    def __init__(self, engine: Engine, access: Access, triggers: TriggerDelivery) -> None:
        self._engine = engine
        self._access = access
        self._triggers = triggers
        project = r"projects/([^/:]+)"
        self._handlers: Sequence[tuple[str, re.Pattern[str], Handler]] = (
            ("DELETE", re.compile(rf"({project}/databases/[^/:]+)/documents"), self._clear),
            ("PUT", re.compile(rf"{project}:securityRules"), self._set_rules),
            ("POST", re.compile(rf"{project}:export"), self._export),
            ("POST", re.compile(rf"{project}:import"), self._import),
            ("POST", re.compile(rf"{project}/eventarcTrigger"), self._eventarc_trigger),
            ("PUT", re.compile(rf"{project}/triggers/([^/]+)"), self._legacy_trigger),
            ("DELETE", re.compile(rf"{project}/triggers/([^/]+)"), self._remove_trigger),
            ("GET", re.compile(rf"{project}:ruleCoverage(?:\.html)?"), self._rule_coverage),
        )

    async def answer(self, request: Request, path: str) -> Response:
        """Answer one request; ``path`` is the escaped rest of its path."""
        try:
            handler, match = self._find(request.method, unquote(path))
            return json_response(await handler(request, match))
        except Exception as error:  # noqa: BLE001 - every error becomes a status
            status = status_of(error, path)
            return json_response(error_document(status), http_status(status))

    def _find(self, method: str, path: str) -> tuple[Handler, re.Match[str]]:
        for known, pattern, handler in self._handlers:
            match = pattern.fullmatch(path) if known == method else None
            if match is not None:
                return handler, match
        raise not_found(f"There is no {method} of /emulator/v1/{path}.")

    async def _clear(self, _: Request, match: re.Match[str]) -> Any:
        bulk.clear(self._engine, check_database(match[1]))
        return {}

    async def _set_rules(self, request: Request, match: re.Match[str]) -> Any:
        body = await read_json(request)
        issues = self._access.set_rules(match[1], _rules_source(body))
        errors = [
            f"L{issue.line}:{issue.column} {issue.description}"
            for issue in issues
            if issue.severity == "ERROR"
        ]
        if errors and not body.get("ignore_errors"):
            raise invalid_argument("\n".join(["Error compiling rules:", *errors]))
        return _issues(issues) if issues else {}

    async def _files(self, request: Request, match: re.Match[str]) -> tuple[str, Path]:
        if "origin" in request.headers:
            # A web page must not make this program read or write files.
            raise StatusError(Code.PERMISSION_DENIED, "Not for web pages.")
        body = await read_json(request)
        database = body.get("database") or f"projects/{match[1]}/databases/(default)"
        return check_database(str(database)), _folder(body)

    async def _export(self, request: Request, match: re.Match[str]) -> Any:
        database, folder = await self._files(request, match)
        return {"documents": bulk.dump(self._engine, database, folder)}

    async def _import(self, request: Request, match: re.Match[str]) -> Any:
        database, folder = await self._files(request, match)
        return {"documents": bulk.load(self._engine, database, folder)}

    async def _eventarc_trigger(self, request: Request, match: re.Match[str]) -> Any:
        key = request.query_params.get("eventarcTriggerId", "")
        body = await read_json(request)
        self._triggers.register(parse_eventarc_trigger(match[1], key, body))
        return body

    async def _legacy_trigger(self, request: Request, match: re.Match[str]) -> Any:
        body = await read_json(request)
        self._triggers.register(parse_legacy_trigger(match[1], match[2], body))
        return body

    async def _remove_trigger(self, _: Request, match: re.Match[str]) -> Any:
        self._triggers.remove(match[1], match[2])
        return {}

    async def _rule_coverage(self, _: Request, __: re.Match[str]) -> Any:
        raise unimplemented("ruleCoverage")
