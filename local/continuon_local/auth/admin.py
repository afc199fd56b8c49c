"""What an administrator may do: the calls of firebase-admin."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from continuon_local.auth import changes
from continuon_local.auth.errors import AuthError
from continuon_local.auth.model import Account, check_email, check_local_id
from continuon_local.auth.requests import refuse_unsupported
from continuon_local.auth.users import new_local_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from continuon_local.auth.requests import Body
    from continuon_local.auth.store import AuthStore
    from continuon_local.clock import Clock

__all__ = ["AdminCalls"]

MAX_PAGE_ACCOUNTS = 1000
"""The most accounts of one ``batchGet``, ``batchCreate`` or ``batchDelete``, as at Google."""

DEFAULT_PAGE_ACCOUNTS = 20
MAX_QUERY_ACCOUNTS = 500
_KIND = "identitytoolkit#"
_SORT_KEYS: Mapping[str, str] = {
    "USER_ID": "local_id",
    "NAME": "display_name",
    "CREATED_AT": "created_at_ms",
    "LAST_LOGIN_AT": "last_login_at_ms",
    "USER_EMAIL": "email",
}


class AdminCalls:
    """The calls under ``projects/P`` that need ``Authorization: Bearer owner``."""

    def __init__(self, store: AuthStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def create(self, project: str, body: Body) -> dict[str, Any]:
        """Create an account, under a chosen user id where ``localId`` is set."""
        account = await self._build(project, body)
        self._store.insert(account)
        answer = {"kind": f"{_KIND}SignupNewUserResponse", "localId": account.local_id}
        return answer if account.email is None else {**answer, "email": account.email}

    async def lookup(self, project: str, body: Body) -> dict[str, Any]:
        """Show accounts by user id, address or phone number; who is not found is left out."""
        found: dict[str, Account | None] = {}
        for local_id in body.texts("localId"):
            found[local_id] = self._store.by_id(project, local_id)
        by_email = [self._store.by_email(project, email) for email in body.texts("email")]
        by_phone = [self._store.by_phone(project, phone) for phone in body.texts("phoneNumber")]
        for account in (*by_email, *by_phone):
            if account is not None:
                found[account.local_id] = account
        answer: dict[str, Any] = {"kind": f"{_KIND}GetAccountInfoResponse"}
        users = [account.to_wire() for account in found.values() if account is not None]
        return {**answer, "users": users} if users else answer

    async def update(self, project: str, body: Body) -> dict[str, Any]:
        """Change an account by its user id."""
        password_hash = await changes.hash_new_password(body)
        account = self._existing(project, body)
        account = changes.apply_credentials(account, body, self._clock.now(), password_hash)
        account = changes.apply_profile(account, body)
        account = changes.apply_admin_fields(account, body)
        self._store.update(account)
        answer = {"kind": f"{_KIND}SetAccountInfoResponse", "localId": account.local_id}
        return answer if account.email is None else {**answer, "email": account.email}

    async def delete(self, project: str, body: Body) -> dict[str, Any]:
        """Delete an account by its user id."""
        account = self._existing(project, body)
        self._store.delete(project, [account.local_id])
        return {"kind": f"{_KIND}DeleteAccountResponse"}

    async def batch_get(self, project: str, body: Body) -> dict[str, Any]:
        """List accounts by user id, ``maxResults`` at a time."""
        limit = _limit(body.integer("maxResults"), DEFAULT_PAGE_ACCOUNTS, MAX_PAGE_ACCOUNTS)
        after = body.text("nextPageToken") or ""
        accounts = self._store.page(project, after=after, limit=limit + 1)
        answer: dict[str, Any] = {
            "kind": f"{_KIND}DownloadAccountResponse",
            "users": [account.to_wire() for account in accounts[:limit]],
        }
        if len(accounts) > limit:
            answer["nextPageToken"] = accounts[limit - 1].local_id
        return answer

    async def batch_delete(self, project: str, body: Body) -> dict[str, Any]:
        """Delete accounts; without ``force`` only those that are disabled."""
        local_ids = body.texts("localIds")
        if not 0 < len(local_ids) <= MAX_PAGE_ACCOUNTS:
            raise AuthError("LOCAL_ID_LIST_EXCEEDS_LIMIT")
        force = body.flag("force") or False
        doomed: list[str] = []
        errors: list[dict[str, Any]] = []
        for index, local_id in enumerate(local_ids):
            account = self._store.by_id(project, local_id)
            if account is not None and not account.disabled and not force:
                message = "NOT_DISABLED : Disable the account before batch deletion."
                errors.append({"index": index, "localId": local_id, "message": message})
            elif account is not None:
                doomed.append(local_id)
        self._store.delete(project, doomed)
        return {"errors": errors} if errors else {}

    async def batch_create(self, project: str, body: Body) -> dict[str, Any]:
        """Import accounts without password hashes; a user id that exists is replaced."""
        users = body.objects("users")
        if not 0 < len(users) <= MAX_PAGE_ACCOUNTS:
            raise AuthError("MISSING_USER_ACCOUNT")
        errors: list[dict[str, Any]] = []
        for index, user in enumerate(users):
            try:
                await self._import(project, user)
            except AuthError as error:
                errors.append({"index": index, "message": error.message})
        answer: dict[str, Any] = {"kind": f"{_KIND}UploadAccountResponse"}
        return {**answer, "error": errors} if errors else answer

    async def query(self, project: str, body: Body) -> dict[str, Any]:
        """Count or show the accounts that match one of the ``expression`` entries."""
        matches = [
            account
            for account in self._all(project)
            if _matches_any(account, body.objects("expression"))
        ]
        if body.flag("returnUserInfo") is False:
            return {"recordsCount": str(len(matches))}
        matches.sort(key=_sort_key(body), reverse=body.text("order") == "DESC")
        offset = body.integer("offset") or 0
        limit = _limit(body.integer("limit"), MAX_QUERY_ACCOUNTS, MAX_QUERY_ACCOUNTS)
        page = matches[offset : offset + limit]
        return {"recordsCount": str(len(page)), "userInfo": [each.to_wire() for each in page]}

    async def clear(self, project: str) -> None:
        """Remove every account of the project (an extra of the emulator)."""
        self._store.clear(project)

    async def _build(self, project: str, body: Body) -> Account:
        password_hash = await changes.hash_new_password(body)
        now = self._clock.now()
        account = Account(
            project=project,
            local_id=check_local_id(body.text("localId") or new_local_id()),
            created_at_ms=changes.milliseconds(now),
            valid_since_s=int(now.timestamp()),
        )
        account = changes.apply_credentials(account, body, now, password_hash)
        account = changes.apply_profile(account, body)
        return changes.apply_admin_fields(account, body)

    async def _import(self, project: str, user: Body) -> None:
        refuse_unsupported(user)
        if not user.text("localId"):
            raise AuthError("MISSING_LOCAL_ID")
        if email := user.text("email"):
            check_email(email)
        account = await self._build(project, user)
        if self._store.by_id(project, account.local_id) is None:
            self._store.insert(account)
        else:
            self._store.update(account)

    def _existing(self, project: str, body: Body) -> Account:
        local_id = body.text("localId")
        if not local_id:
            raise AuthError("MISSING_LOCAL_ID")
        account = self._store.by_id(project, local_id)
        if account is None:
            raise AuthError("USER_NOT_FOUND")
        return account

    def _all(self, project: str) -> Iterator[Account]:
        after = ""
        while page := self._store.page(project, after=after, limit=MAX_PAGE_ACCOUNTS):
            yield from page
            after = page[-1].local_id


def _limit(asked: int | None, default: int, most: int) -> int:
    return min(asked or default, most)


def _matches_any(account: Account, expressions: list[Body]) -> bool:
    return not expressions or any(
        expression.text("userId") == account.local_id
        or (expression.text("email") or "").lower() == (account.email or "-")
        or expression.text("phoneNumber") == (account.phone_number or "-")
        for expression in expressions
    )


def _sort_key(body: Body) -> Any:
    column = _SORT_KEYS.get(body.text("sortBy") or "USER_ID")
    if column is None:
        raise AuthError("INVALID_ARGUMENT", "sortBy is unknown")

    def key(account: Account) -> tuple[bool, Any, str]:
        value = dataclasses.asdict(account)[column]
        return value is not None, value or "", account.local_id

    return key
