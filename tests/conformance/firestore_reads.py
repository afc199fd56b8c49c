"""Reading without a query: get, get_all, listing, collections; and requests that make no sense."""

from __future__ import annotations

import datetime as dt
from functools import partial
from typing import TYPE_CHECKING, Any

from conformance.answers import attempt
from conformance.model import Area, FirestoreGround

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["AREAS"]

reads = Area("firestore", "reads")


def _seed(ground: FirestoreGround) -> None:
    client = ground.client
    client.document("a/1").set({"n": 1, "m": {"x": 1, "y": 2}, "odd name": 3})
    client.document("a/2").set({"n": 2})
    client.document("a/missing/sub/1").set({"n": 3})
    client.document("a/1/sub/1").set({"n": 4})
    client.document("a/1/other/1").set({"n": 5})
    client.document("a/3/sub/x/deep/y").set({"n": 6})
    for number in range(12):
        client.document(f"pages/{number:02}").set({"n": number, "neg": -number})


reads.seed = _seed


@reads.case
def get(ground: FirestoreGround) -> Any:
    return ground.client.document("a/1").get()


@reads.case
def get_missing(ground: FirestoreGround) -> Any:
    return ground.client.document("a/none").get()


@reads.case
def get_missing_parent(ground: FirestoreGround) -> Any:
    return ground.client.document("a/missing").get()


_PATHS = {
    "one": ["n"],
    "nested": ["m.x"],
    "absent": ["zz"],
    "quoted": ["`odd name`"],
    "two": ["n", "m"],
    "none": [],
    "overlapping": ["m", "m.x"],
    "bad": ["a..b"],
    "document_id": ["__name__"],
}


def _projected(ground: FirestoreGround, *, name: str) -> Any:
    return ground.client.document("a/1").get(field_paths=_PATHS[name])


for _name in _PATHS:
    reads.add(f"get_projected_{_name}", partial(_projected, name=_name))


@reads.case
def get_all(ground: FirestoreGround) -> Any:
    paths = ["a/2", "a/none", "a/1", "a/2"]
    found = ground.client.get_all([ground.client.document(path) for path in paths])
    return sorted((s.reference.path, s.exists) for s in found)


@reads.case
def get_all_of_nothing(ground: FirestoreGround) -> Any:
    return list(ground.client.get_all([]))


@reads.case
def collections_of_the_root(ground: FirestoreGround) -> Any:
    return [c.id for c in ground.client.collections()]


@reads.case
def collections_of_a_document(ground: FirestoreGround) -> Any:
    return [c.id for c in ground.client.document("a/1").collections()]


@reads.case
def collections_of_a_missing_document(ground: FirestoreGround) -> Any:
    return [c.id for c in ground.client.document("a/missing").collections()]


@reads.case
def collections_of_nothing(ground: FirestoreGround) -> Any:
    return [c.id for c in ground.client.document("no/where").collections()]


@reads.case
def collection_ids_paged(ground: FirestoreGround) -> Any:
    request = {"parent": f"{ground.root}/a/1", "page_size": 1}
    return list(ground.api.list_collection_ids(request=request))


@reads.case
def list_documents_shows_missing(ground: FirestoreGround) -> Any:
    return [r.path for r in ground.client.collection("a").list_documents()]


@reads.case
def list_documents_paged(ground: FirestoreGround) -> Any:
    return [r.id for r in ground.client.collection("pages").list_documents(page_size=5)]


_LISTS: dict[str, dict[str, Any]] = {
    "default": {},
    "show_missing": {"show_missing": True},
    "mask": {"mask": {"field_paths": ["n"]}},
    "order_by": {"order_by": "n desc"},
    "order_by_two": {"order_by": "n desc, neg"},
    "order_by_name": {"order_by": "__name__ desc"},
    "order_by_rubbish": {"order_by": "n sideways"},
    "order_and_missing": {"order_by": "n", "show_missing": True},
    "negative_page": {"page_size": -1},
    "bad_token": {"page_token": "rubbish"},
}


def _list(ground: FirestoreGround, *, name: str, collection: str) -> Any:
    request = {"parent": ground.root, "collection_id": collection, **_LISTS[name]}
    pages = ground.api.list_documents(request=request)
    return [[d.name.rsplit("/", 1)[1], sorted(d.fields), bool(d.create_time)] for d in pages]


for _name in _LISTS:
    for _collection in ("a", "pages"):
        reads.add(f"list_{_collection}_{_name}", partial(_list, name=_name, collection=_collection))

_BAD_GETS: dict[str, Callable[[FirestoreGround], str]] = {
    "collection": lambda g: f"{g.root}/a",
    "root": lambda g: g.root,
    "empty": lambda _: "",
    "rubbish": lambda _: "rubbish",
    "no_documents": lambda g: f"{g.database}/a/1",
    "empty_segment": lambda g: f"{g.root}/a//",
    "trailing_slash": lambda g: f"{g.root}/a/1/",
    "other_database": lambda _: "projects/demo-conformance/databases/none/documents/a/1",
}


def _bad_get(ground: FirestoreGround, *, name: str) -> Any:
    return ground.api.get_document(request={"name": _BAD_GETS[name](ground)}).name


for _name in _BAD_GETS:
    reads.add(f"get_by_name_{_name}", partial(_bad_get, name=_name))


@reads.case
def read_in_the_past(ground: FirestoreGround) -> Any:
    reference = ground.docs.document("d")
    first: Any = reference.set({"n": 1})
    moment: Any = first.update_time
    reference.set({"n": 2})
    return reference.get(read_time=moment).to_dict()


@reads.case
def read_in_the_future(ground: FirestoreGround) -> Any:
    later = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    return ground.client.document("a/1").get(read_time=later)


@reads.case
def read_two_hours_ago(ground: FirestoreGround) -> Any:
    earlier = dt.datetime.now(dt.UTC) - dt.timedelta(hours=2)
    return ground.client.document("a/1").get(read_time=earlier)


@reads.case
def recursive_delete(ground: FirestoreGround) -> Any:
    for path in ("d", "d/sub/x", "d/sub/x/deep/y", "e"):
        ground.client.document(f"{ground.case}/{path}").set({})
    ground.client.recursive_delete(ground.docs.document("d"))
    return [r.path for r in ground.docs.list_documents()]


@reads.case
def delete_by_bad_name(ground: FirestoreGround) -> Any:
    request = {"name": f"{ground.root}/a"}
    return attempt(lambda: ground.api.delete_document(request=request))


AREAS = [reads]
