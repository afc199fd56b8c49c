"""Access to Cloud Storage: one client a process, V4 signed URLs, errors of our own family."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import google.auth
import google.auth.transport.requests
import requests
from google.api_core import exceptions
from google.auth import credentials as auth_credentials
from google.auth import exceptions as auth_exceptions
from google.cloud.storage import Bucket, Client
from google.cloud.storage.retry import DEFAULT_RETRY
from google.oauth2 import service_account

from continuon.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import timedelta

__all__ = ["STORAGE", "UrlSigner", "storage_client", "storage_errors", "url_signer"]

_SCOPES: Final = ("https://www.googleapis.com/auth/cloud-platform",)
_TRANSIENT = (
    auth_exceptions.TransportError,
    exceptions.InternalServerError,
    exceptions.BadGateway,
    exceptions.GatewayTimeout,
    exceptions.RetryError,
    exceptions.ServiceUnavailable,
    exceptions.TooManyRequests,
    requests.ConnectionError,
    requests.Timeout,
)

STORAGE: Final[Mapping[str, Any]] = MappingProxyType(
    {
        # The client's own two minutes would keep a caller waiting that could come back instead.
        "retry": DEFAULT_RETRY.with_timeout(5.0),
        # To connect, and for each read.
        "timeout": (5.0, 30.0),
    }
)
"""How every call is made; passed as keywords, because the client has no setting for it."""


@cache
def storage_client() -> Client:
    """Return this process's client; it is thread-safe."""
    return Client(project=os.environ.get("GOOGLE_CLOUD_PROJECT"))


@contextmanager
def storage_errors() -> Iterator[None]:
    """Turn a failure of the service into :class:`UnavailableError`; let the rest through."""
    try:
        yield
    except _TRANSIENT as error:
        raise UnavailableError("Cloud Storage") from error


@dataclass(frozen=True)
class UrlSigner:
    """Makes V4 signed URLs for one bucket.

    Attributes:
        bucket: The bucket of every URL.
        endpoint: Scheme and authority of the URLs, or None for Google's.
        credentials: A service account key (local cloud), or the platform's own credentials, which
            sign through the IAM Credentials API and need ``iam.serviceAccounts.signBlob``.
    """

    bucket: Bucket
    endpoint: str | None
    credentials: Any

    def sign(
        self,
        object_name: str,
        *,
        method: str,
        lifetime: timedelta,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> str:
        """Return a URL for ``method`` on ``object_name``; every header given is signed.

        Raises:
            UnavailableError: The IAM API did not answer.
        """
        blob = self.bucket.blob(object_name)
        options: dict[str, Any] = {}
        if not isinstance(self.credentials, auth_credentials.Signing):
            options = self._remote_signing()
        if self.endpoint:
            options["api_access_endpoint"] = self.endpoint
        with storage_errors():
            url: str = blob.generate_signed_url(
                version="v4",
                method=method,
                expiration=lifetime,
                headers=dict(headers or {}),
                query_parameters=dict(query or {}),
                credentials=self.credentials,
                **options,
            )
        return url

    def _remote_signing(self) -> dict[str, Any]:
        with storage_errors():
            if not self.credentials.valid:
                self.credentials.refresh(google.auth.transport.requests.Request())
        return {
            "service_account_email": self.credentials.service_account_email,
            "access_token": self.credentials.token,
        }


def _key_file_credentials(path: str) -> Any:
    return service_account.Credentials.from_service_account_file(path)  # type: ignore[no-untyped-call]


@cache
def url_signer(bucket: str) -> UrlSigner:
    """Return the signer of ``bucket`` with this process's credentials."""
    handle = storage_client().bucket(bucket)
    endpoint = os.environ.get("STORAGE_EMULATOR_HOST")
    if endpoint:
        key_file = os.environ["GOOGLE_APPLICATION_CREDENTIALS"]
        return UrlSigner(handle, endpoint, _key_file_credentials(key_file))
    credentials, _ = google.auth.default(scopes=_SCOPES)
    return UrlSigner(handle, None, credentials)
