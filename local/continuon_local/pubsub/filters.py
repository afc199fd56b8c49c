"""Subscription filters: Pub/Sub's own syntax over the attributes of a message.

The syntax is that of cloud.google.com/pubsub/docs/subscription-message-filter: ``attributes:key``,
``attributes.key = "value"``, ``!=``, ``hasPrefix(attributes.key, "prefix")``, ``AND``, ``OR``,
``NOT`` or ``-``, and parentheses. ``AND`` and ``OR`` do not mix without parentheses. ``!=`` is the
negation of ``=``: it also matches a message that lacks the key.
"""

from __future__ import annotations

import ast
import functools
from typing import TYPE_CHECKING, TypeAlias

from lark import Lark, Token, Transformer, v_args
from lark.exceptions import LarkError

from continuon_local.pubsub.errors import invalid
from continuon_local.pubsub.limits import MAX_FILTER_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["compile_filter"]

if TYPE_CHECKING:
    Predicate: TypeAlias = Callable[[Mapping[str, str]], bool]

_GRAMMAR = r"""
    ?start: expression
    ?expression: unary
        | unary ("AND" unary)+ -> all_of
        | unary ("OR" unary)+ -> any_of
    ?unary: ("NOT" | "-") unary -> negation
        | "(" expression ")"
        | comparison
    comparison: "attributes" ":" key -> has_key
        | "attributes" "." key "=" STRING -> equals
        | "attributes" "." key "!=" STRING -> differs
        | "hasPrefix" "(" "attributes" "." key "," STRING ")" -> has_prefix
    ?key: NAME | STRING
    NAME: /[A-Za-z0-9_-]+/
    STRING: /"([^"\\\n]|\\[abfnrtv'"\\xuU]|\\[0-3][0-7]{2})*"/
    %ignore /[ \t\r\n]+/
"""


@v_args(inline=True)
class _ToPredicate(Transformer[Token, "Predicate"]):
    """Turns the syntax tree into one function of the attributes."""

    def NAME(self, token: Token) -> str:  # noqa: N802 - lark finds it by the terminal's name
        return str(token)

    def STRING(self, token: Token) -> str:  # noqa: N802 - lark finds it by the terminal's name
        value = str(ast.literal_eval(str(token)))
        value.encode()  # an escape may name half a surrogate pair, which is no text
        return value

    def has_key(self, key: str) -> Predicate:
        return lambda attributes: key in attributes

    def equals(self, key: str, value: str) -> Predicate:
        return lambda attributes: attributes.get(key) == value

    def differs(self, key: str, value: str) -> Predicate:
        return lambda attributes: attributes.get(key) != value

    def has_prefix(self, key: str, prefix: str) -> Predicate:
        return lambda attributes: key in attributes and attributes[key].startswith(prefix)

    def negation(self, inner: Predicate) -> Predicate:
        return lambda attributes: not inner(attributes)

    def all_of(self, *parts: Predicate) -> Predicate:
        return lambda attributes: all(part(attributes) for part in parts)

    def any_of(self, *parts: Predicate) -> Predicate:
        return lambda attributes: any(part(attributes) for part in parts)


@functools.lru_cache(maxsize=256)
def compile_filter(text: str) -> Predicate:
    """Return the test that ``text`` describes; an empty filter matches everything.

    Raises:
        PubSubError: INVALID_ARGUMENT: longer than 256 bytes, or not a filter.
    """
    if not text.strip():
        return lambda _attributes: True
    if len(text.encode()) > MAX_FILTER_BYTES:
        raise invalid(f"The filter is longer than {MAX_FILTER_BYTES} bytes.")
    try:
        return _ToPredicate().transform(_parser().parse(text))
    except LarkError as error:
        raise invalid(f"The filter is malformed: {str(error).splitlines()[0]}") from error


@functools.cache
def _parser() -> Lark:
    return Lark(_GRAMMAR, parser="lalr")
