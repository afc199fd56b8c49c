"""What names mean: captures, parameters, bindings and functions, from the inside out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from continuon_local.rules.errors import EvaluationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

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
        return any(name in scope.variables for scope in self._chain())

    def _chain(self) -> Iterator[Scope]:
        scope: Scope | None = self
        while scope is not None:
            yield scope
            scope = scope.parent

    def read(self, name: str) -> Any:
        """Return a variable's value.

        Raises:
            EvaluationError: There is no such variable, or it has no value.
        """
        for scope in self._chain():
            if name in scope.variables:
                value = scope.variables[name]
                return value.value() if isinstance(value, Deferred) else value
        raise EvaluationError("Null value error.")

    def function(self, name: str) -> tuple[Function, Scope] | None:
        """Return the function of this name and the scope it is defined in."""
        for scope in self._chain():
            if name in scope.functions:
                return scope.functions[name], scope
        return None
