from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from google.api_core.exceptions import (
    AlreadyExists,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unauthenticated,
)
from google.cloud import firestore
from google.cloud.firestore import FieldFilter
from google.cloud.firestore_v1.types import ListenRequest, WriteRequest

from rules_project import RulesProject

DOCUMENTS = "/databases/$(database)/documents"


def _is_refused(call: Any) -> bool:
    try:
        call()
    except PermissionDenied as error:
        return bool(error.message == "Missing or insufficient permissions.")
    return False


def test_without_rules_a_user_may_do_nothing_and_an_administrator_everything(project: Any) -> None:
    project.admin.document("x/1").set({"n": 1})
    assert project.admin.document("x/1").get().exists
    alice = project.user()
    assert _is_refused(alice.document("x/1").get)
    assert _is_refused(alice.collection("x").get)
    assert _is_refused(lambda: alice.document("x/1").set({"n": 2}))


def test_rules_that_do_not_load_are_refused_and_change_nothing(project: Any) -> None:
    project.allow("match /x/{id} { allow get; }")
    answer = project.set_rules("service cloud.firestore {\n  match /x { alow get; }\n}")
    assert answer.status_code == 400
    assert "L2:14 Unexpected 'alow'." in answer.json()["error"]["message"]
    assert not project.user().document("x/1").get().exists


def test_warnings_are_reported_with_their_place(project: Any) -> None:
    source = "service cloud.firestore {\n match /x/{id} { allow get: if nothing(); }\n}"
    (issue,) = project.set_rules(source).json()["issues"]
    assert issue["description"] == "Invalid function name: nothing."
    assert issue["sourcePosition"]["line"] == 2


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "another", "iss": "https://securetoken.google.com/another"},
        {"iss": "https://example.com/"},
        {"sub": ""},
        {"sub": 7},
        {"exp": "never"},
        {"iat": int(time.time()) - 4000, "exp": int(time.time()) - 400},
    ],
)
def test_a_token_that_is_not_for_this_project_or_has_expired_is_unauthenticated(
    project: Any, claims: dict[str, Any]
) -> None:
    project.allow("match /{all=**} { allow read, write; }")
    with pytest.raises(Unauthenticated):
        project.user(**claims).document("x/1").get()


def test_noise_and_signed_tokens_are_unauthenticated(project: Any) -> None:
    project.allow("match /{all=**} { allow read, write; }")
    for token in ("noise", "a.b.c", project.token("alice") + "c2ln"):
        with pytest.raises(Unauthenticated):
            project.client(token).document("x/1").get()
        with pytest.raises(Unauthenticated):
            project.client(token).collection("x").get()
        with pytest.raises(Unauthenticated):
            project.client(token).document("x/1").set({})


@pytest.mark.parametrize(
    "call",
    [
        lambda api, database: api.begin_transaction({"database": database}),
        lambda api, database: api.rollback({"database": database, "transaction": b"none"}),
        lambda api, database: api.commit({"database": database}),
        lambda api, database: list(api.batch_get_documents({"database": database})),
        lambda api, database: api.batch_write({"database": database}),
        lambda api, database: api.list_collection_ids({"parent": f"{database}/documents"}),
        lambda api, database: api.get_document({"name": f"{database}/documents/x/1"}),
        lambda api, database: api.delete_document({"name": f"{database}/documents/x/1"}),
        lambda api, database: api.update_document(
            {"document": {"name": f"{database}/documents/x/1"}}
        ),
        lambda api, database: list(api.write(iter([WriteRequest(database=database)]))),
        lambda api, database: list(
            api.listen(
                iter(
                    [
                        ListenRequest(
                            database=database,
                            add_target={"documents": {"documents": [f"{database}/documents/x/1"]}},
                        )
                    ]
                )
            )
        ),
    ],
)
@pytest.mark.parametrize("token", ["noise", "expired", "another"])
def test_every_call_looks_at_the_token_first(project: Any, call: Any, token: str) -> None:
    project.allow("match /{all=**} { allow read, write; }")
    tokens = {
        "noise": "noise",
        "expired": project.token("alice", iat=1000, exp=2000),
        "another": RulesProject("another", project.address).token("alice"),
    }
    client = project.client(tokens[token])
    database = client._database_string
    with pytest.raises(Unauthenticated):
        call(_WithMetadata(client), database)


def test_a_user_and_nobody_may_begin_and_roll_back_a_transaction(project: Any) -> None:
    for client in (project.user(), project.client(None)):
        api, database = _WithMetadata(client), client._database_string
        begun = api.begin_transaction({"database": database}).transaction
        api.rollback({"database": database, "transaction": begun})
        with pytest.raises(InvalidArgument):
            api.commit({"database": database, "transaction": begun})


