"""Query requests that the outer client never sends, sound and unsound."""

from __future__ import annotations

from functools import partial
from typing import Any

from conformance.firestore_queries import seed
from conformance.model import Area, FirestoreGround

__all__ = ["AREAS"]

raw_queries = Area("firestore", "query-requests")
raw_queries.seed = seed

_RAW: dict[str, dict[str, Any]] = {
    "no_from": {},
    "two_from": {"from": [{"collection_id": "robots"}, {"collection_id": "commands"}]},
    "all_descendants_everywhere": {"from": [{"all_descendants": True}]},
    "empty_collection": {"from": [{"collection_id": ""}]},
    "collection_with_slash": {"from": [{"collection_id": "robots/r1/commands"}]},
    "unspecified_operator": {
        "where": {
            "field_filter": {
                "field": {"field_path": "n"},
                "op": 0,
                "value": {"integer_value": 1},
            }
        }
    },
    "filter_without_value": {
        "where": {"field_filter": {"field": {"field_path": "n"}, "op": "EQUAL"}}
    },
    "filter_without_field": {
        "where": {"field_filter": {"op": "EQUAL", "value": {"integer_value": 1}}}
    },
    "empty_filter": {"where": {}},
    "empty_composite": {"where": {"composite_filter": {"op": "AND"}}},
    "composite_without_operator": {
        "where": {
            "composite_filter": {
                "filters": [{"unary_filter": {"field": {"field_path": "n"}, "op": "IS_NULL"}}]
            }
        }
    },
    "unary_is_null": {
        "where": {"unary_filter": {"field": {"field_path": "model"}, "op": "IS_NULL"}}
    },
    "unary_is_not_null": {
        "where": {"unary_filter": {"field": {"field_path": "model"}, "op": "IS_NOT_NULL"}}
    },
    "unary_is_nan": {"where": {"unary_filter": {"field": {"field_path": "s"}, "op": "IS_NAN"}}},
    "unary_is_not_nan": {
        "where": {"unary_filter": {"field": {"field_path": "s"}, "op": "IS_NOT_NAN"}}
    },
    "equal_null_value": {
        "where": {
            "field_filter": {
                "field": {"field_path": "model"},
                "op": "EQUAL",
                "value": {"null_value": None},
            }
        }
    },
    "in_without_array": {
        "where": {
            "field_filter": {
                "field": {"field_path": "n"},
                "op": "IN",
                "value": {"integer_value": 1},
            }
        }
    },
    "bad_field_path": {"order_by": [{"field": {"field_path": "a..b"}}]},
    "empty_field_path": {"order_by": [{"field": {"field_path": ""}}]},
    "order_without_direction": {"order_by": [{"field": {"field_path": "n"}}]},
    "cursor_without_order": {"start_at": {"values": [{"integer_value": 1}], "before": True}},
    "cursor_empty": {"start_at": {"values": []}},
    "cursor_name_of_wrong_type": {
        "order_by": [{"field": {"field_path": "__name__"}}],
        "start_at": {"values": [{"string_value": "r1"}], "before": True},
    },
    "limit_negative": {"limit": -1},
    "limit_zero": {"limit": 0},
    "offset_negative": {"offset": -1},
    "select_empty": {"select": {"fields": []}},
    "select_bad_path": {"select": {"fields": [{"field_path": "a..b"}]}},
    "reserved_collection": {"from": [{"collection_id": "__robots__"}]},
}


def _raw_query(ground: FirestoreGround, *, name: str) -> Any:
    query = {"from_": [{"collection_id": "robots"}], **_RAW[name]}
    if "from" in query:
        query["from_"] = query.pop("from")
    if name == "no_from":
        del query["from_"]
    request = {"parent": ground.root, "structured_query": query}
    answers = list(ground.api.run_query(request=request))
    return [answer.document.name.rsplit("/", 1)[-1] for answer in answers if answer.document]


for _name in _RAW:
    raw_queries.add(_name, partial(_raw_query, name=_name))


@raw_queries.case
def no_query(ground: FirestoreGround) -> Any:
    return len(list(ground.api.run_query(request={"parent": ground.root})))


@raw_queries.case
def parent_is_a_collection(ground: FirestoreGround) -> Any:
    query = {"from_": [{"collection_id": "commands"}]}
    request = {"parent": f"{ground.root}/robots", "structured_query": query}
    return len(list(ground.api.run_query(request=request)))


@raw_queries.case
def skipped_results_are_reported(ground: FirestoreGround) -> Any:
    query = {"from_": [{"collection_id": "robots"}], "offset": 3, "limit": 2}
    request = {"parent": ground.root, "structured_query": query}
    answers = list(ground.api.run_query(request=request))
    return sum(answer.skipped_results for answer in answers)


@raw_queries.case
def empty_result_has_a_read_time(ground: FirestoreGround) -> Any:
    query = {"from_": [{"collection_id": "nothing"}]}
    request = {"parent": ground.root, "structured_query": query}
    return [bool(answer.read_time) for answer in ground.api.run_query(request=request)]


AREAS = [raw_queries]
