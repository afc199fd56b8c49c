"""The REST API in proto3 JSON, on the port of gRPC."""

from __future__ import annotations

import socket
import uuid
from typing import TYPE_CHECKING, Any

import httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCUMENTS = "/v1/projects/demo/databases/(default)/documents"
NAME = DOCUMENTS.removeprefix("/v1/")
NAMES = {400: "INVALID_ARGUMENT", 404: "NOT_FOUND", 501: "UNIMPLEMENTED"}
OWNER = {"authorization": "Bearer owner"}


@pytest.fixture
def http(firestore_host: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://{firestore_host}", headers=OWNER, timeout=10) as http:
        yield http


@pytest.fixture
def path() -> str:
    return f"{DOCUMENTS}/rest-{uuid.uuid4().hex}"


def fields(**values: int) -> dict[str, Any]:
    return {"fields": {name: {"integerValue": str(number)} for name, number in values.items()}}


def test_the_root_answers_ok(http: httpx.Client) -> None:
    assert http.get("/").text == "Ok\n"
    assert http.get("/elsewhere").json()["error"]["status"] == "NOT_FOUND"


def test_a_document_is_created_read_patched_listed_and_deleted(
    http: httpx.Client, path: str
) -> None:
    created = http.post(path, params={"documentId": "a"}, json=fields(n=1, m=2))
    assert created.json()["name"].endswith("/a")
    read = http.get(f"{path}/a", params={"mask.fieldPaths": "n"}).json()
    assert read["fields"] == {"n": {"integerValue": "1"}}
    assert read["updateTime"].endswith("Z")
    query = {"updateMask.fieldPaths": ["n", "x"], "currentDocument.exists": "true"}
    assert http.patch(f"{path}/a", params=query, json=fields(n=7)).json()["fields"] == {
        "n": {"integerValue": "7"},
        "m": {"integerValue": "2"},
    }
    listed = http.get(path, params={"pageSize": 5}).json()["documents"]
    assert [each["name"].rpartition("/")[2] for each in listed] == ["a"]
    assert http.delete(f"{path}/a").json() == {}
    assert http.get(path).json() == {}


@pytest.mark.parametrize(
    ("method", "address", "body", "status"),
    [
        ("GET", f"{DOCUMENTS}/c/none", None, 404),
        ("GET", f"{DOCUMENTS}/c/__bad__", None, 400),
        ("GET", f"{DOCUMENTS}/c/a?nothing=1", None, 400),
        ("GET", f"{DOCUMENTS}/c/a%ff", None, 400),
        ("DELETE", f"{DOCUMENTS}/c/none?currentDocument.exists=true", None, 404),
        ("PATCH", f"{DOCUMENTS}/c/a", b'{"fields": {"a": 1}}', 400),
        ("PATCH", f"{DOCUMENTS}/c/a", b'{"unknown": 1}', 400),
        ("PATCH", f"{DOCUMENTS}/c/a", b"{", 400),
        ("PATCH", f"{DOCUMENTS}/c/a", b"[]", 400),
        ("PATCH", f"{DOCUMENTS}/c/a", b"[" * 100_000, 400),
        ("POST", f"{DOCUMENTS}:executePipeline", b"{}", 501),
        ("POST", f"{DOCUMENTS}:listen", b"{}", 400),
        ("PUT", f"{DOCUMENTS}/c/a", b"{}", 404),
        ("POST", f"{DOCUMENTS}/c?documentId=../x", b"{}", 400),
    ],
)
def test_refusals_have_googles_shape(
    http: httpx.Client, method: str, address: str, body: bytes | None, status: int
) -> None:
    response = http.request(method, address, content=body)
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert (error["code"], error["status"]) == (status, NAMES[status])
    assert error["message"]


def test_queries_and_aggregations_answer_arrays(http: httpx.Client, path: str) -> None:
    collection = path.rpartition("/")[2]
    for number in range(3):
        http.post(path, params={"documentId": str(number)}, json=fields(n=number))
    structured = {
        "from": [{"collectionId": collection}],
        "where": {
            "fieldFilter": {
                "field": {"fieldPath": "n"},
                "op": "GREATER_THAN",
                "value": {"integerValue": 0},
            }
        },
    }
    rows = http.post(f"{DOCUMENTS}:runQuery", json={"structuredQuery": structured}).json()
    assert [row["document"]["fields"]["n"]["integerValue"] for row in rows] == ["1", "2"]
    counting = {"structuredQuery": structured, "aggregations": [{"alias": "n", "count": {}}]}
    (row,) = http.post(
        f"{DOCUMENTS}:runAggregationQuery", json={"structuredAggregationQuery": counting}
    ).json()
    assert row["result"]["aggregateFields"] == {"n": {"integerValue": "2"}}
    wrong = {"structuredQuery": {**structured, "limit": -1}}
    refused = http.post(f"{DOCUMENTS}:runQuery", json=wrong)
    assert refused.status_code == 400
    assert refused.json()[0]["error"]["status"] == "INVALID_ARGUMENT"


def test_a_transaction_reads_and_commits(http: httpx.Client, path: str) -> None:
    name = f"{path}/a".removeprefix("/v1/")
    begun = http.post(f"{DOCUMENTS}:beginTransaction", json={"options": {"readWrite": {}}}).json()
    rows = http.post(f"{DOCUMENTS}:batchGet", json={"documents": [name], **begun}).json()
    assert rows[0]["missing"] == name
    write = {"update": {"name": name, **fields(n=1)}}
    committed = http.post(f"{DOCUMENTS}:commit", json={"writes": [write], **begun}).json()
    assert committed["commitTime"] == committed["writeResults"][0]["updateTime"]
    again = http.post(f"{DOCUMENTS}:commit", json={"writes": [write], **begun}).json()
    assert again["error"]["status"] == "INVALID_ARGUMENT"
    begun = http.post(f"{DOCUMENTS}:beginTransaction", json={}).json()
    assert http.post(f"{DOCUMENTS}:rollback", json=begun).json() == {}


def test_batches_and_lists_of_collections(http: httpx.Client, path: str) -> None:
    name = f"{path}/a".removeprefix("/v1/")
    writes = [
        {"update": {"name": name, **fields(n=1)}},
        {"delete": f"{name}b", "currentDocument": {"exists": True}},
    ]
    answer = http.post(f"{DOCUMENTS}:batchWrite", json={"writes": writes}).json()
    assert [status.get("code", 0) for status in answer["status"]] == [0, 5]
    http.post(f"{path}/a/sub", json=fields(n=1))
    listed = http.post(f"{path}/a:listCollectionIds", json={}).json()
    assert listed == {"collectionIds": ["sub"]}
    group = {"from": [{"collectionId": "sub", "allDescendants": True}]}
    plain = {**group, "orderBy": [{"field": {"fieldPath": "__name__"}}]}
    parts = http.post(
        f"{DOCUMENTS}:partitionQuery", json={"structuredQuery": plain, "partitionCount": "2"}
    )
    assert parts.json() == {}


def test_every_type_of_value_comes_back_as_it_was_sent(http: httpx.Client, path: str) -> None:
    values = {
        "null": {"nullValue": None},
        "truth": {"booleanValue": False},
        "nan": {"doubleValue": "NaN"},
        "zero": {"integerValue": "0"},
        "text": {"stringValue": ""},
        "bytes": {"bytesValue": "AP8="},
        "time": {"timestampValue": "2026-01-02T03:04:05.000006Z"},
        "place": {"geoPointValue": {"latitude": 1.5, "longitude": -2.5}},
        "list": {"arrayValue": {"values": [{"stringValue": "x"}]}},
        "map": {"mapValue": {"fields": {"a b": {"integerValue": "-1"}}}},
        "ref": {"referenceValue": f"{NAME}/c/d"},
    }
    http.patch(f"{path}/a", json={"fields": values}).raise_for_status()
    assert http.get(f"{path}/a").json()["fields"] == values


def test_a_call_without_the_owners_token_is_a_users(http: httpx.Client, path: str) -> None:
    forged = "Bearer eyJhbGciOiJub25lIn0.e30."
    expected = {"": (403, "PERMISSION_DENIED"), forged: (401, "UNAUTHENTICATED")}
    for token, (code, status) in expected.items():
        refused = http.get(f"{path}/a", headers={"authorization": token})
        assert (refused.status_code, refused.json()["error"]["status"]) == (code, status)


def test_web_pages_may_read_the_answers(http: httpx.Client, path: str) -> None:
    origin = {"origin": "http://localhost:5000"}
    asked = {**origin, "access-control-request-headers": "authorization,content-type"}
    preflight = http.options(path, headers=asked)
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-headers"] == "authorization,content-type"
    answer = http.get(path, headers=origin)
    assert answer.headers["access-control-allow-origin"] == "http://localhost:5000"


def test_a_connection_that_says_little_or_nothing_holds_up_nobody(
    firestore_host: str, http: httpx.Client
) -> None:
    host, _, port = firestore_host.partition(":")
    with (
        socket.create_connection((host, int(port))) as silent,
        socket.create_connection((host, int(port))) as slow,
        socket.create_connection((host, int(port))) as wrong,
    ):
        slow.sendall(b"P")
        wrong.sendall(b"\x16\x03\x01 no HTTP\r\n\r\n")
        assert http.get("/").text == "Ok\n"
        slow.sendall(b"OST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")
        slow.settimeout(10)
        assert slow.recv(12) == b"HTTP/1.1 404"
        wrong.settimeout(10)
        assert wrong.recv(12) == b"HTTP/1.1 400"
        silent.shutdown(socket.SHUT_WR)
        silent.settimeout(10)
        assert silent.recv(1) == b""


def test_large_messages_pass_through_the_shared_port(client: Any, items: Any) -> None:
    blob = b"\x00\x01" * 500_000
    batch = client.batch()
    for number in range(9):
        batch.set(items.document(str(number)), {"blob": blob})
    batch.commit()
    assert all(snapshot.to_dict() == {"blob": blob} for snapshot in items.stream())


def test_documents_are_listed_in_another_order_page_by_page(http: httpx.Client, path: str) -> None:
    for name, number in {"a": 1, "b": 3, "c": 2, "d": 3}.items():
        http.post(path, params={"documentId": name}, json=fields(n=number))
    http.post(path, params={"documentId": "e"}, json={})
    found, token = [], ""
    while True:
        query = {"orderBy": "n desc, __name__ asc", "pageSize": "2", "pageToken": token}
        page = http.get(path, params=query).json()
        found += [each["name"].rpartition("/")[2] for each in page["documents"]]
        token = page.get("nextPageToken", "")
        if not token:
            break
    assert found == ["b", "d", "c", "a"]
    for order in ("n sideways", "", "n,,m", "n desc extra"):
        refused = http.get(path, params={"orderBy": order or " "})
        assert refused.json()["error"]["status"] == "INVALID_ARGUMENT"


def test_a_reference_must_name_a_document(http: httpx.Client, path: str) -> None:
    for name in ("x", f"{NAME}/c", f"{NAME}/c/__reserved__", NAME):
        refused = http.patch(f"{path}/a", json={"fields": {"r": {"referenceValue": name}}})
        assert refused.json()["error"]["status"] == "INVALID_ARGUMENT"


def test_a_document_has_at_most_forty_thousand_index_entries(http: httpx.Client, path: str) -> None:
    def elements(count: int) -> dict[str, Any]:
        values = [{"integerValue": str(number)} for number in range(count)]
        return {"fields": {"list": {"arrayValue": {"values": values}}}}

    assert http.patch(f"{path}/a", json=elements(40_000)).is_success
    refused = http.patch(f"{path}/a", json=elements(40_001)).json()["error"]
    assert "too many index entries" in refused["message"]
