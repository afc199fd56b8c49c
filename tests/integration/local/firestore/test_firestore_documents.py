"""Documents through the unmodified client."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from google.api_core import exceptions
from google.cloud import firestore
from google.cloud.firestore_v1.vector import Vector

from continuon_local.firestore.messages import GetDocumentRequest

EVERY_TYPE: dict[str, Any] = {
    "null": None,
    "boolean": True,
    "integer": -(2**63),
    "double": -0.5,
    "time": datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
    "text": "Grüße \U0001f916",
    "bytes": b"\x00\xff",
    "point": firestore.GeoPoint(48.1, 11.5),
    "array": [1, "a", {"b": [2]}],
    "map": {"odd.name": {"`": 1}},
    "vector": Vector([1.0, 2.0]),
}


def test_every_type_survives(items: Any) -> None:
    reference = items.document("all")
    reference.set({**EVERY_TYPE, "reference": reference})
    snapshot = reference.get()
    assert snapshot.to_dict() == {**EVERY_TYPE, "reference": reference}
    assert snapshot.create_time == snapshot.update_time


def test_create_refuses_an_existing_document(items: Any) -> None:
    items.document("x").create({"a": 1})
    with pytest.raises(exceptions.AlreadyExists):
        items.document("x").create({"a": 2})
    assert items.document("x").get().to_dict() == {"a": 1}


def test_update_refuses_a_missing_document(items: Any) -> None:
    with pytest.raises(exceptions.NotFound, match="No document to update"):
        items.document("x").update({"a": 2})
    assert not items.document("x").get().exists


def test_an_outdated_update_time_is_a_failed_precondition(client: Any, items: Any) -> None:
    reference = items.document("x")
    first = reference.set({"a": 1}).update_time
    reference.set({"a": 2})
    with pytest.raises(exceptions.FailedPrecondition):
        reference.update({"a": 3}, option=client.write_option(last_update_time=first))
    assert reference.get().get("a") == 2


def test_merge_update_and_delete_field(items: Any) -> None:
    reference = items.document("x")
    reference.set({"a": {"b": 1, "c": 2}, "d": 3})
    reference.set({"a": {"b": 9}}, merge=True)
    reference.update({"a.c": firestore.DELETE_FIELD, "`odd.key`.x": 1})
    assert reference.get().to_dict() == {"a": {"b": 9}, "d": 3, "odd.key": {"x": 1}}


def test_transforms_answer_their_results(items: Any) -> None:
    reference = items.document("x")
    reference.set({"n": 1, "tags": ["a"]})
    result = reference.update(
        {
            "n": firestore.Increment(2),
            "tags": firestore.ArrayUnion(["a", "b"]),
            "at": firestore.SERVER_TIMESTAMP,
        }
    )
    data = reference.get().to_dict()
    assert data == {"n": 3, "tags": ["a", "b"], "at": result.update_time}
    results = [each for each in result.transform_results if each.integer_value]
    assert [each.integer_value for each in results] == [3]


def test_a_batch_is_applied_whole_or_not_at_all(client: Any, items: Any) -> None:
    batch = client.batch()
    batch.set(items.document("a"), {"n": 1})
    batch.update(items.document("missing"), {"n": 1})
    with pytest.raises(exceptions.NotFound):
        batch.commit()
    assert not items.document("a").get().exists


def test_several_writes_of_one_document_in_a_commit_apply_in_order(client: Any, items: Any) -> None:
    batch = client.batch()
    batch.create(items.document("a"), {"n": 1})
    batch.update(items.document("a"), {"n": firestore.Increment(1)})
    batch.commit()
    assert items.document("a").get().to_dict() == {"n": 2}


def test_the_bulk_writer_reports_each_failure_on_its_own(client: Any, items: Any) -> None:
    items.document("there").set({"n": 0})
    failed = []
    writer = client.bulk_writer()
    writer.on_write_error(lambda failure, _: bool(failed.append(failure.code)))  # type: ignore[func-returns-value]
    writer.create(items.document("there"), {"n": 1})
    writer.create(items.document("new"), {"n": 1})
    writer.close()
    assert failed == [grpc.StatusCode.ALREADY_EXISTS.value[0]]
    assert items.document("new").get().exists


def test_lists_go_page_by_page_and_show_missing_parents(items: Any) -> None:
    for number in range(5):
        items.document(f"d{number}").set({"n": number})
    items.document("d2x").collection("below").document("y").set({})
    names = [each.id for each in items.list_documents(page_size=2)]
    assert names == ["d0", "d1", "d2", "d2x", "d3", "d4"]
    assert [each.id for each in items.document("d2x").collections()] == ["below"]


def test_a_deleted_document_leaves_its_subcollections(items: Any) -> None:
    below = items.document("a").collection("below").document("b")
    items.document("a").set({})
    below.set({"n": 1})
    items.document("a").delete()
    assert not items.document("a").get().exists
    assert below.get().exists


def test_reading_in_the_past_sees_what_was_there(items: Any) -> None:
    reference = items.document("x")
    created = reference.set({"n": 1}).update_time
    updated = reference.set({"n": 2}).update_time
    reference.delete()
    assert reference.get(read_time=created).get("n") == 1
    assert reference.get(read_time=updated).get("n") == 2
    assert [each.get("n") for each in items.stream(read_time=created)] == [1]
    assert not reference.get().exists


@pytest.mark.parametrize("document_id", [".", "..", "__reserved__", "x" * 1501])
def test_ids_that_firestore_does_not_allow_are_refused(items: Any, document_id: str) -> None:
    with pytest.raises(exceptions.InvalidArgument):
        items.document(document_id).set({})


def test_a_document_over_one_mebibyte_is_refused(items: Any) -> None:
    with pytest.raises(exceptions.InvalidArgument):
        items.document("x").set({"a": "x" * 1_048_488})
    assert not items.document("x").get().exists


def test_databases_and_projects_are_separate(client: Any, items: Any) -> None:
    other: Any = firestore.Client(project=client.project, database="other")
    items.document("x").set({"n": 1})
    assert not other.collection(items.id).document("x").get().exists
    other.close()


def test_a_users_token_is_refused_and_the_owners_is_not(
    firestore_host: str, client: Any, items: Any
) -> None:
    items.document("x").set({})
    name = f"{client._database_string}/documents/{items.id}/x"
    with grpc.insecure_channel(firestore_host) as channel:
        call: Any = channel.unary_unary("/google.firestore.v1.Firestore/GetDocument")
        request = GetDocumentRequest(name=name).SerializeToString()
        assert call(request, metadata=[("authorization", "Bearer owner")])
        with pytest.raises(grpc.RpcError) as nobody:
            call(request)
        with pytest.raises(grpc.RpcError) as forged:
            call(request, metadata=[("authorization", "Bearer eyJhbGciOiJub25lIn0.e30.")])
    assert nobody.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert forged.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_what_is_not_implemented_is_named(firestore_host: str) -> None:
    with grpc.insecure_channel(firestore_host) as channel:
        call: Any = channel.unary_unary("/google.firestore.v1.Firestore/ExecutePipeline")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"", metadata=[("authorization", "Bearer owner")])
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "ExecutePipeline" in str(caught.value)


def test_a_malformed_request_is_an_invalid_argument(firestore_host: str) -> None:
    with grpc.insecure_channel(firestore_host) as channel:
        for method in ("Commit", "GetDocument"):
            call: Any = channel.unary_unary(f"/google.firestore.v1.Firestore/{method}")
            with pytest.raises(grpc.RpcError) as caught:
                call(b"\xff\xff not protobuf", metadata=[("authorization", "Bearer owner")])
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
