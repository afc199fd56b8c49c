"""Preconditions on generations: what a request demands of the state it meets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from continuon_local.storage.errors import StorageError, invalid, precondition_failed, unmodified

if TYPE_CHECKING:
    from collections.abc import Mapping

    from continuon_local.storage.records import BucketRecord, ObjectRecord

__all__ = ["NO_CONDITIONS", "Preconditions", "check_entity_tag"]


def _number(parameters: Mapping[str, str], name: str) -> int | None:
    text = parameters.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal()):
        raise invalid(f"Invalid value for {name}: {text}")
    return int(text)


@dataclass(frozen=True, kw_only=True)
class Preconditions:
    """The generation clauses of one request; None is "not asked".

    A ``generation_match`` of 0 demands that no live version exists.
    """

    generation_match: int | None = None
    generation_not_match: int | None = None
    metageneration_match: int | None = None
    metageneration_not_match: int | None = None

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, str], prefix: str = "if") -> Preconditions:
        """Read the JSON API's query parameters; ``ifSource`` reads those about the source.

        Raises:
            StorageError: One is not a number (400).
        """
        return cls(
            generation_match=_number(parameters, f"{prefix}GenerationMatch"),
            generation_not_match=_number(parameters, f"{prefix}GenerationNotMatch"),
            metageneration_match=_number(parameters, f"{prefix}MetagenerationMatch"),
            metageneration_not_match=_number(parameters, f"{prefix}MetagenerationNotMatch"),
        )

    @classmethod
    def from_headers(cls, headers: Mapping[str, str]) -> Preconditions:
        """Read the XML API's ``x-goog-if-*`` headers.

        Raises:
            StorageError: One is not a number (400).
        """
        return cls(
            generation_match=_number(headers, "x-goog-if-generation-match"),
            metageneration_match=_number(headers, "x-goog-if-metageneration-match"),
        )

    def as_dict(self) -> dict[str, int]:
        """Return the clauses that were asked, to store beside a resumable session."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def check_write(self, current: ObjectRecord | None) -> None:
        """Refuse a write over ``current`` unless every clause holds.

        Raises:
            StorageError: One does not (412).
        """
        generation = current.generation if current else 0
        metageneration = current.metageneration if current else 0
        self._check(generation, metageneration, precondition_failed())

    def check_read(self, current: ObjectRecord) -> None:
        """Refuse a read of ``current`` unless every clause holds.

        Raises:
            StorageError: A "match" clause does not (412), or a "not match" clause does not (304).
        """
        self._check(current.generation, current.metageneration, unmodified())

    def check_bucket(self, current: BucketRecord) -> None:
        """Refuse a change of a bucket unless its metageneration clauses hold.

        Raises:
            StorageError: One does not (412).
        """
        clauses = Preconditions(
            metageneration_match=self.metageneration_match,
            metageneration_not_match=self.metageneration_not_match,
        )
        clauses._check(0, current.metageneration, precondition_failed())

    def _check(self, generation: int, metageneration: int, when_same: StorageError) -> None:
        if self.generation_match not in {None, generation}:
            raise precondition_failed()
        if self.metageneration_match not in {None, metageneration}:
            raise precondition_failed()
        if self.generation_not_match == generation:
            raise when_same
        if self.metageneration_not_match == metageneration:
            raise when_same


def check_entity_tag(headers: Mapping[str, str], entity_tag: str) -> None:
    """Refuse a request whose ``If-Match`` or ``If-None-Match`` does not fit ``entity_tag``.

    Raises:
        StorageError: The first names other tags (412), or the second names this one (304).
    """
    required, cached = headers.get("if-match"), headers.get("if-none-match")
    if required is not None and not _names(required, entity_tag):
        raise precondition_failed()
    if cached is not None and _names(cached, entity_tag):
        raise unmodified()


def _names(header: str, entity_tag: str) -> bool:
    tags = {tag.strip().removeprefix("W/").strip('"') for tag in header.split(",")}
    return "*" in tags or entity_tag.strip('"') in tags


NO_CONDITIONS = Preconditions()
