"""Faults of the Google services: calls that fail or are late on purpose, decided by a seed.

A call has a name, as ``Commit`` or ``storage.objects.insert``; over HTTP also its method and path,
as ``POST /upload/storage/v1/b/bucket/o``. The same plan over the same number of calls of a name
makes the same decisions, whatever else is called meanwhile.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "MAX_WAIT_MS",
    "NO_FAULT",
    "RETRY_AFTER_S",
    "ServiceFault",
    "ServiceFaultRule",
    "ServiceFaults",
    "canonical_code",
    "http_status",
]

MAX_WAIT_MS = 600_000
"""The longest wait that a rule may ask for, in milliseconds: longer is a mistake in units."""

RETRY_AFTER_S = 1
"""What ``Retry-After`` says on injected 429 and 503, in seconds."""

_HTTP_STATUS = {
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DATA_LOSS": 500,
    "UNAUTHENTICATED": 401,
}
"""The mapping of ``google/rpc/code.proto``."""

_CODE = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""The other way, where several codes share a status the one that HTTP means by it."""

_Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=MAX_WAIT_MS)]


def http_status(code: str | int) -> int:
    """Return the HTTP status of a canonical code's name; a status is returned as it is."""
    return code if isinstance(code, int) else _HTTP_STATUS[code]


def canonical_code(code: str | int) -> str:
    """Return the canonical code's name of an HTTP status; a name is returned as it is."""
    return code if isinstance(code, str) else _CODE.get(code, "UNKNOWN")


class ServiceFaultRule(msgspec.Struct, forbid_unknown_fields=True):
    """One fault of a service.

    Attributes:
        kind: ``error``: the call ends with ``code``. ``latency``: it takes longer.
        service: Whose calls.
        method: Which calls: a shell pattern over their name, or over method and path.
        code: A canonical code's name or an HTTP status; each service says it in its own shape.
        when: ``before`` the work is done, or ``after``: it is done, but the answer is lost.
        probability: Of each call to suffer the fault.
        times: At most so often per name of a call; None is without end.
        wait_ms: The fixed part of a wait, in milliseconds, at the same side of the work.
        spread_ms: The random part of it, added.
    """

    kind: Literal["error", "latency"]
    service: Literal["firestore", "storage", "pubsub", "auth"]
    method: str = "*"
    code: str | Annotated[int, msgspec.Meta(ge=400, le=599)] = "UNAVAILABLE"
    when: Literal["before", "after"] = "before"
    probability: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    times: Annotated[int, msgspec.Meta(ge=0)] | None = None
    wait_ms: _Milliseconds = 0
    spread_ms: _Milliseconds = 0

    def __post_init__(self) -> None:
        """Refuse a name that is no canonical code."""
        if isinstance(self.code, str) and self.code not in _HTTP_STATUS:
            raise ValueError(f"`code` must be a canonical code or an HTTP status, not {self.code}")


@dataclass(frozen=True, kw_only=True)
class ServiceFault:
    """What one call suffers: waits in milliseconds, and the code that it ends with.

    Attributes:
        code_before: Instead of the work.
        code_after: Instead of the answer, once the work is done.
    """

    wait_before_ms: int = 0
    code_before: str | int | None = None
    wait_after_ms: int = 0
    code_after: str | int | None = None


NO_FAULT = ServiceFault()


class ServiceFaults:
    """Decides call by call; counts calls per service and name.

    Args:
        seed: Of all chances.
        rules: With their places in the plan; rules that apply to one call add up, and the first
            error on each side of the work is the one that counts.
    """

    def __init__(self, seed: int = 0, rules: Iterable[tuple[int, ServiceFaultRule]] = ()) -> None:
        self._seen: Counter[tuple[str, str]] = Counter()
        self._applied: Counter[tuple[int, str]] = Counter()
        self.replace(seed, rules)

    def replace(self, seed: int, rules: Iterable[tuple[int, ServiceFaultRule]]) -> None:
        """Follow other rules, from the beginning."""
        self._seed = seed
        self._rules = tuple(rules)
        self._services = frozenset(rule.service for _, rule in self._rules)
        self._seen.clear()
        self._applied.clear()

    def concerns(self, service: str) -> bool:
        """Say whether any rule is about ``service``: without one its calls are left alone."""
        return service in self._services

    def decide(self, service: str, name: str, path: str = "") -> ServiceFault:
        """Return what the next call suffers.

        Args:
            service: As rules name it.
            name: The call's name, by which it is counted.
            path: Method and path, where it came over HTTP.
        """
        ordinal = self._seen[service, name]
        self._seen[service, name] += 1
        waits = {"before": 0, "after": 0}
        codes: dict[str, str | int | None] = {"before": None, "after": None}
        for index, rule in self._rules:
            chance = random.Random(f"{self._seed}/{service}/{name}/{ordinal}/{index}")  # noqa: S311 - reproducible on purpose
            if rule.service != service or not self._applies(index, rule, (name, path), chance):
                continue
            waits[rule.when] += rule.wait_ms + chance.randint(0, rule.spread_ms)
            if rule.kind == "error" and codes[rule.when] is None:
                codes[rule.when] = rule.code
        return ServiceFault(
            wait_before_ms=waits["before"],
            code_before=codes["before"],
            wait_after_ms=waits["after"],
            code_after=codes["after"],
        )

    def _applies(
        self, index: int, rule: ServiceFaultRule, names: tuple[str, str], chance: random.Random
    ) -> bool:
        if not any(fnmatchcase(name, rule.method) for name in names if name):
            return False
        if chance.random() >= rule.probability:
            return False
        if rule.times is not None and self._applied[index, names[0]] >= rule.times:
            return False
        self._applied[index, names[0]] += 1
        return True
