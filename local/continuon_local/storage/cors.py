"""Cross-origin answers of the XML API, from the bucket's ``cors`` configuration.

https://cloud.google.com/storage/docs/cross-origin
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["allowed", "preflight"]

_Rules: TypeAlias = "Sequence[Mapping[str, Any]]"


def _matching(rules: _Rules, origin: str, method: str) -> Mapping[str, Any] | None:
    for rule in rules:
        origins = rule.get("origin") or []
        methods = rule.get("method") or []
        if {"*", origin} & set(origins) and {"*", method} & set(methods):
            return rule
    return None


def _origin_headers(rule: Mapping[str, Any], origin: str) -> dict[str, str]:
    if "*" in (rule.get("origin") or []):
        return {"access-control-allow-origin": "*"}
    return {"access-control-allow-origin": origin, "vary": "Origin"}


def allowed(rules: _Rules, origin: str, method: str) -> dict[str, str]:
    """Return the headers that let a page of ``origin`` read an answer; none where it may not."""
    rule = _matching(rules, origin, method)
    if rule is None:
        return {}
    headers = _origin_headers(rule, origin)
    exposed = rule.get("responseHeader") or []
    if exposed:
        headers["access-control-expose-headers"] = ", ".join(exposed)
    return headers


def preflight(rules: _Rules, origin: str, method: str, asked: str) -> dict[str, str]:
    """Return the headers that permit a request with the ``asked`` headers; none where refused."""
    rule = _matching(rules, origin, method)
    if rule is None:
        return {}
    known = {str(name).lower() for name in rule.get("responseHeader") or []}
    names = [name.strip() for name in asked.split(",") if name.strip()]
    if "*" not in known and not all(name.lower() in known for name in names):
        return {}
    return {
        **_origin_headers(rule, origin),
        "access-control-allow-methods": ", ".join(rule.get("method") or []),
        "access-control-allow-headers": ", ".join(names),
        "access-control-max-age": str(rule.get("maxAgeSeconds") or 3600),
    }
