"""What firestore.rules of this project is to allow: one table of cases.

``tests/rules`` asks our engine, ``make conformance`` Google's emulator as well. Everything that
``ALLOWED`` does not name must be refused.
"""

from __future__ import annotations

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

COLLECTIONS = (
    "users",
    "robots",
    "rcan_registry",
    "rlds_episodes",
    "audit_log",
    "provisioned_devices",
    "nonces",
    "training_jobs",
    "models",
    "ota_bundles",
    "remote_sessions",
    "never_heard_of",
)
"""Those with rules of their own, those of the functions, and one that nobody uses."""

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
    group = client.collection_group(collection)
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
ALLOWED = frozenset(
    [
        ("users", "owner", "get"),
        *(("robots", "owner", call) for call in _OF_AN_OWNER),
        *(("rlds_episodes", "owner", call) for call in _OF_AN_OWNER),
        *(
            ("rcan_registry", caller, call)
            for caller in CALLERS
            for call in ("get", "get_of_another", "get_missing")
        ),
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
