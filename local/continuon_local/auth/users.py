"""What an end user may do: sign up, sign in, see and change the own account."""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
from typing import TYPE_CHECKING, Any

from continuon_local.auth import changes, tokens
from continuon_local.auth.errors import AuthError
from continuon_local.auth.model import Account, Session, check_email, check_local_id
from continuon_local.auth.passwords import verify_password
from continuon_local.auth.requests import Body

if TYPE_CHECKING:
    from continuon_local.auth.store import AuthStore
    from continuon_local.clock import Clock

__all__ = ["UserCalls", "new_local_id"]

_KIND = "identitytoolkit#"
_LOCAL_ID_BYTES = 21  # 28 characters, as Firebase's own ids
_ADMIN_FIELDS = (
    "customAttributes",
    "disableUser",
    "emailVerified",
    "localId",
    "phoneNumber",
    "validSince",
)


def new_local_id() -> str:
    """Return a fresh user id of 28 letters, digits and two marks."""
    return secrets.token_urlsafe(_LOCAL_ID_BYTES)


class UserCalls:
    """The calls that a client makes with an API key or an ID token."""

    def __init__(self, store: AuthStore, clock: Clock, project: str) -> None:
        self._store = store
        self._clock = clock
        self._project = project

    async def sign_up(self, body: Body) -> dict[str, Any]:
        """Create an account with a password, or an anonymous one where ``body`` names neither.

        With an ID token the credentials are linked to the account of that token instead.
        """
        if body.has("idToken"):
            return await self.update(Body({**body.values, "returnSecureToken": True}))
        email, password = body.text("email"), body.text("password")
        if (email or password) and not email:
            raise AuthError("MISSING_EMAIL")
        if email and not password:
            raise AuthError("MISSING_PASSWORD")
        password_hash = await changes.hash_new_password(body)
        account = self._new_account(new_local_id())
        account = changes.apply_credentials(account, body, self._clock.now(), password_hash)
        account = changes.apply_profile(account, body)
        self._store.insert(account)
        answer = self._signed_in(account, "password" if email else "anonymous")
        return {"kind": f"{_KIND}SignupNewUserResponse", **_identity(account), **answer}

    async def sign_in_with_password(self, body: Body) -> dict[str, Any]:
        """Check an address and a password.

        The answer does not tell an unknown address from a wrong password: projects have e-mail
        enumeration protection on by default since September 2023.
        """
        email, password = body.text("email"), body.text("password")
        if not email:
            raise AuthError("MISSING_EMAIL")
        if not password:
            raise AuthError("MISSING_PASSWORD")
        account = self._store.by_email(self._project, check_email(email))
        if account is None or account.password_hash is None:
            raise AuthError("INVALID_LOGIN_CREDENTIALS")
        verified = account.password_hash
        if not await asyncio.to_thread(verify_password, password, verified):
            raise AuthError("INVALID_LOGIN_CREDENTIALS")
        # The account may have changed or gone while the hash was worked out on a thread.
        account = self._store.by_id(account.project, account.local_id)
        if account is None or account.password_hash != verified:
            raise AuthError("INVALID_LOGIN_CREDENTIALS")
        answer = self._signed_in(_enabled(account), "password")
        kind = f"{_KIND}VerifyPasswordResponse"
        return {"kind": kind, "registered": True, **_identity(account), **answer}

    async def sign_in_with_custom_token(self, body: Body) -> dict[str, Any]:
        """Take a token that a backend made with firebase-admin; a new user id is an account."""
        token = body.text("token")
        if not token:
            raise AuthError("MISSING_CUSTOM_TOKEN")
        uid, claims = tokens.custom_token_claims(token, self._now_s())
        found = self._store.by_id(self._project, check_local_id(uid))
        account = _enabled(found or self._new_account(uid))
        if found is None:
            self._store.insert(account)
        account = dataclasses.replace(account, custom_auth=True)
        answer = self._signed_in(account, "custom", claims)
        kind = f"{_KIND}VerifyCustomTokenResponse"
        return {"kind": kind, "isNewUser": found is None, **answer}

    async def lookup(self, body: Body) -> dict[str, Any]:
        """Show the account of an ID token."""
        account = self._of_token(body)
        return {"kind": f"{_KIND}GetAccountInfoResponse", "users": [account.to_wire()]}

    async def update(self, body: Body) -> dict[str, Any]:
        """Change the account of an ID token."""
        if any(body.has(name) for name in _ADMIN_FIELDS):
            raise AuthError("INSUFFICIENT_PERMISSION", status=403)
        password_hash = await changes.hash_new_password(body)
        before = self._of_token(body)
        _refuse_unverified_address(before, body.text("email"))
        account = changes.apply_credentials(before, body, self._clock.now(), password_hash)
        account = changes.apply_profile(account, body)
        self._store.update(account)
        answer = {"kind": f"{_KIND}SetAccountInfoResponse", **_identity(account)}
        if body.flag("returnSecureToken"):
            provider = "password" if account.password_hash else "anonymous"
            answer |= self._signed_in(account, provider)
        return answer

    async def delete(self, body: Body) -> dict[str, Any]:
        """Delete the account of an ID token."""
        account = self._of_token(body)
        self._store.delete(account.project, [account.local_id])
        return {"kind": f"{_KIND}DeleteAccountResponse"}

    async def refresh(self, form: dict[str, str]) -> dict[str, Any]:
        """Exchange a refresh token for a fresh ID token (``securetoken.googleapis.com``)."""
        if form.get("grant_type") != "refresh_token":
            raise AuthError(
                "INVALID_GRANT_TYPE" if form.get("grant_type") else "MISSING_GRANT_TYPE"
            )
        refresh_token = form.get("refresh_token")
        if not refresh_token:
            raise AuthError("MISSING_REFRESH_TOKEN")
        session = self._store.session(refresh_token)
        if session is None:
            raise AuthError("INVALID_REFRESH_TOKEN")
        account = _enabled(self._existing(session.project, session.local_id))
        if session.auth_time_s < account.valid_since_s:
            raise AuthError("TOKEN_EXPIRED")
        id_token = self._id_token(account, session)
        return {
            "id_token": id_token,
            "access_token": id_token,
            "expires_in": str(tokens.ID_TOKEN_LIFETIME_S),
            "refresh_token": refresh_token,
            "token_type": "Bearer",
            "user_id": account.local_id,
            "project_id": account.project,
        }

    def _of_token(self, body: Body) -> Account:
        token = body.text("idToken")
        if not token:
            raise AuthError("MISSING_ID_TOKEN")
        claims = tokens.read_id_token(token, self._now_s())
        account = _enabled(self._existing(claims["aud"], claims["sub"]))
        if claims["iat"] < account.valid_since_s:
            raise AuthError("TOKEN_EXPIRED")
        return account

    def _existing(self, project: str, local_id: str) -> Account:
        account = self._store.by_id(project, local_id)
        if account is None:
            raise AuthError("USER_NOT_FOUND")
        return account

    def _new_account(self, local_id: str) -> Account:
        now = self._clock.now()
        return Account(
            project=self._project,
            local_id=local_id,
            created_at_ms=changes.milliseconds(now),
            valid_since_s=int(now.timestamp()),
        )

    def _signed_in(
        self, account: Account, provider: str, claims: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        now = self._clock.now()
        account = dataclasses.replace(account, last_login_at_ms=changes.milliseconds(now))
        self._store.update(account)
        session = Session(
            project=account.project,
            local_id=account.local_id,
            auth_time_s=int(now.timestamp()),
            provider=provider,
            claims=claims or {},
        )
        return {
            "idToken": self._id_token(account, session),
            "refreshToken": self._store.add_session(session),
            "expiresIn": str(tokens.ID_TOKEN_LIFETIME_S),
        }

    def _id_token(self, account: Account, session: Session) -> str:
        return tokens.encode_unsigned(tokens.id_token_claims(account, session, self._now_s()))

    def _now_s(self) -> int:
        return int(self._clock.now().timestamp())


def _enabled(account: Account) -> Account:
    if account.disabled:
        raise AuthError("USER_DISABLED")
    return account


def _identity(account: Account) -> dict[str, Any]:
    answer: dict[str, Any] = {"localId": account.local_id}
    if account.email is not None:
        answer["email"] = account.email
    if account.display_name is not None:
        answer["displayName"] = account.display_name
    return answer


def _refuse_unverified_address(account: Account, email: str | None) -> None:
    """Refuse to move an account to another address without a mail that verifies it.

    So does a project with e-mail enumeration protection; a first address may be set.
    """
    if email is not None and account.email is not None and check_email(email) != account.email:
        raise AuthError(
            "OPERATION_NOT_ALLOWED", "Please verify the new email before changing email."
        )
