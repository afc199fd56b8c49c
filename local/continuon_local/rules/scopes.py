"""What names mean: captures, parameters, bindings and functions, from the inside out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from continuon_local.rules.errors import EvaluationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from continuon_local.rules.nodes import Function

__all__ = ["Deferred", "Scope"]


class Deferred:
    """A parameter or binding: evaluated at its first use, then kept, errors too."""

    __slots__ = ("_compute", "_error", "_value")

    def __init__(self, compute: Callable[[], Any]) -> None:
        self._compute: Callable[[], Any] | None = compute
        self._value: Any = None
        self._error: EvaluationError | None = None

    def value(self) -> Any:
        """Return the value.

        Raises:
            EvaluationError: It has none.
        """
        if self._compute is not None:
            compute, self._compute = self._compute, None
            try:
                self._value = compute()
            except EvaluationError as error:
                self._error = error
        if self._error is not None:
            raise self._error
        return self._value


@dataclass(slots=True)
class Scope:
    """The names of one block; names of ``parent`` show through."""

    parent: Scope | None = None
    variables: dict[str, Any] = field(default_factory=dict)
    functions: dict[str, Function] = field(default_factory=dict)

    def inner(
        self, variables: dict[str, Any] | None = None, functions: Iterable[Function] = ()
    ) -> Scope:
        """Return the scope of a block inside this one."""
        named = {function.name: function for function in functions}
        return Scope(self, {} if variables is None else variables, named)

    def has(self, name: str) -> bool:
        """Tell whether a variable has this name."""
        return name in self.variables or (self.parent is not None and self.parent.has(name))

    def read(self, name: str) -> Any:
        """Return a variable's value.

        Raises:
            EvaluationError: There is no such variable, or it has no value.
        """
        if name in self.variables:
            value = self.variables[name]
            return value.value() if isinstance(value, Deferred) else value
        if self.parent is None:
            raise EvaluationError("Null value error.")
        return self.parent.read(name)

    def function(self, name: str) -> tuple[Function, Scope] | None:
        """Return the function of this name and the scope it is defined in."""
        if name in self.functions:
            return self.functions[name], self
        return None if self.parent is None else self.parent.function(name)
