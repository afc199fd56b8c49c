"""Asks a running hub, for the command line."""

from __future__ import annotations

from typing import Any

from continuon_local.errors import LocalCloudError

__all__ = ["HubClient"]

_TIMEOUT_S = 10


class HubClient:
    """The hub at ``url``.

    Every method raises :class:`LocalCloudError` when the hub refuses or does not answer.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def get(self, path: str, **query: str) -> Any:
        """Return the JSON under ``path``."""
        return self._call("GET", path, params=query)

    def post(self, path: str, document: Any) -> Any:
        """Post JSON and return the answer's."""
        return self._call("POST", path, json=document)

    def _call(self, method: str, path: str, **options: Any) -> Any:
        import httpx  # noqa: PLC0415 - the command that starts everything does not need it

        try:
            answer = httpx.request(method, self._url + path, timeout=_TIMEOUT_S, **options)
            document = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise LocalCloudError(f"the hub at {self._url} does not answer: {error}") from error
        if answer.is_error:
            raise LocalCloudError(str(document.get("error", document)))
        return document
