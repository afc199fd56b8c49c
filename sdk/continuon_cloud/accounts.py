"""Signing a person in with Identity Toolkit, and keeping the session.

The session (a refresh token) is stored owner-only under ``<home>/accounts/``, one file for each
cloud. Tokens never appear in an exception, a log or a representation.
"""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import httpx

from continuon_cloud.errors import NotSignedInError, SettingsError, SignInError, UnreachableError
from continuon_cloud.files import private_folder, read_private, replace_private

if TYPE_CHECKING:
    from continuon_cloud.settings import Settings

__all__ = ["Accounts", "Session"]

_REFRESH_EARLY_S: Final = 120
"""A token is renewed this long before it expires, so that no request meets the end."""

_EMULATOR_KEY: Final = "continuon-local"
"""Identity Toolkit emulators accept any API key."""

_REMEDIES: Final = {
    "EMAIL_EXISTS": "Sign in without --create.",
    "EMAIL_NOT_FOUND": "Check the address, or add --create to make an account.",
    "INVALID_LOGIN_CREDENTIALS": "Check the address and the password; --create makes an account.",
    "INVALID_PASSWORD": "Check the password.",
    "INVALID_EMAIL": "Give a whole e-mail address.",
    "WEAK_PASSWORD": "Use at least six characters.",
    "TOO_MANY_ATTEMPTS_TRY_LATER": "Wait some minutes and try again.",
    "USER_DISABLED": "Ask an administrator of this cloud.",
    "TOKEN_EXPIRED": "Sign in again: continuon login.",
    "INVALID_REFRESH_TOKEN": "Sign in again: continuon login.",
}


@dataclass(frozen=True, slots=True)
class Session:
    """A signed-in person, on one cloud.

    Attributes:
        base_url: The cloud the session belongs to.
        uid: The user id.
        email: As Identity Toolkit knows it.
        expires_at: Unix seconds at which ``id_token`` ends.
    """

    base_url: str
    uid: str
    email: str
    expires_at: float
    id_token: str = field(repr=False)
    refresh_token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Endpoints:
    identity: str
    tokens: str
    api_key: str = field(repr=False)


