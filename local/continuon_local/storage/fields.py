"""What an uploader may say about an object, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from continuon_local.storage import acl
from continuon_local.storage.contexts import parse_contexts
from continuon_local.storage.errors import invalid, not_implemented
from continuon_local.storage.protection import parse_retention

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["check_header_value", "check_metadata", "check_name", "settable_fields"]

# https://cloud.google.com/storage/docs/objects#naming
_MAX_NAME_BYTES = 1024

# https://cloud.google.com/storage/quotas#objects: custom metadata of one object, keys and values.
_MAX_METADATA_BYTES = 8 << 10

_TEXTS = frozenset(
    {
        "cacheControl",
        "contentDisposition",
        "contentEncoding",
        "contentLanguage",
        "contentType",
        "customTime",
        "storageClass",
    }
)
_HOLDS = frozenset({"eventBasedHold", "temporaryHold"})
_SETTABLE = _TEXTS | _HOLDS | {"acl", "contexts", "metadata", "retention"}

_STORAGE_CLASSES = frozenset(
    {"STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE", "MULTI_REGIONAL"}
    | {"REGIONAL", "DURABLE_REDUCED_AVAILABILITY"}
)


def check_name(name: str) -> None:
    """Refuse a name that no object can have.

    Raises:
        StorageError: It is empty, too long, or has a line break (400).
    """
    size = len(name.encode(errors="surrogatepass"))
    if not name:
        raise invalid("Required", reason="required", code="InvalidArgument")
    if size > _MAX_NAME_BYTES:
        message = f"The maximum object length is {_MAX_NAME_BYTES} characters, but got {size}."
        raise invalid(message, code="KeyTooLong")
    if "\r" in name or "\n" in name or name in {".", ".."}:
        raise invalid(f"Disallowed unicode characters present in object name '{name!r}'")


def settable_fields(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an uploader may set of an object resource.

    Raises:
        StorageError: A value is not valid (400), or has an effect that is not implemented (501).
    """
    if body.get("kmsKeyName"):
        raise not_implemented("Object field kmsKeyName")
    fields = {name: value for name, value in body.items() if name in _SETTABLE}
    for name, value in fields.items():
        if name in _TEXTS and value is not None:
            check_header_value(name, value)
        if name in _HOLDS and not isinstance(value, bool | None):
            raise invalid(f"Invalid value for {name}")
    check_metadata(fields.get("metadata"))
    if fields.get("storageClass") not in {None, *_STORAGE_CLASSES}:
        raise invalid(f"Invalid storage class: {fields['storageClass']}")
    if fields.get("retention") is not None:
        fields["retention"] = parse_retention(fields["retention"])
    if fields.get("contexts") is not None:
        fields["contexts"] = parse_contexts(fields["contexts"])
    if fields.get("acl") is not None:
        fields["acl"] = acl.parse_entries(fields["acl"], acl.OBJECT_ROLES)
    return fields


def check_header_value(name: str, value: object) -> None:
    """Refuse what would become a header of downloads and end it early, or begin another one.

    Raises:
        StorageError: It is not text, or holds control characters (400).
    """
    if not isinstance(value, str) or any(ord(character) < ord(" ") for character in value):
        raise invalid(f"Invalid value for {name}")


def check_metadata(metadata: object) -> None:
    """Refuse custom metadata that no object can have.

    Raises:
        StorageError: It is not a map of texts, or larger than the service takes (400).
    """
    if metadata is None:
        return
    if not isinstance(metadata, dict):
        raise invalid("Invalid value for metadata")
    total = 0
    for key, value in metadata.items():
        if not isinstance(value, str | None):
            raise invalid(f"Invalid value for metadata: {key}")
        total += len(key.encode()) + len((value or "").encode())
    if total > _MAX_METADATA_BYTES:
        message = "The metadata of the object is larger than 8 KiB."
        raise invalid(message, code="MetadataTooLarge")
