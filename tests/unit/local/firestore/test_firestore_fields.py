"""Field paths, transforms, writes and limits."""

from __future__ import annotations

from typing import Any

import pytest
from google.cloud.firestore_v1._helpers import decode_dict, encode_value

from continuon_local.firestore.errors import StatusError
from continuon_local.firestore.fields import get_field, parse_field_path, remove_field, set_field
from continuon_local.firestore.messages import Document, DocumentTransform, Message, Value, Write
from continuon_local.firestore.times import to_timestamp
from continuon_local.firestore.transforms import apply_transform
from continuon_local.firestore.validation import check_document, check_fields, document_size
from continuon_local.firestore.writes import apply_write
from continuon_local.grpc_wire.codes import Code
from own_messages import own

NAME = "projects/p/databases/(default)/documents/users/u1"
T1, T2 = 1_000_000, 2_000_000


def value(python: Any) -> Message:
    return own(encode_value(python))


def document(data: dict[str, Any], at: int = T1) -> Message:
    message = Document(name=NAME, create_time=to_timestamp(at), update_time=to_timestamp(at))
    for name, each in data.items():
        message.fields[name].CopyFrom(value(each))
    return message


def data_of(message: Message | None) -> Any:
    assert message is not None
    return decode_dict(message.fields, None)


def update(data: dict[str, Any], mask: list[str] | None = None, **options: Any) -> Message:
    write = Write(update={"name": NAME}, **options)
    for name, each in data.items():
        write.update.fields[name].CopyFrom(value(each))
    if mask is not None:
        write.update_mask.SetInParent()
        write.update_mask.field_paths.extend(mask)
    return write


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        ("a", ("a",)),
        ("a.b_1", ("a", "b_1")),
        ("`a.b`.c", ("a.b", "c")),
        (r"`a\`b\\`", ("a`b\\",)),
    ],
)
def test_field_paths_are_split(text: str, segments: tuple[str, ...]) -> None:
    assert parse_field_path(text) == segments


@pytest.mark.parametrize("text", ["", ".", "a.", "a..b", "1a", "a-b", "`a", "``"])
def test_malformed_field_paths_are_refused(text: str) -> None:
    with pytest.raises(StatusError) as caught:
        parse_field_path(text)
    assert caught.value.code is Code.INVALID_ARGUMENT


def test_nested_fields_are_set_read_and_removed() -> None:
    fields = document({"a": 1}).fields
    set_field(fields, ("a", "b"), value(2))
    assert get_field(fields, ("a", "b")) == value(2)
    assert get_field(fields, ("a", "b", "c")) is None
    assert get_field(fields, ("x", "y")) is None
    remove_field(fields, ("a", "b"))
    remove_field(fields, ("x", "y"))
    assert "x" not in fields
    assert get_field(fields, ("a", "b")) is None


def transformed(stored: Any, kind: str, operand: Any) -> Any:
    fields = document({} if stored is None else {"f": stored}).fields
    transform = DocumentTransform.FieldTransform(field_path="f")
    if kind in {"append_missing_elements", "remove_all_from_array"}:
        getattr(transform, kind).values.extend(map(value, operand))
    else:
        getattr(transform, kind).CopyFrom(value(operand))
    apply_transform(fields, transform, to_timestamp(T1))
    decoded: Any = decode_dict(fields, None)
    return decoded["f"]


@pytest.mark.parametrize(
    ("stored", "kind", "operand", "expected"),
    [
        (1, "increment", 2, 3),
        (None, "increment", 2, 2),
        ("text", "increment", 2, 2),
        (1, "increment", 0.5, 1.5),
        (2**63 - 1, "increment", 1, 2**63 - 1),
        (-(2**63), "increment", -1, -(2**63)),
        (3, "maximum", 5, 5),
        (3, "maximum", 3.0, 3),
        (3.0, "minimum", 3, 3.0),
        (3, "minimum", -1, -1),
        (None, "minimum", 4, 4),
        ([1, 2], "append_missing_elements", [2.0, 3, 3], [1, 2, 3]),
        ("text", "append_missing_elements", [1], [1]),
        ([1, 2, 1.0, "a"], "remove_all_from_array", [1, "b"], [2, "a"]),
        (None, "remove_all_from_array", [1], []),
    ],
)
def test_transforms_compute_as_documented(
    stored: Any, kind: str, operand: Any, expected: Any
) -> None:
    result = transformed(stored, kind, operand)
    assert result == expected
    assert type(result) is type(expected)


