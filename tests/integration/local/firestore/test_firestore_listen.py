"""Listening through the unmodified client."""

from __future__ import annotations

import queue
from typing import Any

from google.cloud.firestore import FieldFilter


def watch(target: Any) -> tuple[Any, queue.Queue[list[tuple[str, str]]]]:
    seen: queue.Queue[list[tuple[str, str]]] = queue.Queue()

    def on_snapshot(_documents: Any, changes: Any, _time: Any) -> None:
        seen.put([(change.type.name, change.document.id) for change in changes])

    return target.on_snapshot(on_snapshot), seen


def test_a_query_tells_what_enters_changes_and_leaves(items: Any) -> None:
    items.document("a").set({"n": 1})
    items.document("low").set({"n": -1})
    listener, seen = watch(items.where(filter=FieldFilter("n", ">", 0)).order_by("n"))
    assert seen.get(timeout=10) == [("ADDED", "a")]
    items.document("b").set({"n": 2})
    assert seen.get(timeout=10) == [("ADDED", "b")]
    items.document("low").set({"n": -2})
    items.document("a").set({"n": 3})
    assert seen.get(timeout=10) == [("MODIFIED", "a")]
    items.document("b").set({"n": 0})
    assert seen.get(timeout=10) == [("REMOVED", "b")]
    items.document("a").delete()
    assert seen.get(timeout=10) == [("REMOVED", "a")]
    listener.unsubscribe()


def test_a_limit_moves_up_what_it_cut_off(items: Any) -> None:
    for number in range(3):
        items.document(f"d{number}").set({"n": number})
    listener, seen = watch(items.order_by("n").limit(2))
    assert seen.get(timeout=10) == [("ADDED", "d0"), ("ADDED", "d1")]
    items.document("d0").delete()
    assert seen.get(timeout=10) == [("REMOVED", "d0"), ("ADDED", "d2")]
    listener.unsubscribe()


def test_a_document_is_told_from_missing_to_deleted(items: Any) -> None:
    reference = items.document("x")
    listener, seen = watch(reference)
    assert seen.get(timeout=10) == []
    reference.set({"n": 1})
    assert seen.get(timeout=10) == [("ADDED", "x")]
    reference.set({"n": 2})
    assert seen.get(timeout=10) == [("MODIFIED", "x")]
    reference.delete()
    assert seen.get(timeout=10) == [("REMOVED", "x")]
    listener.unsubscribe()