class Accounts:
    """The sessions of one home folder, for one cloud."""

    def __init__(self, settings: Settings, http: httpx.AsyncClient) -> None:
        self._settings = settings
        self._http = http
        name = re.sub(r"[^a-z0-9.-]+", "_", settings.base_url.lower())
        self._path = settings.home / "accounts" / f"{name}.json"
        self._endpoints: _Endpoints | None = None

    async def sign_in(self, email: str, password: str, *, create: bool = False) -> Session:
        """Sign in, or make the account first, and keep the session.

        Raises:
            SignInError: Refused; its code is ``auth.`` and Identity Toolkit's word in lower case.
            UnreachableError: No answer.
        """
        endpoints = await self._find()
        verb = "signUp" if create else "signInWithPassword"
        answer = await self._post(
            f"{endpoints.identity}/accounts:{verb}?key={endpoints.api_key}",
            json_body={"email": email, "password": password, "returnSecureToken": True},
        )
        return self._keep(
            uid=answer["localId"],
            email=answer.get("email", email),
            id_token=answer["idToken"],
            refresh_token=answer["refreshToken"],
            lifetime_s=answer["expiresIn"],
        )

    def sign_out(self) -> bool:
        """Forget the session on this machine; tell whether there was one."""
        try:
            self._path.unlink()
        except FileNotFoundError:
            return False
        return True

    def stored(self) -> Session:
        """Return the session as it was stored, possibly with an expired ID token.

        Raises:
            NotSignedInError: There is none.
        """
        try:
            return Session(**json.loads(read_private(self._path)))
        except FileNotFoundError as error:
            raise NotSignedInError(
                f"nobody is signed in to {self._settings.base_url}",
                hint="Sign in: continuon login --email YOU@EXAMPLE.COM",
            ) from error
        except (ValueError, TypeError) as error:
            raise NotSignedInError(
                f"the stored session is damaged: {self._path}", hint="Sign in again."
            ) from error

    async def current(self) -> Session:
        """Return a session whose ID token is good for some minutes, renewing it if need be.

        Raises:
            NotSignedInError: There is none.
            SignInError: It was revoked.
            UnreachableError: No answer.
        """
        session = self.stored()
        if session.expires_at - _REFRESH_EARLY_S > _now():
            return session
        endpoints = await self._find()
        answer = await self._post(
            f"{endpoints.tokens}/token?key={endpoints.api_key}",
            form={"grant_type": "refresh_token", "refresh_token": session.refresh_token},
        )
        return self._keep(
            uid=answer.get("user_id", session.uid),
            email=session.email,
            id_token=answer["id_token"],
            refresh_token=answer["refresh_token"],
            lifetime_s=answer["expires_in"],
        )

    def _keep(
        self, *, uid: str, email: str, id_token: str, refresh_token: str, lifetime_s: str
    ) -> Session:
        session = Session(
            base_url=self._settings.base_url,
            uid=uid,
            email=email,
            expires_at=_now() + float(lifetime_s),
            id_token=id_token,
            refresh_token=refresh_token,
        )
        private_folder(self._path.parent)
        replace_private(self._path, json.dumps(asdict(session)).encode())
        return session

    async def _find(self) -> _Endpoints:
        if self._endpoints is None:
            self._endpoints = await self._discover()
        return self._endpoints

    async def _discover(self) -> _Endpoints:
        if self._settings.auth_emulator_host:
            return _emulator(self._settings.auth_emulator_host, _EMULATOR_KEY)
        # Firebase Hosting's reserved URL: every deployed site answers it.
        url = f"{self._settings.base_url}/__/firebase/init.json"
        try:
            response = await self._http.get(url)
            config = response.raise_for_status().json()
            key = str(config["apiKey"])
        except httpx.TransportError as error:
            raise _unreachable(self._settings.base_url) from error
        except (httpx.HTTPStatusError, ValueError, KeyError, TypeError) as error:
            raise SettingsError(
                f"{self._settings.base_url} does not say how to sign in",
                code="settings.no_auth",
                hint="Is this the address of a Continuon Cloud? Its /__/firebase/init.json must "
                "answer; or set FIREBASE_AUTH_EMULATOR_HOST.",
            ) from error
        host = config.get("authEmulatorHost")
        if host:
            return _emulator(_on_this_machine(str(host)), key)
        return _Endpoints(
            "https://identitytoolkit.googleapis.com/v1",
            "https://securetoken.googleapis.com/v1",
            key,
        )

    async def _post(
        self, url: str, *, json_body: Any = None, form: dict[str, str] | None = None
    ) -> dict[str, Any]:
        try:
            response = await self._http.post(url, json=json_body, data=form)
        except httpx.TransportError as error:
            raise _unreachable("the sign-in service") from error
        answer: Any = None
        with contextlib.suppress(ValueError):
            answer = response.json()
        if response.is_success and isinstance(answer, dict):
            return answer
        raise _refused(response.status_code, answer)


def _on_this_machine(host: str) -> str:
    """Let a site name a sign-in service on this machine only: a password is about to go there.

    Raises:
        SettingsError: ``host`` is another machine.
    """
    if urlsplit(f"//{host}").hostname in {"127.0.0.1", "::1", "localhost"}:
        return host
    raise SettingsError(
        "the site names a sign-in service on another machine",
        code="settings.foreign_auth",
        hint="Set FIREBASE_AUTH_EMULATOR_HOST yourself if you trust it.",
    )


def _emulator(host: str, key: str) -> _Endpoints:
    origin = host if "://" in host else f"http://{host}"
    return _Endpoints(
        f"{origin}/identitytoolkit.googleapis.com/v1",
        f"{origin}/securetoken.googleapis.com/v1",
        key,
    )


def _refused(status: int, answer: Any) -> SignInError | UnreachableError:
    if status >= httpx.codes.INTERNAL_SERVER_ERROR:
        return UnreachableError("the sign-in service failed", hint="Try again in a moment.")
    error = answer.get("error") if isinstance(answer, dict) else None
    message = str(error.get("message", "")) if isinstance(error, dict) else ""
    word = re.split(r"[ :]", message, maxsplit=1)[0]
    if not re.fullmatch(r"[A-Z_]{3,64}", word):
        word = "REFUSED"
    return SignInError(
        f"the sign-in service refused: {word}",
        code=f"auth.{word.lower()}",
        hint=_REMEDIES.get(word, ""),
    )


def _unreachable(what: str) -> UnreachableError:
    return UnreachableError(
        f"{what} does not answer", hint="Check the address and the network, then try again."
    )


def _now() -> float:
    return datetime.now(UTC).timestamp()
