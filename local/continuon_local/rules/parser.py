"""From text to syntax tree."""

from __future__ import annotations

from functools import cache
from typing import NoReturn

from lark import Lark
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken, VisitError

from continuon_local.rules.builder import Builder
from continuon_local.rules.errors import RulesError
from continuon_local.rules.grammar import GRAMMAR
from continuon_local.rules.limits import MAX_SOURCE_BYTES
from continuon_local.rules.nodes import RulesFile

__all__ = ["parse_rules"]


@cache
def _parser() -> Lark:
    return Lark(GRAMMAR, parser="lalr", propagate_positions=True)


def parse_rules(source: str) -> RulesFile:
    """Parse a ruleset; what it means is checked elsewhere.

    Raises:
        RulesError: It is too large, or it does not parse.
    """
    size = len(source.encode(errors="replace"))
    if size > MAX_SOURCE_BYTES:
        raise RulesError(f"The ruleset is {size} bytes long, more than {MAX_SOURCE_BYTES}.")
    if not source.strip():
        raise RulesError("Rules content empty. Compilation aborted.")
    try:
        parsed = Builder().transform(_parser().parse(source))
    except RulesError as error:
        raise error.within(source) from error
    except VisitError as error:
        if isinstance(error.orig_exc, RulesError):
            raise error.orig_exc.within(source) from error
        raise
    except UnexpectedInput as error:
        _refuse(error, source)
    if not isinstance(parsed, RulesFile):
        raise TypeError("the grammar's start rule builds a RulesFile")
    return parsed


def _refuse(error: UnexpectedInput, source: str) -> NoReturn:
    line, column = error.line, error.column
    if isinstance(error, UnexpectedToken) and error.token.type == "$END":
        lines = source.split("\n")
        line, column, message = len(lines), len(lines[-1]) + 1, "Unexpected end of the ruleset."
    elif isinstance(error, UnexpectedToken):
        message = f"Unexpected '{error.token}'."
    elif isinstance(error, UnexpectedCharacters):
        message = f"Unexpected '{source[error.pos_in_stream or 0]}'."
    else:
        message = "The ruleset does not parse."
    raise RulesError(message, line=line, column=column, source=source) from error
