"""What a custom job wrote, from Cloud Logging: the only place where Vertex AI keeps it.

One call of ``entries:list`` for each chunk, through google-auth's session, because the client
library of Cloud Logging would be one more package for one method. Needs
``logging.logEntries.list``; a deployment without it gets told where to look.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import google.auth
import requests
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import AuthorizedSession

from continuon_training.executors.base import ExecutorUnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["JobLogs"]

PAGE: Final = 1000
"""Entries of one chunk: one page, which is also Cloud Logging's limit."""

_URL: Final = "https://logging.googleapis.com"
_SCOPES: Final = ("https://www.googleapis.com/auth/logging.read",)
_TIMEOUT_S: Final = (5.0, 20.0)
_FORBIDDEN, _ERROR = 403, 400
_SECOND_NS: Final = 1_000_000_000
_TIME: Final = re.compile(r"(.{19})(?:\.(\d{1,9}))?Z")
"""RFC 3339 in UTC; Cloud Logging's times have up to nine digits of a second's fraction."""


class JobLogs:
    """Output of the custom jobs of one project.

    Args:
        project: Whose Cloud Logging.
        emulator: Host and port of a server without credentials; for tests.
    """

    def __init__(self, project: str, emulator: str | None = None) -> None:
        self._project = project
        self._url = f"http://{emulator}" if emulator else _URL
        self._session: requests.Session | None = requests.Session() if emulator else None

    def read(self, job_id: str, after_ns: int) -> tuple[str, int]:
        """Return output after a moment, and the moment of its last entry, as times in ns.

        Raises:
            ExecutorUnavailableError: Cloud Logging did not answer.
        """
        query = f'resource.type="ml_job" resource.labels.job_id="{job_id}"'
        since = f' timestamp>"{_written(after_ns)}"' if after_ns else ""
        body = {
            "resourceNames": [f"projects/{self._project}"],
            "filter": query + since,
            "orderBy": "timestamp asc",
            "pageSize": PAGE,
        }
        try:
            answer = self._connected().post(
                f"{self._url}/v2/entries:list", json=body, timeout=_TIMEOUT_S
            )
        except (requests.RequestException, GoogleAuthError) as error:
            raise ExecutorUnavailableError("Cloud Logging", type(error).__name__) from error
        if answer.status_code == _FORBIDDEN:
            where = f"The output is in Cloud Logging, project {self._project}: {query}\n"
            return ("", after_ns) if after_ns else (where, 1)
        if answer.status_code >= _ERROR:
            raise ExecutorUnavailableError("Cloud Logging", f"status {answer.status_code}")
        return _text(answer.json().get("entries", []), after_ns)

    def _connected(self) -> requests.Session:
        if self._session is None:
            credentials, _ = google.auth.default(scopes=_SCOPES)
            self._session = AuthorizedSession(credentials)  # type: ignore[no-untyped-call]  # upstream
        return self._session


def _text(entries: Sequence[dict[str, Any]], after_ns: int) -> tuple[str, int]:
    """Return the entries' text and last moment, cut between two moments where a page is full."""
    moments = [_nanoseconds(entry["timestamp"]) for entry in entries]
    if len(entries) == PAGE and moments[0] < moments[-1]:
        kept = moments.index(moments[-1])
        entries, moments = entries[:kept], moments[:kept]
    text = "".join(_line(entry) for entry in entries)
    return text, moments[-1] if moments else after_ns


def _line(entry: dict[str, Any]) -> str:
    said = entry.get("textPayload")
    if said is None:
        said = entry.get("jsonPayload", {}).get("message", "")
    return f"{str(said).rstrip()}\n"


def _nanoseconds(moment: str) -> int:
    found = _TIME.fullmatch(moment)
    if found is None:
        return 0
    seconds = datetime.fromisoformat(found[1]).replace(tzinfo=UTC).timestamp()
    return int(seconds) * _SECOND_NS + int((found[2] or "0").ljust(9, "0"))


def _written(nanoseconds: int) -> str:
    seconds, fraction = divmod(nanoseconds, _SECOND_NS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:09}Z"
