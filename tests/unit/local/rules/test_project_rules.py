from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from conftest import REPOSITORY
from continuon_local.rules import Ruleset, RulesRequest
from continuon_local.rules.symbolic import UNKNOWN, SymbolicMap
from rules_requests import ALICE, BOB, DATABASE, NOW, document_request

RULES = Ruleset.parse((REPOSITORY / "firestore.rules").read_text(encoding="utf-8"))
STORAGE = Ruleset.parse((REPOSITORY / "storage.rules").read_text(encoding="utf-8"))
WRITES = ("create", "update", "delete")
OWNED = ("robots", "rlds_episodes", "training_jobs", "models")
PRIVATE = ("audit_log", "provisioned_devices", "nonces", "ota_bundles", "webhook_secrets")


def _get(path: str, auth: dict[str, Any] | None, before: dict[str, Any] | None = None) -> bool:
    return RULES.evaluate(document_request("get", path, auth=auth, before=before)).allowed


def _list(collection: str, auth: dict[str, Any] | None, **known: Any) -> bool:
    request = RulesRequest(
        method="list",
        path=("databases", DATABASE, "documents", collection, UNKNOWN),
        time=NOW,
        auth=auth,
        resource=SymbolicMap({"data": SymbolicMap(known), "id": UNKNOWN, "__name__": UNKNOWN}),
        query={"limit": 10},
    )
    return RULES.evaluate(request).allowed


def test_the_rulesets_load_without_warnings() -> None:
    assert RULES.warnings == ()
    assert STORAGE.warnings == ()


def test_a_person_reads_their_own_account_only() -> None:
    assert _get("users/alice", ALICE, {})
    assert not _get("users/alice", BOB, {})
    assert not _get("users/alice", None, {})
    assert not _list("users", ALICE)


@pytest.mark.parametrize("collection", OWNED)
def test_an_owner_reads_and_lists_what_is_theirs_only(collection: str) -> None:
    owned = {"owner_id": "alice"}
    assert _get(f"{collection}/1", ALICE, owned)
    assert not _get(f"{collection}/1", BOB, owned)
    assert not _get(f"{collection}/1", None, owned)
    assert not _get(f"{collection}/1", ALICE, {})
    assert not _get(f"{collection}/1", ALICE)
    assert not _get(f"{collection}/1/commands/1", ALICE, owned)
    assert _list(collection, ALICE, owner_id="alice")
    assert not _list(collection, ALICE)
    assert not _list(collection, ALICE, owner_id="bob")
    assert not _list(collection, None, owner_id="alice")


def test_the_registry_can_be_looked_up_and_not_dumped() -> None:
    assert _get("rcan_registry/1", None, {})
    assert not _list("rcan_registry", ALICE)


@pytest.mark.parametrize("collection", PRIVATE)
def test_everything_else_is_closed(collection: str) -> None:
    assert not _get(f"{collection}/1", ALICE, {"owner_id": "alice"})
    assert not _list(collection, ALICE, owner_id="alice")


@pytest.mark.parametrize("method", WRITES)
@pytest.mark.parametrize("collection", ["users", "rcan_registry", *OWNED, *PRIVATE])
def test_nobody_writes(collection: str, method: str) -> None:
    owned = {"owner_id": "alice"}
    for auth in (ALICE, None):
        request = document_request(
            method, f"{collection}/alice", auth=auth, before=owned, after=owned
        )
        assert not RULES.evaluate(request).allowed


@pytest.mark.parametrize("method", ["get", "list", *WRITES])
@pytest.mark.parametrize(
    "name", ["episodes/raw/1", "models/production/m/1/policy.npz", "training/job_1/1/model.npz"]
)
def test_no_object_is_reachable_past_the_signed_urls(name: str, method: str) -> None:
    base = replace(document_request(method, "x/1"), service="firebase.storage")
    request = replace(base, path=("b", "continuon-rlds", "o", *name.split("/")))
    assert not STORAGE.evaluate(request).allowed
