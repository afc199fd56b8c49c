"""What firestore.rules of this project is to allow: one table of cases.

``tests/rules`` asks our engine, ``make conformance`` Google's emulator as well. Everything that
``ALLOWED`` does not name must be refused.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from google.cloud.firestore import FieldFilter

from conftest import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable

    from rules_project import RulesProject

__all__ = [
    "ALLOWED",
    "BUCKET",
    "CALLERS",
    "CASES",
    "COLLECTIONS",
    "client_of",
    "run",
    "seed",
    "token_of",
]

OWNED = (
    "robots",
    "rlds_episodes",
    "models",
    "models/olivia/versions",
    "models/olivia/aliases",
    "models/olivia/aliases/stable/history",
    "training_jobs",
    "training_jobs/olivia/webhook_deliveries",
    "training_budgets",
    "slow_loops",
)
"""Whoever a document names as its owner may read it."""

OF_A_JOB = ("training_jobs/olivia/metrics", "training_jobs/olivia/logs")
"""Whoever owns the job may read everything."""

GROUPS = ("models/olivia/versions",)
"""Owners may ask for those of all parents at once."""

CLOSED = (
    "audit_log",
    "provisioned_devices",
    "nonces",
    "models/olivia/registrations",
    "models/olivia/versions/olivia/downloads",
    "webhook_secrets",
    "ota_bundles",
    "remote_sessions",
    "never_heard_of",
)
"""Of the functions alone, and one that nobody uses."""

COLLECTIONS = ("users", "rcan_registry", *OWNED, *OF_A_JOB, *CLOSED)

OWNER, STRANGER = "olivia", "sam"
BUCKET = "own-rules"
CALLERS = ("owner", "stranger", "nobody")


def _mine(client: Any, collection: str) -> Any:
    return client.collection(collection).where(filter=FieldFilter("owner_id", "==", OWNER))


def _document(client: Any, collection: str, name: str = OWNER) -> Any:
    return client.document(f"{collection}/{name}")


def _batch(client: Any, collection: str) -> Any:
    batch = client.batch()
    batch.set(_document(client, collection), {"owner_id": OWNER})
    return batch.commit()


def _group(client: Any, collection: str) -> Any:
    group = client.collection_group(collection.rpartition("/")[2])
    return len(group.where(filter=FieldFilter("owner_id", "==", OWNER)).get())


READS: dict[str, Callable[[Any, str], Any]] = {
    "get": lambda client, name: _document(client, name).get().exists,
    "get_of_another": lambda client, name: _document(client, name, "another").get().exists,
    "get_missing": lambda client, name: _document(client, name, "missing").get().exists,
    "get_below": lambda client, name: _document(client, name, f"{OWNER}/notes/n").get().exists,
    "list": lambda client, name: len(client.collection(name).get()),
    "list_one": lambda client, name: len(client.collection(name).limit(1).get()),
    "list_mine": lambda client, name: len(_mine(client, name).get()),
    "list_group": _group,
    "list_below": lambda client, name: len(client.collection(f"{name}/{OWNER}/notes").get()),
    "count": lambda client, name: client.collection(name).count().get()[0][0].value,
    "count_mine": lambda client, name: _mine(client, name).count().get()[0][0].value,
}
WRITES: dict[str, Callable[[Any, str], Any]] = {
    "create": lambda client, name: _document(client, name, "new").create({"owner_id": OWNER}),
    "set": lambda client, name: _document(client, name).set({"owner_id": STRANGER}),
    "update": lambda client, name: _document(client, name).update({"owner_id": STRANGER}),
    "delete": lambda client, name: _document(client, name).delete(),
    "batch": _batch,
}

_OF_AN_OWNER = ("get", "list_mine", "count_mine")
_OF_A_JOBS_OWNER = (
    *_OF_AN_OWNER,
    "get_of_another",
    "get_missing",
    "list",
    "list_one",
    "count",
)
ALLOWED = frozenset(
    [
        ("users", "owner", "get"),
        *itertools.product(OWNED, ["owner"], _OF_AN_OWNER),
        *itertools.product(GROUPS, ["owner"], ["list_group"]),
        *itertools.product(OF_A_JOB, ["owner"], _OF_A_JOBS_OWNER),
        *itertools.product(["rcan_registry"], CALLERS, ("get", "get_of_another", "get_missing")),
    ]
)
"""Collection, caller and call; nothing else is."""

CASES = tuple(
    (collection, caller, call)
    for collection in COLLECTIONS
    for caller in CALLERS
    for call in (*READS, *WRITES)
)


def seed(project: RulesProject) -> None:
    """Put the project's rules in force, and in each collection one document of two people each."""
    rules = (REPOSITORY / "firestore.rules").read_text(encoding="utf-8")
    project.set_rules(rules).raise_for_status()
    batch = project.admin.batch()
    for collection in COLLECTIONS:
        for owner in (OWNER, "another"):
            batch.set(project.admin.document(f"{collection}/{owner}"), {"owner_id": owner})
    batch.commit()


def client_of(project: RulesProject, caller: str) -> Any:
    """Return the client of one of ``CALLERS``."""
    return project.client(token_of(project, caller))


def token_of(project: RulesProject, caller: str) -> str | None:
    """Return the ID token of one of ``CALLERS``, None of nobody."""
    if caller == "nobody":
        return None
    return project.token(OWNER if caller == "owner" else STRANGER)


def run(client: Any, collection: str, call: str) -> Any:
    """Make one call of the table; return what it answers."""
    act = READS.get(call) or WRITES[call]
    answer = act(client, collection)
    return answer if call in READS else "written"
