"""A structured query, validated and made ready to be asked about documents. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from continuon_local.firestore.constraints import constraints_of
from continuon_local.firestore.errors import invalid_argument
from continuon_local.firestore.fields import (
    DOCUMENT_ID,
    FieldPath,
    get_field,
    parse_field_path,
    project,
)
from continuon_local.firestore.filters import (
    check_disjunctions,
    compile_filter,
    inequality_fields,
    leaves,
)
from continuon_local.firestore.limits import MAX_SORT_ORDERS
from continuon_local.firestore.messages import Document, StructuredQuery
from continuon_local.firestore.operands import check_query_value
from continuon_local.firestore.ordering import encode_path, encode_value, invert
from continuon_local.firestore.paths import check_collection_id, parse_document_name, parse_parent
from continuon_local.firestore.vectors import compile_nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from continuon_local.firestore.constraints import Constraint
    from continuon_local.firestore.messages import Message
    from continuon_local.firestore.vectors import Nearest

__all__ = ["Bound", "CompiledQuery", "Order", "compile_query"]

_DESCENDING = StructuredQuery.Direction.DESCENDING


@dataclass(frozen=True, slots=True)
class Order:
    """One sort order.

    Attributes:
        path: The field path as text, ``__name__`` for the document's name.
        segments: The same, split.
        descending: The direction.
    """

    path: str
    segments: FieldPath
    descending: bool

    def encode(self, name: str, fields: Message) -> bytes | None:
        """Return the bytes to sort by, or None where the document lacks the field."""
        if self.path == DOCUMENT_ID:
            key = encode_path(name)
        else:
            value = get_field(fields, self.segments)
            if value is None:
                return None
            key = encode_value(value)
        return invert(key) if self.descending else key


@dataclass(frozen=True, slots=True)
class Bound:
    """A cursor: the beginning of a sort key.

    Attributes:
        key: The encoded values of the first sort orders.
        before: Whether the position is just before the documents that share ``key``.
    """

    key: bytes
    before: bool

    def is_before(self, sort_key: bytes) -> bool:
        """Tell whether this position comes before a document with ``sort_key``."""
        if sort_key.startswith(self.key):
            return self.before
        return self.key < sort_key


@dataclass(frozen=True, slots=True)
class CompiledQuery:
    """What a query asks for.

    Attributes:
        database: ``projects/P/databases/D``.
        parent: The path of the document below which to look, empty for the root.
        collection_id: The collection's id, or None for every collection.
        all_descendants: Whether collections at any depth count, or only those directly below.
        predicate: The filters.
        orders: All sort orders, explicit and implicit, ending with ``__name__``.
        start: Where the results begin.
        end: Where they end.
        offset: How many results to leave out.
        limit: How many results to give, or None for all.
        projection: The fields to give, or None for all; empty for names only.
        constraints: What the filters demand of single fields, for indexes.
        nearest: The vector search among the results, or None.
    """

    database: str
    parent: str
    collection_id: str | None
    all_descendants: bool
    predicate: Callable[[str, Message], bool]
    orders: Sequence[Order]
    start: Bound | None
    end: Bound | None
    offset: int
    limit: int | None
    projection: Sequence[FieldPath] | None
    constraints: Sequence[Constraint]
    nearest: Nearest | None = None

    @property
    def is_whole_collection(self) -> bool:
        """Whether every document of one collection is a result, in the order of names."""
        return (
            self.predicate is _everything
            and self.nearest is None
            and self.orders[0].path == DOCUMENT_ID
            and self.start is None
            and self.end is None
            and not self.all_descendants
            and self.collection_id is not None
        )

    def sort_key(self, name: str, fields: Message) -> bytes | None:
        """Return the bytes by which results sort, or None where an ordered field is missing."""
        parts = []
        for order in self.orders:
            key = order.encode(name, fields)
            if key is None:
                return None
            parts.append(key)
        return b"".join(parts)

    def is_in_scope(self, name: str) -> bool:
        """Tell whether a document is in one of the collections asked about."""
        document = parse_document_name(name)
        collection = document.collection
        if collection.database != self.database:
            return False
        if self.collection_id not in {None, collection.collection_id}:
            return False
        if not self.all_descendants:
            return collection.parent == self.parent
        return not self.parent or collection.path.startswith(f"{self.parent}/")

    def matches(self, name: str, document: Message) -> bool:
        """Tell whether a document satisfies the filters and has the ordered fields."""
        return (
            self.is_in_scope(name)
            and self.predicate(name, document.fields)
            and self.sort_key(name, document.fields) is not None
        )

    def is_within(self, sort_key: bytes) -> bool:
        """Tell whether a sort key lies between the cursors."""
        if self.start is not None and not self.start.is_before(sort_key):
            return False
        return self.end is None or not self.end.is_before(sort_key)

    def projected(self, document: Message) -> Message:
        """Return the document with the selected fields only."""
        if self.projection is None:
            return document
        result = Document(
            name=document.name,
            create_time=document.create_time,
            update_time=document.update_time,
        )
        project(document.fields, self.projection, result.fields)
        return result


def _order(path: str, *, descending: bool) -> Order:
    segments = (DOCUMENT_ID,) if path == DOCUMENT_ID else parse_field_path(path)
    return Order(path, segments, descending)


def _check_nothing_follows_the_key(
    query: Message, explicit: Sequence[str], implied: Sequence[str], aggregated: Sequence[str]
) -> None:
    """Refuse fields that would have to sort after the name of the document.

    Raises:
        StatusError: INVALID_ARGUMENT.
    """
    if DOCUMENT_ID in explicit and set(implied).difference(explicit):
        raise invalid_argument("order by clause cannot contain more fields after the key")
    filtered = leaves(query.where) if query.HasField("where") else ()
    filtered_by_name = any(leaf.field.field_path == DOCUMENT_ID for leaf in filtered)
    if filtered_by_name and implied and DOCUMENT_ID not in implied:
        raise invalid_argument(
            "Equality on key is not allowed if there are other inequality fields and key does "
            "not appear in inequalities."
        )
    by_name = DOCUMENT_ID in explicit or filtered_by_name
    unordered = [path for path in aggregated if path not in {*explicit, *implied}]
    if by_name and unordered:
        raise invalid_argument(
            f"This query requires an index that has fields [{', '.join(unordered)}] after "
            "__name__ and Firestore does not currently support such an index. Please try the "
            "query again with additional ordering on those fields."
        )


def _orders(query: Message, aggregated: Sequence[str]) -> list[Order]:
    """Complete the sort orders: inequality and aggregated fields, then the document name."""
    orders = [
        _order(each.field.field_path, descending=each.direction == _DESCENDING)
        for each in query.order_by
    ]
    if len(orders) > MAX_SORT_ORDERS:
        raise invalid_argument(f"A query has at most {MAX_SORT_ORDERS} sort orders.")
    paths = [order.path for order in orders]
    if len({order.segments for order in orders}) != len(paths):
        raise invalid_argument("order by clause cannot contain duplicate fields")
    if DOCUMENT_ID in paths[:-1]:
        raise invalid_argument("order by clause cannot contain more fields after the key")
    last_descending = bool(orders) and orders[-1].descending
    implied = inequality_fields(query.where) if query.HasField("where") else []
    _check_nothing_follows_the_key(query, paths, implied, aggregated)
    fields = [path for path in (*implied, *aggregated) if path != DOCUMENT_ID]
    for path in (*fields, DOCUMENT_ID):
        if path not in paths:
            paths.append(path)
            orders.append(_order(path, descending=last_descending))
    return orders


def _check_by_name_only(query: Message, orders: Sequence[Order]) -> None:
    """Refuse a collection group below a document that would need an index of a field.

    Raises:
        StatusError: INVALID_ARGUMENT.
    """
    filtered = leaves(query.where) if query.HasField("where") else ()
    paths = {leaf.field.field_path for leaf in filtered} | {order.path for order in orders}
    if paths != {DOCUMENT_ID}:
        raise invalid_argument("collection group queries are only allowed at the root parent")


def _cursor_key(order: Order, value: Message) -> bytes:
    check_query_value(value)
    if order.path == DOCUMENT_ID:
        if value.WhichOneof("value_type") != "reference_value":
            raise invalid_argument("Cursor __key__ value is not a document reference.")
        key = encode_path(value.reference_value)
    else:
        key = encode_value(value)
    return invert(key) if order.descending else key


def _bound(cursor: Message, orders: Sequence[Order], explicit: int) -> Bound:
    if len(cursor.values) > explicit:
        raise invalid_argument("Cursor has too many values.")
    parts = [_cursor_key(order, value) for order, value in zip(orders, cursor.values, strict=False)]
    return Bound(b"".join(parts), cursor.before)


def _projection(query: Message) -> Sequence[FieldPath] | None:
    if not query.HasField("select"):
        return None
    paths = [field.field_path for field in query.select.fields]
    return [parse_field_path(path) for path in paths if path != DOCUMENT_ID]


def compile_query(parent: str, query: Message, aggregated: Sequence[str] = ()) -> CompiledQuery:
    """Validate a ``StructuredQuery`` below ``parent``.

    Args:
        parent: The name of a document or of the root.
        query: The query.
        aggregated: Paths of fields that are summed or averaged; results must have them.

    Raises:
        StatusError: INVALID_ARGUMENT for a query that Firestore does not accept, UNIMPLEMENTED
            for vector search combined with an order.
    """
    database, parent_path = parse_parent(parent)
    if len(query.from_) > 1:
        raise invalid_argument(
            "StructuredQuery.from cannot have more than one collection selector."
        )
    selector = query.from_[0] if query.from_ else StructuredQuery.CollectionSelector()
    check_collection_id(selector.collection_id)
    if query.limit.value < 0:
        raise invalid_argument("limit is negative")
    if query.offset < 0:
        raise invalid_argument("offset is negative")
    predicate: Callable[[str, Message], bool] = _everything
    if query.HasField("where"):
        check_disjunctions(query.where)
        predicate = compile_filter(query.where)
    orders = _orders(query, aggregated)
    if parent_path and selector.collection_id and selector.all_descendants:
        _check_by_name_only(query, orders)
    explicit = len(query.order_by)
    return CompiledQuery(
        database=database,
        parent=parent_path,
        collection_id=selector.collection_id or None,
        all_descendants=selector.all_descendants,
        predicate=predicate,
        orders=orders,
        start=_bound(query.start_at, orders, explicit) if query.HasField("start_at") else None,
        end=_bound(query.end_at, orders, explicit) if query.HasField("end_at") else None,
        offset=query.offset,
        limit=query.limit.value if query.HasField("limit") else None,
        projection=_projection(query),
        constraints=constraints_of(query),
        nearest=compile_nearest(query),
    )


def _everything(_name: str, _fields: Message) -> bool:
    return True
