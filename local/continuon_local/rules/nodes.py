"""The syntax tree of a ruleset. Positions count from 1."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

__all__ = [
    "Allow",
    "Binary",
    "Call",
    "Capture",
    "Conditional",
    "Expression",
    "Function",
    "Index",
    "Let",
    "ListLiteral",
    "Literal",
    "Logical",
    "MapLiteral",
    "Match",
    "Member",
    "PathLiteral",
    "Position",
    "RulesFile",
    "ScalarLiteral",
    "ServiceBlock",
    "Slice",
    "Splice",
    "TypeTest",
    "Unary",
    "Variable",
]

ScalarLiteral: TypeAlias = bool | int | float | str | bytes | None


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the source."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Literal:
    """``null``, a boolean, a number, a string or bytes."""

    at: Position
    value: ScalarLiteral


@dataclass(frozen=True, slots=True)
class Variable:
    """A name: a parameter, a ``let``, a capture, ``request`` or ``resource``."""

    at: Position
    name: str


@dataclass(frozen=True, slots=True)
class ListLiteral:
    """``[a, b]``."""

    at: Position
    items: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class MapLiteral:
    """``{'a': b}``; keys are expressions."""

    at: Position
    pairs: tuple[tuple[Expression, Expression], ...]


@dataclass(frozen=True, slots=True)
class Capture:
    """``{name}``, or with ``many`` ``{name=**}``."""

    name: str
    many: bool = False


@dataclass(frozen=True, slots=True)
class Splice:
    """``$(expression)`` inside a path."""

    value: Expression


@dataclass(frozen=True, slots=True)
class PathLiteral:
    """``/users/$(uid)/notes``."""

    at: Position
    segments: tuple[str | Capture | Splice, ...]


@dataclass(frozen=True, slots=True)
class Unary:
    """``!a`` or ``-a``."""

    at: Position
    operator: str
    operand: Expression


@dataclass(frozen=True, slots=True)
class Binary:
    """Arithmetic, comparison, equality and ``in``."""

    at: Position
    operator: str
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Logical:
    """A chain of one of ``&&`` and ``||``."""

    at: Position
    operator: str
    operands: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class TypeTest:
    """``a is string``."""

    at: Position
    operand: Expression
    type_name: str


@dataclass(frozen=True, slots=True)
class Conditional:
    """``a ? b : c``."""

    at: Position
    condition: Expression
    when_true: Expression
    when_false: Expression


@dataclass(frozen=True, slots=True)
class Member:
    """``a.name``."""

    at: Position
    target: Expression
    name: str


@dataclass(frozen=True, slots=True)
class Index:
    """``a[b]``."""

    at: Position
    target: Expression
    key: Expression


@dataclass(frozen=True, slots=True)
class Slice:
    """``a[b:c]``, either end may be left out."""

    at: Position
    target: Expression
    start: Expression | None
    end: Expression | None


@dataclass(frozen=True, slots=True)
class Call:
    """``name(...)``, or with a target ``target.name(...)``."""

    at: Position
    target: Expression | None
    name: str
    arguments: tuple[Expression, ...]


Expression: TypeAlias = (
    Literal
    | Variable
    | ListLiteral
    | MapLiteral
    | PathLiteral
    | Unary
    | Binary
    | Logical
    | TypeTest
    | Conditional
    | Member
    | Index
    | Slice
    | Call
)


@dataclass(frozen=True, slots=True)
class Let:
    """``let name = value;`` at the beginning of a function."""

    at: Position
    name: str
    value: Expression


@dataclass(frozen=True, slots=True)
class Function:
    """A function: parameters, bindings, one returned expression."""

    at: Position
    name: str
    parameters: tuple[str, ...]
    lets: tuple[Let, ...]
    result: Expression


@dataclass(frozen=True, slots=True)
class Allow:
    """``allow methods: if condition``; without a condition it always grants."""

    at: Position
    methods: tuple[str, ...]
    condition: Expression | None


@dataclass(frozen=True, slots=True)
class Match:
    """``match /path { ... }``: a pattern and what holds below it."""

    at: Position
    segments: tuple[str | Capture, ...]
    allows: tuple[Allow, ...] = ()
    functions: tuple[Function, ...] = ()
    matches: tuple[Match, ...] = ()


@dataclass(frozen=True, slots=True)
class ServiceBlock:
    """``service cloud.firestore { ... }``."""

    at: Position
    name: str
    functions: tuple[Function, ...]
    matches: tuple[Match, ...]


@dataclass(frozen=True, slots=True)
class RulesFile:
    """A whole file.

    Attributes:
        version: 1 or 2; a file that names none is version 1.
    """

    version: int
    functions: tuple[Function, ...]
    services: tuple[ServiceBlock, ...]
    at: Position = field(default=Position(1, 1))
