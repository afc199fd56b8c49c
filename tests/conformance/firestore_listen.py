"""Listening: which snapshots a document's and a query's watcher gets."""

from __future__ import annotations

import queue
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from google.cloud.firestore import FieldFilter, Query

from conformance.model import Area, FirestoreGround

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["AREAS"]

listen = Area("firestore", "listen")

_WAIT_S = 10
_QUIET_S = 0.3


class _Heard:
    """Snapshots of one watcher, in order."""

    def __init__(self) -> None:
        self._queue: queue.Queue[Any] = queue.Queue()

    def on_snapshot(self, snapshots: Any, changes: Any, _read_time: Any) -> None:
        """Take what the client's watcher delivers."""
        self._queue.put(
            {
                "documents": [[s.id, s.to_dict()] for s in snapshots],
                "changes": sorted([c.type.name, c.document.id] for c in changes),
            }
        )

    def next(self) -> Any:
        """Return the next snapshot, or say that none came."""
        try:
            return self._queue.get(timeout=_WAIT_S)
        except queue.Empty:
            return "nothing came"

    def quiet(self) -> bool:
        """Tell whether nothing comes for a moment."""
        try:
            self._queue.get(timeout=_QUIET_S)
        except queue.Empty:
            return True
        return False


@contextmanager
def _watch(target: Any) -> Iterator[_Heard]:
    heard = _Heard()
    watch = target.on_snapshot(heard.on_snapshot)
    try:
        yield heard
    finally:
        watch.unsubscribe()


def _after_each(target: Any, *steps: Callable[[], Any]) -> Any:
    with _watch(target) as heard:
        answers = [heard.next()]
        for step in steps:
            step()
            answers.append(heard.next())
        return [*answers, heard.quiet()]


@listen.case
def document(ground: FirestoreGround) -> Any:
    reference = ground.docs.document("d")
    reference.set({"n": 1})
    return _after_each(
        reference,
        lambda: reference.update({"n": 2}),
        reference.delete,
        lambda: reference.set({"n": 3}),
    )


@listen.case
def missing_document(ground: FirestoreGround) -> Any:
    reference = ground.docs.document("d")
    return _after_each(reference, lambda: reference.set({"n": 1}))


@listen.case
def collection(ground: FirestoreGround) -> Any:
    docs = ground.docs
    docs.document("a").set({"n": 1})
    return _after_each(
        docs,
        lambda: docs.document("b").set({"n": 2}),
        lambda: docs.document("a").update({"n": 3}),
        lambda: docs.document("b").delete(),
    )


@listen.case
def empty_collection(ground: FirestoreGround) -> Any:
    return _after_each(ground.docs, lambda: ground.docs.document("a").set({}))


@listen.case
def several_in_one_commit(ground: FirestoreGround) -> Any:
    batch = ground.client.batch()
    for name in ("a", "b", "c"):
        batch.set(ground.docs.document(name), {})
    return _after_each(ground.docs, batch.commit)


@listen.case
def document_enters_and_leaves_a_query(ground: FirestoreGround) -> Any:
    reference = ground.docs.document("d")
    reference.set({"n": 1})
    return _after_each(
        ground.docs.where(filter=FieldFilter("n", ">", 5)),
        lambda: reference.update({"n": 6}),
        lambda: reference.update({"n": 7}),
        lambda: reference.update({"n": 1}),
    )


@listen.case
def ordered_query(ground: FirestoreGround) -> Any:
    docs = ground.docs
    docs.document("a").set({"n": 1})
    docs.document("b").set({"n": 2})
    return _after_each(
        docs.order_by("n", direction=Query.DESCENDING),
        lambda: docs.document("a").update({"n": 3}),
        lambda: docs.document("c").set({"n": 2.5}),
    )


@listen.case
def limited_query_takes_the_next(ground: FirestoreGround) -> Any:
    docs = ground.docs
    for number in range(4):
        docs.document(str(number)).set({"n": number})
    return _after_each(
        docs.order_by("n").limit(2),
        lambda: docs.document("0").delete(),
        lambda: docs.document("new").set({"n": -1}),
    )


@listen.case
def other_documents_are_not_heard(ground: FirestoreGround) -> Any:
    reference = ground.docs.document("d")
    reference.set({"n": 1})
    with _watch(reference) as heard:
        first = heard.next()
        ground.docs.document("other").set({})
        return [first, heard.quiet()]


@listen.case
def collection_group(ground: FirestoreGround) -> Any:
    group = ground.client.collection_group(f"{ground.case}-sub")
    first = ground.client.document(f"{ground.case}/p/{ground.case}-sub/a")
    return _after_each(group, lambda: first.set({"n": 1}), first.delete)


@listen.case
def transaction_is_heard_once(ground: FirestoreGround) -> Any:
    batch = ground.client.batch()
    batch.set(ground.docs.document("d"), {"n": 1})
    batch.update(ground.docs.document("d"), {"n": 2})
    return _after_each(ground.docs, batch.commit)


AREAS = [listen]
