"""Visits the nodes of an expression."""

from __future__ import annotations

from typing import TYPE_CHECKING

from continuon_local.rules import nodes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from continuon_local.rules.nodes import Expression

__all__ = ["walk"]


def _children(node: Expression) -> Sequence[Expression | None]:  # noqa: C901, PLR0911
    match node:
        case nodes.Literal() | nodes.Variable():
            return ()
        case nodes.ListLiteral(_, items):
            return items
        case nodes.MapLiteral(_, pairs):
            return [part for pair in pairs for part in pair]
        case nodes.PathLiteral(_, segments):
            return [part.value for part in segments if isinstance(part, nodes.Splice)]
        case nodes.Unary(_, _, operand) | nodes.TypeTest(_, operand, _):
            return (operand,)
        case nodes.Member(_, target, _):
            return (target,)
        case nodes.Binary(_, _, left, right) | nodes.Index(_, left, right):
            return (left, right)
        case nodes.Logical(_, _, operands):
            return operands
        case nodes.Conditional(_, one, two, three) | nodes.Slice(_, one, two, three):
            return (one, two, three)
        case nodes.Call(_, target, _, arguments):
            return (target, *arguments)


def walk(expression: Expression) -> Iterator[Expression]:
    """Yield ``expression`` and everything inside it, outer before inner, in source order."""
    waiting: list[Expression] = [expression]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(child for child in reversed(_children(node)) if child is not None)