class _WithMetadata:
    """The generated client with a user's token on every call."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client._firestore_api, name)

        def call(request: Any) -> Any:
            arguments = (
                {"requests": request} if name in {"write", "listen"} else {"request": request}
            )
            return method(**arguments, metadata=self._client._rpc_metadata, timeout=20)

        return call


def test_claims_are_visible(project: Any) -> None:
    project.allow(
        "match /x/{id} { allow get: if request.auth.token.role == 'operator'"
        " && request.auth.token.firebase.sign_in_provider == 'custom'; }"
    )
    assert not project.user(role="operator").document("x/1").get().exists
    assert _is_refused(project.user(role="user").document("x/1").get)
    assert _is_refused(project.user().document("x/1").get)


def test_a_get_sees_the_document_that_it_would_return(project: Any) -> None:
    project.allow("match /x/{id} { allow get: if resource.data.tags.hasAny(['public']); }")
    project.admin.document("x/1").set({"tags": ["public"]})
    project.admin.document("x/2").set({"tags": ["private"]})
    alice = project.user()
    assert alice.document("x/1").get().exists
    assert _is_refused(alice.document("x/2").get)
    assert _is_refused(alice.document("x/3").get)
    both = [alice.document("x/1"), alice.document("x/2")]
    assert _is_refused(lambda: list(alice.get_all(both)))
    assert len(list(alice.get_all(both[:1]))) == 1


def test_a_write_sees_the_document_before_and_after_with_transforms_applied(project: Any) -> None:
    project.allow(
        """match /x/{id} {
          allow create: if request.resource.data.at == request.time && request.resource.data.n == 1;
          allow update: if request.resource.data.n == resource.data.n + 1
            && request.resource.data.diff(resource.data).affectedKeys().hasOnly(['n']);
          allow delete: if resource.data.n > 1 && request.resource == null;
        }"""
    )
    document = project.user().document("x/1")
    right = {"at": firestore.SERVER_TIMESTAMP, "n": 1}
    assert _is_refused(lambda: document.create({**right, "n": 2}))
    document.create(right)
    assert _is_refused(lambda: document.update({"n": 5}))
    assert _is_refused(lambda: document.update({"n": 2, "other": 1}))
    assert _is_refused(document.delete)
    document.update({"n": firestore.Increment(1)})
    assert project.admin.document("x/1").get().get("n") == 2
    document.delete()
    assert not project.admin.document("x/1").get().exists


def test_a_batch_is_judged_document_by_document_on_what_it_comes_to(project: Any) -> None:
    project.allow(
        f"""match /x/{{id}} {{
          allow create: if existsAfter({DOCUMENTS}/x/one) && existsAfter({DOCUMENTS}/x/two)
            && !exists({DOCUMENTS}/x/one)
            && getAfter({DOCUMENTS}/x/one).data.n + getAfter({DOCUMENTS}/x/two).data.n == 3;
        }}"""
    )
    alice = project.user()
    one, two = alice.document("x/one"), alice.document("x/two")
    assert _is_refused(lambda: one.create({"n": 1}))
    batch = alice.batch()
    batch.create(one, {"n": 1})
    batch.create(two, {"n": 5})
    batch.update(two, {"n": 2})
    batch.commit()
    assert project.admin.document("x/two").get().get("n") == 2


def test_one_refused_write_refuses_the_whole_batch(project: Any) -> None:
    project.allow("match /x/{id} { allow write: if id != 'closed'; }")
    alice = project.user()
    batch = alice.batch()
    batch.set(alice.document("x/open"), {})
    batch.set(alice.document("x/closed"), {})
    assert _is_refused(batch.commit)
    assert not project.admin.document("x/open").get().exists


def test_who_may_not_write_does_not_learn_whether_preconditions_hold(project: Any) -> None:
    project.admin.document("x/there").set({})
    project.allow("match /x/{id} { allow get: if false; }")
    alice = project.user()
    assert _is_refused(lambda: alice.document("x/there").create({}))
    assert _is_refused(lambda: alice.document("x/missing").update({"n": 1}))
    project.allow("match /x/{id} { allow create, update; }")
    with pytest.raises(AlreadyExists):
        alice.document("x/there").create({})
    with pytest.raises(NotFound):
        alice.document("x/missing").update({"n": 1})


def test_a_transaction_is_judged_at_its_commit(project: Any) -> None:
    project.allow("match /x/{id} { allow get; allow update: if request.resource.data.n <= 2; }")
    project.admin.document("x/1").set({"n": 0})
    alice = project.user()

    def add(transaction: Any) -> None:
        found = alice.document("x/1").get(transaction=transaction)
        transaction.update(alice.document("x/1"), {"n": found.get("n") + 1})

    transactional: Any = firestore.transactional
    transactional(add)(alice.transaction())
    transactional(add)(alice.transaction())
    assert _is_refused(lambda: transactional(add)(alice.transaction()))
    assert project.admin.document("x/1").get().get("n") == 2


def test_a_limit_that_rules_set_holds_under_racing_writes(project: Any) -> None:
    project.allow(
        "match /x/{id} { allow update: if request.resource.data.n == resource.data.n + 1"
        " && request.resource.data.n <= 5; }"
    )
    project.admin.document("x/1").set({"n": 0})
    documents = [project.user(f"u{number}").document("x/1") for number in range(12)]
    with ThreadPoolExecutor(12) as pool:
        refused = list(
            pool.map(
                lambda document: _is_refused(
                    lambda: document.update({"n": firestore.Increment(1)})
                ),
                documents,
            )
        )
    assert refused.count(True) == 7
    assert project.admin.document("x/1").get().get("n") == 5


@pytest.mark.parametrize(
    ("condition", "allowed", "refused"),
    [
        (
            "resource.data.owner == request.auth.uid",
            [[("owner", "==", "alice")], [("owner", "in", ["alice"])]],
            [[], [("owner", "==", "bob")], [("owner", "in", ["alice", "bob"])]],
        ),
        (
            "resource.data.n > 5",
            [[("n", ">", 5)], [("n", ">=", 6)], [("n", "==", 7)]],
            [[("n", ">", 4)], [("n", "<", 9)], [("n", "!=", 5)]],
        ),
        (
            "'public' in resource.data.tags",
            [[("tags", "array_contains", "public")]],
            [[("tags", "array_contains_any", ["public", "private"])]],
        ),
        ("resource.data.m.a == 1", [[("m.a", "==", 1)]], [[("m.b", "==", 1)]]),
        ("resource.data.owner != 'z'", [[("owner", "not-in", ["y", "z"])]], [[]]),
        ("request.query.limit == null && request.query.offset == 0", [[]], []),
    ],
)
def test_a_query_is_allowed_when_everything_it_could_find_is(
    project: Any, condition: str, allowed: list[Any], refused: list[Any]
) -> None:
    project.allow(f"match /x/{{id}} {{ allow list: if {condition}; }}")
    project.admin.document("x/1").set({"owner": "alice", "n": 7, "tags": ["public"]})

    def query(filters: list[tuple[str, str, Any]]) -> Any:
        found: Any = project.user().collection("x")
        for each in filters:
            found = found.where(filter=FieldFilter(*each))
        return found

    assert [filters for filters in allowed if _is_refused(query(filters).get)] == []
    assert [filters for filters in refused if not _is_refused(query(filters).get)] == []


def test_limits_of_queries_and_lists_are_visible(project: Any) -> None:
    project.allow("match /x/{id} { allow list: if request.query.limit <= 10; }")
    alice = project.user()
    assert alice.collection("x").limit(10).get() == []
    assert _is_refused(alice.collection("x").limit(11).get)
    assert _is_refused(alice.collection("x").get)
    assert list(alice.collection("x").list_documents(page_size=5)) == []
    assert _is_refused(lambda: list(alice.collection("x").list_documents(page_size=50)))


def test_a_collection_group_needs_rules_for_every_depth(project: Any) -> None:
    project.allow("match /x/{id} { allow list; }")
    alice = project.user()
    assert alice.collection("x").get() == []
    assert _is_refused(alice.collection_group("x").get)
    project.allow("match /{path=**}/x/{id} { allow list; }")
    assert alice.collection_group("x").get() == []


def test_what_only_administrators_may_call_is_refused(project: Any) -> None:
    project.allow("match /{all=**} { allow read, write; }")
    alice = project.user()
    calls: list[Any] = [alice.collections, alice.document("x/1").collections]
    for call in calls:
        with pytest.raises(PermissionDenied, match="require admin authentication"):
            list(call())
    with pytest.raises(InvalidArgument):
        alice.collection("x").where(filter=FieldFilter("n", "in", [])).get()


def test_a_listener_hears_only_what_rules_allow(project: Any) -> None:
    project.allow("match /x/{id} { allow read: if resource.data.owner == request.auth.uid; }")
    project.admin.document("x/1").set({"owner": "alice"})
    alice = project.user()
    heard: list[int] = []
    own = alice.collection("x").where(filter=FieldFilter("owner", "==", "alice"))
    watch: Any = own.on_snapshot(lambda documents, _changes, _time: heard.append(len(documents)))
    deadline = time.monotonic() + 10
    while not heard and time.monotonic() < deadline:
        time.sleep(0.02)
    watch.unsubscribe()
    assert heard == [1]
