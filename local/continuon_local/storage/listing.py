"""Listing: prefixes, delimiters, offsets and pages over the order of names."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from continuon_local.storage.contexts import parse_filter
from continuon_local.storage.errors import invalid
from continuon_local.storage.globs import compile_glob

if TYPE_CHECKING:
    import re
    from collections.abc import Mapping

    from continuon_local.storage.contexts import ContextFilter
    from continuon_local.storage.records import ObjectRecord
    from continuon_local.storage.store import Store

__all__ = ["ListQuery", "Page", "list_objects", "page_size", "successor"]

# The service answers at most this many items and prefixes at once, and so many by default.
_MAX_RESULTS = 1000

_MAX_CODE_POINT = 0x10FFFF
_SURROGATES = (0xD800, 0xE000)


def page_size(parameters: Mapping[str, str]) -> int:
    """Return ``maxResults``, at most 1000.

    Raises:
        StorageError: It is not a positive number (400).
    """
    text = parameters.get("maxResults")
    if text is None:
        return _MAX_RESULTS
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text)):  # noqa: PLR2004 - 32 bits
        raise invalid(f"Invalid value for maxResults: {text}")
    return min(int(text), _MAX_RESULTS)


@dataclass(frozen=True, kw_only=True)
class ListQuery:
    """What to list; the names are the JSON API's."""

    bucket: str
    prefix: str = ""
    delimiter: str = ""
    start_offset: str = ""
    end_offset: str = ""
    page_token: str | None = None
    max_results: int = _MAX_RESULTS
    versions: bool = False
    include_trailing_delimiter: bool = False
    match: re.Pattern[str] | None = None
    soft_deleted: bool = False
    filter: ContextFilter | None = None

    def shows(self, record: ObjectRecord) -> bool:
        """Say whether the glob and the filter let an object through."""
        if self.match is not None and not self.match.fullmatch(record.name):
            return False
        return self.filter is None or self.filter.matches(record)

    @classmethod
    def from_parameters(cls, bucket: str, parameters: Mapping[str, str]) -> ListQuery:
        """Read the query of ``objects.list``.

        Raises:
            StorageError: A value is malformed (400) or asks for what is not implemented (501).
        """
        soft_deleted = parameters.get("softDeleted", "").lower() == "true"
        versions = parameters.get("versions", "").lower() == "true"
        if soft_deleted and versions:
            raise invalid("softDeleted and versions exclude each other.")
        return cls(
            bucket=bucket,
            prefix=parameters.get("prefix", ""),
            delimiter=parameters.get("delimiter", ""),
            start_offset=parameters.get("startOffset", ""),
            end_offset=parameters.get("endOffset", ""),
            page_token=parameters.get("pageToken") or None,
            max_results=page_size(parameters),
            versions=versions,
            soft_deleted=soft_deleted,
            filter=parse_filter(parameters["filter"]) if parameters.get("filter") else None,
            include_trailing_delimiter=(
                parameters.get("includeTrailingDelimiter", "").lower() == "true"
            ),
            match=compile_glob(parameters["matchGlob"]) if parameters.get("matchGlob") else None,
        )

    def folded(self, name: str) -> str | None:
        """Return the common prefix that stands for ``name``, or None where it stands alone."""
        if not self.delimiter:
            return None
        index = name.find(self.delimiter, len(self.prefix))
        return None if index < 0 else name[: index + len(self.delimiter)]

    def covers(self, name: str) -> bool:
        """Say whether ``name`` is not yet behind the end of what is asked."""
        return name.startswith(self.prefix) and not (self.end_offset and name >= self.end_offset)


@dataclass
class Page:
    """One page of a listing."""

    items: list[ObjectRecord] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)
    next_page_token: str | None = None

    @property
    def size(self) -> int:
        """How many entries the page holds."""
        return len(self.items) + len(self.prefixes)


def encode_token(position: tuple[str, int]) -> str:
    """Return an opaque token for a place in the order of names and generations."""
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode()


def decode_token(token: str) -> tuple[str, int]:
    """Undo :func:`encode_token`.

    Raises:
        StorageError: The token was not made here (400).
    """
    try:
        name, generation = json.loads(base64.urlsafe_b64decode(token))
    except (binascii.Error, ValueError, TypeError):
        name = generation = None
    if not isinstance(name, str) or not isinstance(generation, int):
        raise invalid(f"Invalid page token: {token}")
    return name, generation


def successor(prefix: str) -> str | None:
    """Return the least name behind all names that begin with ``prefix``; None if there is none."""
    while prefix:
        following = ord(prefix[-1]) + 1
        if following == _SURROGATES[0]:
            following = _SURROGATES[1]
        if following <= _MAX_CODE_POINT:
            return prefix[:-1] + chr(following)
        prefix = prefix[:-1]
    return None


def list_objects(store: Store, query: ListQuery) -> Page:
    """Return one page. A folded prefix is skipped as a whole, however many objects it holds."""
    page = Page()
    position: tuple[str, int] | None = (max(query.prefix, query.start_offset), 0)
    if query.page_token is not None:
        position = max(position or ("", 0), decode_token(query.page_token))
    while position is not None:
        position = _fill(store, query, page, position)
    return page


def _fill(
    store: Store, query: ListQuery, page: Page, position: tuple[str, int]
) -> tuple[str, int] | None:
    """Add entries from ``position``; return where to go on, or None when the page is done."""
    limit = query.max_results - page.size + 1
    found = 0
    for record in store.scan(
        query.bucket,
        position,
        versions=query.versions,
        limit=limit,
        soft_deleted=query.soft_deleted,
    ):
        found += 1
        if not query.covers(record.name):
            return None
        if not query.shows(record):
            position = (record.name, record.generation + 1)
            continue
        if page.size >= query.max_results:
            page.next_page_token = encode_token((record.name, record.generation))
            return None
        folded = query.folded(record.name)
        if folded is not None:
            page.prefixes.append(folded)
            if query.include_trailing_delimiter and record.name == folded:
                page.items.append(record)
            behind = successor(folded)
            return None if behind is None else (behind, 0)
        page.items.append(record)
        position = (record.name, record.generation + 1)
    return position if found == limit else None
