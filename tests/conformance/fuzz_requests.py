"""Requests drawn from small pools, so that they meet.

Fields exist and are missing, types mix, names collide, limits are passed, and now and then a
request is malformed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import random

__all__ = ["Operation", "Requests"]

Operation = tuple[str, dict[str, Any]]
"""The method of the API and its request in JSON."""

_FIELDS = ("a", "b", "c", "m.x", "m.y.z", "list", "`odd name`", "`a.b`", "__name__")
_ODD_FIELDS = (
    "",
    "a.",
    ".a",
    "a..b",
    "1a",
    "a b",
    "`",
    "`a",
    "__a__",
    "a.__b__",
    "m.`x`",
    "é",
    "*",
)
_TEXTS = ("", "a", "ab", "b", "A", "é", "z\u0000", "\ud7ff", "\uffff", "\U0001f600", "x" * 30)
_INTEGERS = (0, 1, -1, 2, 7, 2**53, 2**53 + 1, 2**63 - 1, -(2**63))
_DOUBLES = (0.0, -0.0, 1.0, 1.5, -1.0, 2.0**53, 1e308, -1e308, 5e-324, "NaN", "Infinity")
_OPERATORS = (
    *("EQUAL", "NOT_EQUAL", "LESS_THAN", "LESS_THAN_OR_EQUAL"),
    *("GREATER_THAN", "GREATER_THAN_OR_EQUAL"),
    *("IN", "NOT_IN", "ARRAY_CONTAINS", "ARRAY_CONTAINS_ANY"),
)
_UNARY = ("IS_NULL", "IS_NOT_NULL", "IS_NAN", "IS_NOT_NAN")
_COLLECTIONS = ("x", "y", "x/1/y")
_IDS = ("1", "2", "3", "a", "B", "é", "10", "x")
_ODD_IDS = ("", ".", "..", "__a__", "a/b", "__id7__", "x" * 1501)
_DEPTH = 2
_RARELY = 0.06


class Requests:
    """An endless supply.

    Args:
        choices: Where every choice comes from.
        project: The project of all names.
    """

    def __init__(self, choices: random.Random, project: str) -> None:
        self._choices = choices
        self._database = f"projects/{project}/databases/(default)"
        self._root = f"{self._database}/documents"
        self._kinds = (
            *((self._write,) * 5),
            *((self._query,) * 8),
            *((self._aggregation,) * 2),
            *((self._read,) * 1),
        )

    def next(self) -> Operation:
        """Return the next operation."""
        found: Operation = self._pick(self._kinds)()
        return found

    def deletion_of(self, commit: Operation) -> Operation:
        """Return the operation that deletes what another wrote, as far as it has a name."""
        names = {
            write.get("delete")
            or write.get("update", {}).get("name")
            or write["transform"]["document"]
            for write in commit[1]["writes"]
        }
        proper = [name for name in sorted(names) if name.rpartition("/")[2] in _IDS]
        deletions = [{"delete": name} for name in proper]
        return "Commit", {"database": self._database, "writes": deletions}

    def _pick(self, items: Any) -> Any:
        return self._choices.choice(items)

    def _chance(self, probability: float) -> bool:
        return self._choices.random() < probability

    def _some(self, make: Any, most: int, least: int = 0) -> list[Any]:
        return [make() for _ in range(self._choices.randint(least, most))]

    # Names

    def _field(self) -> str:
        return str(self._pick(_ODD_FIELDS if self._chance(_RARELY / 3) else _FIELDS))

    def _written_field(self) -> str:
        field = self._field()
        return "a" if field == "__name__" else field

    def _name(self) -> str:
        identifier = self._pick(_ODD_IDS if self._chance(_RARELY / 3) else _IDS)
        return f"{self._root}/{self._pick(_COLLECTIONS)}/{identifier}"

    # Values

    def _value(self, depth: int = _DEPTH) -> dict[str, Any]:
        makers = [
            lambda: {"nullValue": None},
            lambda: {"booleanValue": self._chance(0.5)},
            lambda: {"integerValue": str(self._pick(_INTEGERS))},
            lambda: {"doubleValue": self._pick(_DOUBLES)},
            lambda: {"stringValue": self._pick(_TEXTS)},
            lambda: {"bytesValue": self._pick(("", "AA==", "AAE=", "/w=="))},
            lambda: {
                "timestampValue": self._pick(
                    ("1970-01-01T00:00:00Z", "2024-02-29T12:00:00.123456Z")
                )
            },
            lambda: {"referenceValue": self._name()},
            lambda: {
                "geoPointValue": {
                    "latitude": self._pick((0, -90, 12.5)),
                    "longitude": self._pick((0, 180)),
                }
            },
        ]
        if depth:
            makers += [
                lambda: {"arrayValue": {"values": self._some(lambda: self._value(depth - 1), 3)}},
                lambda: {"mapValue": {"fields": self._map(depth - 1)}},
            ]
        found: dict[str, Any] = self._pick(makers)()
        return found

    def _map(self, depth: int) -> dict[str, Any]:
        return {
            self._pick(("x", "y", "z", "odd name")): self._value(depth)
            for _ in range(self._choices.randint(0, 3))
        }

    def _fields(self) -> dict[str, Any]:
        fields = {name: self._value() for name in ("a", "b", "c") if self._chance(0.7)}
        if self._chance(0.5):
            fields["m"] = {
                "mapValue": {
                    "fields": {
                        "x": self._value(1),
                        "y": {"mapValue": {"fields": {"z": self._value(0)}}},
                    }
                }
            }
        if self._chance(0.5):
            fields["list"] = {"arrayValue": {"values": self._some(lambda: self._value(0), 4)}}
        if self._chance(0.2):
            fields["odd name"] = self._value(0)
        if self._chance(_RARELY / 2):
            fields[self._pick(("", "__a__", "a.b", "x" * 1501, "`"))] = self._value(0)
        return fields

    # Writes

    def _write(self) -> Operation:
        writes = self._some(self._one_write, 3, 1)
        return "Commit", {"database": self._database, "writes": writes}

    def _one_write(self) -> dict[str, Any]:
        write: dict[str, Any]
        kind = self._choices.random()
        if kind < 0.15:
            write = {"delete": self._name()}
        elif kind < 0.25:
            write = {
                "transform": {
                    "document": self._name(),
                    "fieldTransforms": self._some(self._transform, 3, 1),
                }
            }
        else:
            write = {"update": {"name": self._name(), "fields": self._fields()}}
            if self._chance(0.5):
                write["updateMask"] = {
                    "fieldPaths": list(
                        {self._mask_path() for _ in range(self._choices.randint(0, 4))}
                    )
                }
            if self._chance(0.3):
                write["updateTransforms"] = self._some(self._transform, 3, 1)
        if self._chance(0.25):
            write["currentDocument"] = {"exists": self._chance(0.5)}
        return write

    def _mask_path(self) -> str:
        if self._chance(0.2):
            return str(self._pick(("m", "m.y", "missing")))
        return self._written_field()

    def _transform(self) -> dict[str, Any]:
        number = (
            self._value(0)
            if self._chance(0.1)
            else self._pick(
                (
                    {"integerValue": str(self._pick(_INTEGERS))},
                    {"doubleValue": self._pick(_DOUBLES)},
                )
            )
        )
        values = {"values": self._some(lambda: self._value(1), 3)}
        return {
            "fieldPath": self._written_field(),
            **self._pick(
                (
                    {"setToServerValue": 0},
                    {"increment": number},
                    {"maximum": number},
                    {"minimum": number},
                    {"appendMissingElements": values},
                    {"removeAllFromArray": values},
                )
            ),
        }

    # Reads

    def _read(self) -> Operation:
        if self._chance(0.5):
            request: dict[str, Any] = {"name": self._name()}
            if self._chance(0.4):
                request["mask"] = {"fieldPaths": self._some(self._mask_path, 3)}
            return "GetDocument", request
        names = sorted(set(self._some(self._name, 4, 1)))
        return "BatchGetDocuments", {"database": self._database, "documents": names}

    def _query(self) -> Operation:
        request: dict[str, Any] = {"parent": self._parent(), "structuredQuery": self._structured()}
        return "RunQuery", request

    def _parent(self) -> str:
        return self._root if self._chance(0.9) else f"{self._root}/x/1"

    def _aggregation(self) -> Operation:
        aggregations = [
            {
                "alias": f"r{number}",
                **self._pick(({"count": {}}, self._over("sum"), self._over("avg"))),
            }
            for number in range(self._choices.randint(1, 3))
        ]
        if self._chance(_RARELY):
            aggregations.append(
                {
                    "alias": self._pick(("r0", "", "__a__", "1")),
                    "count": {"upTo": str(self._pick((-1, 1, 3)))},
                }
            )
        query = self._structured()
        query.pop("select", None)
        document = {"structuredQuery": query, "aggregations": aggregations}
        return "RunAggregationQuery", {
            "parent": self._parent(),
            "structuredAggregationQuery": document,
        }

    def _over(self, name: str) -> dict[str, Any]:
        return {name: {"field": {"fieldPath": self._field()}}}

    def _structured(self) -> dict[str, Any]:
        source: dict[str, Any] = {"collectionId": self._pick(("x", "y"))}
        if self._chance(0.25):
            source["allDescendants"] = True
        query: dict[str, Any] = {"from": [source]}
        if self._chance(0.75):
            query["where"] = self._filter(_DEPTH)
        if self._chance(0.5):
            query["orderBy"] = self._some(self._order, 3, 1)
            self._add_cursors(query)
        if self._chance(0.3):
            query["limit"] = self._pick((1, 2, 5, 0, -1) if self._chance(_RARELY) else (1, 2, 5))
        if self._chance(0.15):
            query["offset"] = self._pick((1, 2, -1) if self._chance(_RARELY) else (1, 2))
        if self._chance(0.2):
            query["select"] = {
                "fields": [{"fieldPath": path} for path in self._some(self._field, 3)]
            }
        return query

    def _order(self) -> dict[str, Any]:
        order = {"field": {"fieldPath": self._field()}}
        if self._chance(0.7):
            order["direction"] = self._pick(("ASCENDING", "DESCENDING"))
        return order

    def _add_cursors(self, query: dict[str, Any]) -> None:
        for cursor in ("startAt", "endAt"):
            if self._chance(0.3):
                most = len(query["orderBy"]) + self._chance(_RARELY)
                values = [
                    self._cursor_value(query, position)
                    for position in range(self._choices.randint(1, most))
                ]
                query[cursor] = {"values": values, "before": self._chance(0.5)}

    def _cursor_value(self, query: dict[str, Any], position: int) -> dict[str, Any]:
        orders = query["orderBy"]
        named = position < len(orders) and orders[position]["field"]["fieldPath"] == "__name__"
        if named and not self._chance(_RARELY):
            collection = query["from"][0]["collectionId"]
            return {"referenceValue": f"{self._root}/{collection}/{self._pick(_IDS)}"}
        return self._value(1)

    def _filter(self, depth: int) -> dict[str, Any]:
        if depth and self._chance(0.4):
            operator = self._pick(("AND", "AND", "OR"))
            filters = self._some(
                lambda: self._filter(depth - 1), 3, 0 if self._chance(_RARELY) else 1
            )
            return {"compositeFilter": {"op": operator, "filters": filters}}
        field = {"fieldPath": self._field()}
        if self._chance(0.15):
            return {"unaryFilter": {"op": self._pick(_UNARY), "field": field}}
        operator = self._pick(_OPERATORS)
        return {
            "fieldFilter": {
                "field": field,
                "op": operator,
                "value": self._operand(operator, field["fieldPath"]),
            }
        }

    def _operand(self, operator: str, path: str) -> dict[str, Any]:
        single = self._value(1)
        if path == "__name__" and not self._chance(_RARELY * 2):
            single = {"referenceValue": f"{self._root}/x/{self._pick(_IDS)}"}
        if operator not in {"IN", "NOT_IN", "ARRAY_CONTAINS_ANY"} or self._chance(_RARELY):
            return single
        most = 31 if self._chance(_RARELY) else 4
        values = self._some(lambda: self._value(1), most, 0 if self._chance(_RARELY) else 1)
        if path == "__name__" and not self._chance(_RARELY * 2):
            values = [
                {"referenceValue": f"{self._root}/x/{name}"}
                for name in _IDS[: max(1, len(values) % 5)]
            ]
        return {"arrayValue": {"values": values}}
