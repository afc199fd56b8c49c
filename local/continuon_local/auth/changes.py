"""How a request changes an account: the part that users and administrators share."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from typing import TYPE_CHECKING, Any

from continuon_local.auth.errors import AuthError
from continuon_local.auth.model import check_custom_attributes, check_email
from continuon_local.auth.passwords import check_strength, hash_password

if TYPE_CHECKING:
    from datetime import datetime

    from continuon_local.auth.model import Account
    from continuon_local.auth.requests import Body

__all__ = [
    "apply_admin_fields",
    "apply_credentials",
    "apply_profile",
    "hash_new_password",
    "milliseconds",
]

_E164 = re.compile(r"\+[1-9][0-9]{1,14}")
_REMOVABLE = {"DISPLAY_NAME": "display_name", "PHOTO_URL": "photo_url"}


def milliseconds(moment: datetime) -> int:
    """Return Unix milliseconds."""
    return int(moment.timestamp() * 1000)


def apply_profile(account: Account, body: Body) -> Account:
    """Return ``account`` with the display name and photo that ``body`` sets or deletes."""
    changes: dict[str, Any] = {}
    if (name := body.text("displayName")) is not None:
        changes["display_name"] = name or None
    if (photo := body.text("photoUrl")) is not None:
        changes["photo_url"] = photo or None
    for attribute in body.texts("deleteAttribute"):
        if attribute not in _REMOVABLE:
            raise AuthError("INVALID_ARGUMENT", f"deleteAttribute {attribute} is not supported")
        changes[_REMOVABLE[attribute]] = None
    return dataclasses.replace(account, **changes)


async def hash_new_password(body: Body) -> str | None:
    """Return the hash of the password that ``body`` sets, worked out on a thread, or None.

    Callers do this before they read the account, so that reading, changing and writing it happen
    without a pause in which another request could change it.

    Raises:
        AuthError: ``WEAK_PASSWORD``.
    """
    password = body.text("password")
    if password is None:
        return None
    check_strength(password)
    return await asyncio.to_thread(hash_password, password)


def apply_credentials(
    account: Account, body: Body, now: datetime, password_hash: str | None
) -> Account:
    """Return ``account`` with the address that ``body`` sets, and the new password's hash.

    Either change ends every session that began before it, as at Google.

    Raises:
        AuthError: ``INVALID_EMAIL``.
    """
    changes: dict[str, Any] = {}
    if (email := body.text("email")) is not None and check_email(email) != account.email:
        changes |= {"email": check_email(email), "email_verified": False}
    if password_hash is not None:
        changes["password_hash"] = password_hash
        changes["password_updated_at_ms"] = milliseconds(now)
    if changes:
        changes["valid_since_s"] = int(now.timestamp())
    return dataclasses.replace(account, **changes)


def apply_admin_fields(account: Account, body: Body) -> Account:
    """Return ``account`` with the fields that only an administrator may set.

    Raises:
        AuthError: The claims or the phone number are refused.
    """
    changes: dict[str, Any] = {}
    if (attributes := body.text("customAttributes")) is not None:
        changes["custom_attributes"] = check_custom_attributes(attributes)
    for name in ("disabled", "disableUser"):
        if (disabled := body.flag(name)) is not None:
            changes["disabled"] = disabled
    if (verified := body.flag("emailVerified")) is not None:
        changes["email_verified"] = verified
    if (valid_since := body.integer("validSince")) is not None:
        changes["valid_since_s"] = valid_since
    if (phone := body.text("phoneNumber")) is not None:
        changes["phone_number"] = _check_phone(phone)
    return dataclasses.replace(account, **{**changes, **_without_providers(body)})


def _without_providers(body: Body) -> dict[str, Any]:
    removed = body.texts("deleteProvider")
    changes: dict[str, Any] = {}
    if "phone" in removed:
        changes["phone_number"] = None
    if "password" in removed:
        changes |= {"password_hash": None, "password_updated_at_ms": None}
    return changes


def _check_phone(number: str) -> str | None:
    if not number:
        return None
    if not _E164.fullmatch(number):
        raise AuthError("INVALID_PHONE_NUMBER", "not in E.164 form")
    return number