def test_nan_wins_maximum_and_minimum() -> None:
    assert transformed(1, "maximum", float("nan")) != transformed(1, "maximum", 2)
    result = transformed(float("nan"), "minimum", 1)
    assert result != result  # noqa: PLR0124 - it is NaN


def test_a_masked_update_sets_and_deletes_only_what_the_mask_names() -> None:
    current = document({"a": 1, "b": {"c": 2, "d": 3}})
    write = update({"b": {"c": 9}, "ignored": 1}, ["b.c", "b.d"])
    written, result = apply_write(write, current, T2)
    assert data_of(written) == {"a": 1, "b": {"c": 9}}
    assert result.update_time == to_timestamp(T2)
    assert data_of(current) == {"a": 1, "b": {"c": 2, "d": 3}}


def test_a_write_that_changes_nothing_keeps_the_update_time() -> None:
    current = document({"a": 1, "nan": float("nan")})
    written, result = apply_write(update({"nan": float("nan"), "a": 1}), current, T2)
    assert written is current
    assert result.update_time == to_timestamp(T1)


def test_an_integer_in_place_of_an_equal_double_is_a_change() -> None:
    written, _ = apply_write(update({"a": 1.0}), document({"a": 1}), T2)
    assert written is not None
    assert written.update_time == to_timestamp(T2)


def _code(write: Message, current: Message | None) -> Code:
    with pytest.raises(StatusError) as caught:
        apply_write(write, current, T2)
    return caught.value.code


def test_failed_preconditions_have_googles_codes() -> None:
    stored = document({})
    must_exist = update({}, current_document={"exists": True})
    must_not_exist = update({}, current_document={"exists": False})
    at_other_time = update({}, current_document={"update_time": to_timestamp(T2)})
    assert _code(must_exist, None) is Code.NOT_FOUND
    assert _code(must_not_exist, stored) is Code.ALREADY_EXISTS
    assert _code(at_other_time, stored) is Code.FAILED_PRECONDITION


@pytest.mark.parametrize(
    "fields",
    [
        {"__reserved__": 1},
        {"": 1},
        {"x" * 1501: 1},
        {"s": "x" * 1_048_488},
        {"b": b"x" * 1_048_488},
    ],
)
def test_fields_that_firestore_does_not_store_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(StatusError) as caught:
        check_fields(document(fields).fields)
    assert caught.value.code is Code.INVALID_ARGUMENT


def test_arrays_directly_in_arrays_are_refused() -> None:
    message = document({"a": [{"b": [1]}]})
    check_fields(message.fields)
    message.fields["a"].array_value.values.add().array_value.SetInParent()
    with pytest.raises(StatusError, match="array value in an array value"):
        check_fields(message.fields)


def test_twenty_levels_are_allowed_and_twenty_one_are_not() -> None:
    nested: dict[str, Any] = {"x": 1}
    for _ in range(20):
        nested = {"m": nested}
    check_fields(document(nested).fields)
    with pytest.raises(StatusError, match="20 levels"):
        check_fields(document({"m": nested}).fields)


def test_document_size_follows_the_documented_example() -> None:
    # The example of the storage-size page: 147 bytes.
    message = document(
        {"type": "Personal", "done": False, "priority": 1, "description": "Learn Cloud Firestore"}
    )
    assert document_size("users/jeff/tasks/my_task_id", message.fields) == 147


def test_a_document_over_one_mebibyte_is_refused_although_no_field_is() -> None:
    message = document({"a": "x" * 600_000, "b": "y" * 440_000})
    check_document("users/u1", message)
    message.fields["c"].string_value = "z" * 10_000
    with pytest.raises(StatusError, match="1,048,576 bytes"):
        check_document("users/u1", message)


def test_timestamps_are_cut_to_microseconds() -> None:
    message = Document()
    message.fields["t"].timestamp_value.nanos = 1_234_567
    check_fields(message.fields)
    assert message.fields["t"] == Value(timestamp_value={"nanos": 1_234_000})


def test_more_than_500_transforms_of_a_document_are_refused() -> None:
    write = Write(update={"name": NAME})
    for number in range(501):
        write.update_transforms.add(field_path=f"f{number}", increment=value(1))
    assert _code(write, None) is Code.INVALID_ARGUMENT
