"""Bundles and deployments: for operators to read, for nobody to write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from google.api_core.exceptions import PermissionDenied

if TYPE_CHECKING:
    from collections.abc import Callable

READS: dict[str, Callable[[Any], Any]] = {
    "get": lambda c: c.document("ota_bundles/olivia").get().exists,
    "list": lambda c: len(c.collection("ota_bundles").get()),
    "count": lambda c: c.collection("ota_bundles").count().get()[0][0].value,
    "get deployment": lambda c: c.document("ota_bundles/olivia/deployments/r").get().exists,
    "list deployments": lambda c: len(c.collection("ota_bundles/olivia/deployments").get()),
}
WRITES: dict[str, Callable[[Any], Any]] = {
    "roll out by hand": lambda c: c.document("ota_bundles/olivia").update({"rollout.stage": 3}),
    "delete": lambda c: c.document("ota_bundles/olivia").delete(),
    "report for a robot": lambda c: c.document("ota_bundles/olivia/deployments/r").set({}),
    "take a place": lambda c: c.document("ota_budgets/m~*/places/0").set({}),
    "forge the log": lambda c: c.document("audit_log/x").set({}),
}
CLAIMS: dict[str, dict[str, Any]] = {
    "operator": {"operator": True},
    "admin": {"admin": True},
}
NO_CLAIMS: dict[str, dict[str, Any]] = {
    "none": {},
    "false": {"operator": False},
    "text": {"operator": "true"},
    "other": {"roles": ["operator"]},
}


@pytest.mark.parametrize("call", READS)
@pytest.mark.parametrize("who", CLAIMS)
def test_an_operator_may_read(own: Any, who: str, call: str) -> None:
    READS[call](own.user("olga", **CLAIMS[who]))


@pytest.mark.parametrize("call", READS)
@pytest.mark.parametrize("who", NO_CLAIMS)
def test_without_the_claim_nobody_may_read(own: Any, who: str, call: str) -> None:
    with pytest.raises(PermissionDenied):
        READS[call](own.user("olivia", **NO_CLAIMS[who]))


@pytest.mark.parametrize("call", READS)
def test_who_is_not_signed_in_may_not_read(own: Any, call: str) -> None:
    with pytest.raises(PermissionDenied):
        READS[call](own.client(None))


@pytest.mark.parametrize("call", WRITES)
@pytest.mark.parametrize("who", CLAIMS)
def test_even_an_operator_may_not_write(own: Any, who: str, call: str) -> None:
    with pytest.raises(PermissionDenied):
        WRITES[call](own.user("olga", **CLAIMS[who]))


@pytest.mark.parametrize("path", ["ota_budgets/m~*/places/0", "audit_log/x", "nonces/x"])
def test_an_operator_sees_nothing_else(own: Any, path: str) -> None:
    with pytest.raises(PermissionDenied):
        own.user("olga", operator=True).document(path).get()
