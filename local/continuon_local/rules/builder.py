"""Builds the syntax tree from the parse tree, bottom up. Every method is a grammar rule."""

# ruff: noqa: D102 - every method of the builder is the grammar rule of its name

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from lark import Token, v_args
from lark.visitors import Transformer_NonRecursive

from continuon_local.rules import nodes
from continuon_local.rules.errors import RulesError
from continuon_local.rules.limits import MAX_NESTING
from continuon_local.rules.literals import decode_bytes, decode_string
from continuon_local.rules.nodes import Expression, Position

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lark.tree import Meta

__all__ = ["Builder", "is_too_large"]

_RESERVED = frozenset(
    ("match", "allow", "if", "let", "return", "function", "service", "true", "false", "null")
)
_CAPTURE = re.compile(r"/\{\s*(\w+)\s*(?:=\s*(\*\*?)\s*)?\}", re.ASCII)
_TOO_LARGE = 1 << 63
"""Fits only with a minus before it."""


class _Nested:
    """An expression on its way up, with its depth."""

    __slots__ = ("depth", "node")

    def __init__(self, node: Expression, children: Sequence[_Nested] = ()) -> None:
        self.node = node
        self.depth: int = 1 + max((child.depth for child in children), default=0)
        self.check()

    def check(self) -> None:
        """Refuse what nests too deep."""
        if self.depth > MAX_NESTING:
            raise _error("Expression is too complex to evaluate safely.", self.node.at)


def is_too_large(node: Expression) -> bool:
    """Tell whether a node is the integer 2**63, which fits only with a minus before it."""
    literal = isinstance(node, nodes.Literal) and isinstance(node.value, int)
    return literal and node == nodes.Literal(node.at, _TOO_LARGE)


def _error(message: str, at: Position) -> RulesError:
    return RulesError(message, line=at.line, column=at.column)


def _at(meta: Meta) -> Position:
    return Position(getattr(meta, "line", 1), getattr(meta, "column", 1))


def _place(token: Token) -> Position:
    return Position(token.line or 1, token.column or 1)


def _identifier(token: Token) -> str:
    if token in _RESERVED:
        raise _error(f"Unexpected '{token}'.", _place(token))
    return str(token)


def _of_type(children: Sequence[Any], kind: type) -> tuple[Any, ...]:
    return tuple(child for child in children if isinstance(child, kind))


def _segment(item: Any) -> str | nodes.Capture | nodes.Splice:
    if isinstance(item, _Nested):
        return nodes.Splice(item.node)
    token: Token = item
    if token.type == "SEGMENT":
        return str(token)[1:]
    found = _CAPTURE.fullmatch(token)
    if found is None or found[1] in _RESERVED:
        raise _error(f"Unexpected '{token}'.", _place(token))
    return nodes.Capture(found[1], many=found[2] == "**")


