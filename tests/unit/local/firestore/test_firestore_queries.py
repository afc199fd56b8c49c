"""Queries and the indexes they need, without a server."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import firestore
from google.cloud.firestore import And, FieldFilter, Or
from google.cloud.firestore_admin_v1.types import Index
from google.cloud.firestore_v1.base_vector_query import DistanceMeasure
from google.cloud.firestore_v1.vector import Vector

from continuon_local.firestore.errors import StatusError
from continuon_local.firestore.indexes import IndexChecker, load_indexes
from continuon_local.firestore.query import CompiledQuery, compile_query
from continuon_local.grpc_wire.codes import Code
from own_messages import own

if TYPE_CHECKING:
    from pathlib import Path

    from continuon_local.firestore.messages import Message

ROOT = "projects/p/databases/(default)/documents"
CLIENT = firestore.Client(project="p", credentials=AnonymousCredentials())  # type: ignore[no-untyped-call]
EPISODES = CLIENT.collection("episodes")


def where(*conditions: tuple[str, str, Any]) -> Any:
    query: Any = EPISODES
    for condition in conditions:
        query = query.where(filter=FieldFilter(*condition))
    return query


def message(query: Any) -> Message:
    return own(query._to_protobuf())


def compiled(query: Any) -> CompiledQuery:
    return compile_query(ROOT, message(query))


def orders(query: Any) -> list[tuple[str, bool]]:
    return [(order.path, order.descending) for order in compiled(query).orders]


def test_inequality_fields_and_the_name_are_implied_orders() -> None:
    query = where(("b", ">", 1), ("a", "<", 1), ("c", "==", 1))
    assert orders(query) == [("a", False), ("b", False), ("__name__", False)]
    descending = query.order_by("z", direction="DESCENDING")
    assert orders(descending) == [("z", True), ("a", True), ("b", True), ("__name__", True)]


@pytest.mark.parametrize(
    "query",
    [
        where(("a", "in", list(range(31)))),
        where(("a", "not-in", list(range(11)))),
        where(("a", "in", [])),
        where(("a", "in", list(range(6))), ("b", "in", list(range(6)))),
        where(("a", "not-in", [1]), ("b", "!=", 1)),
        where(("a", "not-in", [1]), ("b", "in", [1])),
        EPISODES.order_by("a").order_by("a"),
    ],
)
def test_queries_beyond_the_limits_are_refused(query: Any) -> None:
    with pytest.raises(StatusError) as caught:
        compiled(query)
    assert caught.value.code is Code.INVALID_ARGUMENT


DATABASE = "projects/p/databases/(default)"
CHECKER = IndexChecker([], {})


def missing(query: Any, checker: IndexChecker = CHECKER) -> list[tuple[str, str]] | None:
    refused = None
    try:
        checker.check(DATABASE, message(query))
    except StatusError as error:
        refused = error
    if refused is None:
        return None
    assert refused.code is Code.FAILED_PRECONDITION
    definition = json.loads(refused.message.partition("firestore.indexes.json: ")[2])
    return [
        (field["fieldPath"], field.get("order") or field["arrayConfig"])
        for field in definition["fields"]
    ]


@pytest.mark.parametrize(
    "query",
    [
        EPISODES.limit(5),
        where(("a", "==", 1)),
        where(("a", "==", 1), ("b", "==", 2), ("c", "array_contains", 3)),
        where(("a", ">", 1), ("a", "<", 9)),
        where(("a", "==", 1)).order_by("a"),
        where(("a", "in", [1, 2])),
        EPISODES.order_by("a", direction="DESCENDING"),
        EPISODES.where(filter=Or([FieldFilter("a", "==", 1), FieldFilter("b", "==", 2)])),
        where(("a", "==", 1)).order_by("__name__"),
    ],
)
def test_single_field_indexes_and_their_merges_exist_by_themselves(query: Any) -> None:
    assert missing(query) is None


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        (
            where(("robot", "==", "r")).order_by("at", direction="DESCENDING"),
            [("robot", "ASCENDING"), ("at", "DESCENDING")],
        ),
        (
            where(("b", ">", 1), ("a", "==", 1)),
            [("a", "ASCENDING"), ("b", "ASCENDING")],
        ),
        (
            where(("tags", "array_contains", "x"), ("n", ">", 1)),
            [("tags", "CONTAINS"), ("n", "ASCENDING")],
        ),
        (
            EPISODES.order_by("a").order_by("b", direction="DESCENDING"),
            [("a", "ASCENDING"), ("b", "DESCENDING")],
        ),
        (
            where(("a", ">", 1), ("b", ">", 1)),
            [("a", "ASCENDING"), ("b", "ASCENDING")],
        ),
        (
            EPISODES.where(
                filter=Or(
                    [
                        FieldFilter("a", "==", 1),
                        And([FieldFilter("b", "==", 1), FieldFilter("c", "==", 1)]),
                    ]
                )
            ).order_by("d"),
            [("a", "ASCENDING"), ("d", "ASCENDING")],
        ),
    ],
)
def test_a_missing_composite_index_is_named(query: Any, fields: list[tuple[str, str]]) -> None:
    assert missing(query) == fields


def _file(folder: Path, **content: Any) -> Path:
    path = folder / "firestore.indexes.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def _index(scope: str, *fields: tuple[str, str]) -> dict[str, Any]:
    return {
        "collectionGroup": "episodes",
        "queryScope": scope,
        "fields": [{"fieldPath": path, "order": order} for path, order in fields],
    }


def test_the_defined_index_serves_its_direction_only(tmp_path: Path) -> None:
    checker = load_indexes(
        _file(tmp_path, indexes=[_index("COLLECTION", ("a", "ASCENDING"), ("b", "DESCENDING"))])
    )
    query = where(("a", "==", 1))
    assert missing(query.order_by("b", direction="DESCENDING"), checker) is None
    assert missing(query.order_by("b"), checker) is not None


def test_indexes_with_the_same_orders_are_merged(tmp_path: Path) -> None:
    checker = load_indexes(
        _file(
            tmp_path,
            indexes=[
                _index("COLLECTION", ("a", "ASCENDING"), ("c", "ASCENDING")),
                _index("COLLECTION", ("b", "ASCENDING"), ("c", "ASCENDING")),
            ],
        )
    )
    assert missing(where(("a", "==", 1), ("b", "==", 1)).order_by("c"), checker) is None


def test_a_collection_group_needs_its_own_scope(tmp_path: Path) -> None:
    group = CLIENT.collection_group("episodes").where(filter=FieldFilter("a", "==", 1))
    with pytest.raises(StatusError, match="fieldOverrides"):
        CHECKER.check(DATABASE, message(group))
    override = {
        "collectionGroup": "episodes",
        "fieldPath": "a",
        "indexes": [{"order": "ASCENDING", "queryScope": "COLLECTION_GROUP"}],
    }
    checker = load_indexes(_file(tmp_path, fieldOverrides=[override]))
    checker.check(DATABASE, message(group))


def test_an_exemption_takes_the_index_of_a_field_and_of_what_is_inside(tmp_path: Path) -> None:
    exempt = {"collectionGroup": "episodes", "fieldPath": "meta", "indexes": []}
    kept = {
        "collectionGroup": "episodes",
        "fieldPath": "meta.kept",
        "indexes": [{"order": "ASCENDING", "queryScope": "COLLECTION"}],
    }
    checker = load_indexes(_file(tmp_path, fieldOverrides=[exempt, kept]))
    for path in ("meta", "meta.inner"):
        with pytest.raises(StatusError, match=f"COLLECTION_ASC index .* and field {path}"):
            checker.check(DATABASE, message(where((path, "==", 1))))
    checker.check(DATABASE, message(where(("meta.kept", "==", 1))))
    checker.check(DATABASE, message(where(("metadata", "==", 1))))


def test_the_link_to_the_console_carries_the_index() -> None:
    query = where(("a", "==", 1)).order_by("b", direction="DESCENDING")
    with pytest.raises(StatusError, match="You can create it here: https://console") as caught:
        CHECKER.check(DATABASE, message(query))
    encoded = caught.value.message.partition("create_composite=")[2].partition("\n")[0]
    padded = encoded + "=" * (-len(encoded) % 4)
    index: Any = Index.pb().FromString(base64.urlsafe_b64decode(padded))
    assert index.name == f"{DATABASE}/collectionGroups/episodes/indexes/_"
    assert index.query_scope == Index.QueryScope.COLLECTION
    fields = [(field.field_path, field.order) for field in index.fields]
    assert fields == [("a", 1), ("b", 2), ("__name__", 2)]


def test_a_vector_search_needs_its_index(tmp_path: Path) -> None:
    search: Any = EPISODES.where(filter=FieldFilter("a", "==", 1)).find_nearest(
        "v", Vector([1.0, 2.0]), limit=3, distance_measure=DistanceMeasure.COSINE
    )
    structured = own(search._to_protobuf())
    with pytest.raises(StatusError, match="Missing vector index configuration") as caught:
        CHECKER.check(DATABASE, structured)
    definition = json.loads(caught.value.message.partition("firestore.indexes.json: ")[2])
    load_indexes(_file(tmp_path, indexes=[definition])).check(DATABASE, structured)
    definition["fields"][-1]["vectorConfig"]["dimension"] = 3
    with pytest.raises(StatusError, match='"dimension":"2"'):
        load_indexes(_file(tmp_path, indexes=[definition])).check(DATABASE, structured)


def test_a_file_of_another_form_is_refused(tmp_path: Path) -> None:
    path = _file(tmp_path, indexes=[{"fields": 3}])
    with pytest.raises(ValueError, match="not a file of Firestore indexes"):
        load_indexes(path)