@v_args(meta=True)
class Builder(Transformer_NonRecursive[Token, Any]):
    """Turns matched rules into nodes, without recursion over hostile nesting."""

    def start(self, meta: Meta, children: list[Any]) -> nodes.RulesFile:
        version = next((child for child in children if isinstance(child, int)), 1)
        functions = _of_type(children, nodes.Function)
        services = _of_type(children, nodes.ServiceBlock)
        return nodes.RulesFile(version, functions, services, _at(meta))

    def version(self, meta: Meta, children: list[Token]) -> int:
        text = decode_string(children[0])
        if text not in {"1", "2"}:
            raise _error(f"Unsupported rules version {text}.", _at(meta))
        return int(text)

    def service(self, meta: Meta, children: list[Any]) -> nodes.ServiceBlock:
        name = ".".join(_of_type(children, Token))
        functions, matches = _of_type(children, nodes.Function), _of_type(children, nodes.Match)
        return nodes.ServiceBlock(_at(meta), name, functions, matches)

    def match(self, meta: Meta, children: list[Any]) -> nodes.Match:
        return nodes.Match(
            _at(meta),
            tuple(_segment(token) for token in _of_type(children, Token)),  # type: ignore[misc]
            _of_type(children, nodes.Allow),
            _of_type(children, nodes.Function),
            _of_type(children, nodes.Match),
        )

    def allow(self, meta: Meta, children: list[Any]) -> nodes.Allow:
        conditions = _of_type(children, _Nested)
        methods = tuple(map(str, _of_type(children, Token)))
        return nodes.Allow(_at(meta), methods, conditions[0].node if conditions else None)

    def condition(self, _: Meta, children: list[_Nested]) -> _Nested:
        return children[0]

    def function(self, meta: Meta, children: list[Any]) -> nodes.Function:
        name, parameters, *lets, result = children
        return nodes.Function(_at(meta), _identifier(name), parameters, tuple(lets), result.node)

    def parameters(self, _: Meta, children: list[Token]) -> tuple[str, ...]:
        return tuple(map(_identifier, children))

    def let(self, meta: Meta, children: list[Any]) -> nodes.Let:
        return nodes.Let(_at(meta), _identifier(children[0]), children[1].node)

    def conditional(self, meta: Meta, children: list[_Nested]) -> _Nested:
        one, two, three = children
        return _Nested(nodes.Conditional(_at(meta), one.node, two.node, three.node), children)

    def logical_or(self, meta: Meta, children: list[_Nested]) -> _Nested:
        return self._logical("||", meta, children)

    def logical_and(self, meta: Meta, children: list[_Nested]) -> _Nested:
        return self._logical("&&", meta, children)

    def _logical(self, operator: str, meta: Meta, children: list[_Nested]) -> _Nested:
        operands = tuple(child.node for child in children)
        result = _Nested(nodes.Logical(_at(meta), operator, operands), children)
        # One node here, but Google's compiler counts a chain as nested to the left.
        count = len(children)
        depths = (child.depth + count - max(place, 1) for place, child in enumerate(children))
        result.depth = max(depths)
        result.check()
        return result

    def contained(self, meta: Meta, children: list[_Nested]) -> _Nested:
        left, right = children
        return _Nested(nodes.Binary(_at(meta), "in", left.node, right.node), children)

    def type_test(self, meta: Meta, children: list[Any]) -> _Nested:
        operand, name = children
        return _Nested(nodes.TypeTest(_at(meta), operand.node, str(name)), [operand])

    def chain(self, meta: Meta, children: list[Any]) -> _Nested:
        result: _Nested = children[0]
        for operator, right in zip(children[1::2], children[2::2], strict=True):
            node = nodes.Binary(_at(meta), str(operator), result.node, right.node)
            result = _Nested(node, (result, right))
        return result

    def prefixed(self, meta: Meta, children: list[Any]) -> _Nested:
        operator, operand = children
        if operator == "-" and is_too_large(operand.node):
            return _Nested(nodes.Literal(_at(meta), -_TOO_LARGE))
        return _Nested(nodes.Unary(_at(meta), str(operator), operand.node), [operand])

    def member(self, meta: Meta, children: list[Any]) -> _Nested:
        target, name = children
        return _Nested(nodes.Member(_at(meta), target.node, str(name)), [target])

    def method_call(self, meta: Meta, children: list[Any]) -> _Nested:
        target, name, arguments = children
        items = tuple(argument.node for argument in arguments)
        node = nodes.Call(_at(meta), target.node, str(name), items)
        return _Nested(node, [target, *arguments])

    def call(self, meta: Meta, children: list[Any]) -> _Nested:
        name, arguments = children
        items = tuple(argument.node for argument in arguments)
        return _Nested(nodes.Call(_at(meta), None, _identifier(name), items), arguments)

    def index(self, meta: Meta, children: list[_Nested]) -> _Nested:
        target, key = children
        return _Nested(nodes.Index(_at(meta), target.node, key.node), children)

    def slice(self, meta: Meta, children: list[Any]) -> _Nested:
        ends = dict(children[1:])
        start, end = ends.get("lower"), ends.get("upper")
        node = nodes.Slice(_at(meta), children[0].node, start and start.node, end and end.node)
        return _Nested(node, [children[0], *ends.values()])

    def lower(self, _: Meta, children: list[_Nested]) -> tuple[str, _Nested]:
        return "lower", children[0]

    def upper(self, _: Meta, children: list[_Nested]) -> tuple[str, _Nested]:
        return "upper", children[0]

    def variable(self, meta: Meta, children: list[Token]) -> _Nested:
        return _Nested(nodes.Variable(_at(meta), _identifier(children[0])))

    def true(self, meta: Meta, _: list[Any]) -> _Nested:
        return _Nested(nodes.Literal(_at(meta), value=True))

    def false(self, meta: Meta, _: list[Any]) -> _Nested:
        return _Nested(nodes.Literal(_at(meta), value=False))

    def null(self, meta: Meta, _: list[Any]) -> _Nested:
        return _Nested(nodes.Literal(_at(meta), None))

    def integer(self, meta: Meta, children: list[Token]) -> _Nested:
        text = str(children[0])
        if len(text) > len(str(_TOO_LARGE)) or int(text) > _TOO_LARGE:
            raise _error(f"Invalid number literal {text[:40]}.", _at(meta))
        return _Nested(nodes.Literal(_at(meta), int(text)))

    def float_literal(self, meta: Meta, children: list[Token]) -> _Nested:
        return _Nested(nodes.Literal(_at(meta), float(children[0])))

    def string(self, meta: Meta, children: list[Token]) -> _Nested:
        try:
            return _Nested(nodes.Literal(_at(meta), decode_string(children[0])))
        except ValueError as error:
            raise _error(str(error), _at(meta)) from error

    def bytes_literal(self, meta: Meta, children: list[Token]) -> _Nested:
        try:
            return _Nested(nodes.Literal(_at(meta), decode_bytes(children[0])))
        except ValueError as error:
            raise _error(str(error), _at(meta)) from error

    def list_literal(self, meta: Meta, children: list[Any]) -> _Nested:
        items = children[0]
        return _Nested(nodes.ListLiteral(_at(meta), tuple(item.node for item in items)), items)

    def map_literal(self, meta: Meta, children: list[Any]) -> _Nested:
        pairs = children[0]
        node = nodes.MapLiteral(_at(meta), tuple((key.node, value.node) for key, value in pairs))
        return _Nested(node, [part for pair in pairs for part in pair])

    def path(self, meta: Meta, children: list[Any]) -> _Nested:
        inner = [child for child in children if isinstance(child, _Nested)]
        node = nodes.PathLiteral(_at(meta), tuple(map(_segment, children)))
        return _Nested(node, inner)

    def spliced(self, _: Meta, children: list[Any]) -> _Nested:
        expression: _Nested = children[-1]
        return expression

    def arguments(self, _: Meta, children: list[_Nested]) -> list[_Nested]:
        return children

    def pairs(self, _: Meta, children: list[Any]) -> list[Any]:
        return children

    def pair(self, _: Meta, children: list[_Nested]) -> tuple[_Nested, ...]:
        return tuple(children)
