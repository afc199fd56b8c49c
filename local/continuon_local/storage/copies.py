"""Objects made of objects: copy, rewrite, compose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from continuon_local.storage.acl import is_uniform
from continuon_local.storage.bodies import Digests
from continuon_local.storage.call import parse_generation
from continuon_local.storage.encryption import check_read, customer_key
from continuon_local.storage.errors import invalid
from continuon_local.storage.object_changes import copied_fields, requested_fields
from continuon_local.storage.objects import NewObject
from continuon_local.storage.preconditions import Preconditions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from continuon_local.storage.call import Call
    from continuon_local.storage.records import ObjectRecord

__all__ = ["compose", "copy", "move"]

# https://cloud.google.com/storage/quotas#objects
_MAX_COMPOSE_SOURCES = 32

_Key = tuple[str, str]


async def copy(call: Call, source: _Key, target: _Key) -> ObjectRecord:
    """Copy an object; its bytes are shared, so the cost does not depend on its size.

    Raises:
        StorageError: A precondition on either side does not hold (412, 304), or one of them
            does not exist (404).
    """
    overrides = requested_fields(call, target[0], await call.json())
    conditions = Preconditions.from_parameters(call.parameters)
    source_conditions = Preconditions.from_parameters(call.parameters, "ifSource")
    generation = call.generation("sourceGeneration")
    # No await between the look-up and the transaction: the source cannot change in between.
    record = call.engine.objects.get(*source, generation, source_conditions)
    check_read(record, customer_key(call.headers, source=True))
    new = NewObject(
        bucket=target[0],
        name=target[1],
        body_id=record.body_id,
        digests=Digests(size=record.size, md5=record.md5, crc32c=record.crc32c),
        fields=copied_fields(record, overrides),
        conditions=conditions,
        component_count=record.component_count,
    )
    return await call.engine.objects.create(new)


async def move(call: Call, bucket: str, source: str, target: str) -> ObjectRecord:
    """Give an object another name in its bucket, in one step.

    Raises:
        StorageError: A precondition on either name does not hold (412, 304), or the source does
            not exist (404).
    """
    source_conditions = Preconditions.from_parameters(call.parameters, "ifSource")
    record = call.engine.objects.get(bucket, source, None, source_conditions)
    if source == target:
        raise invalid("The source and the destination of a move are the same object.")
    new = NewObject(
        bucket=bucket,
        name=target,
        body_id=record.body_id,
        digests=Digests(size=record.size, md5=record.md5, crc32c=record.crc32c),
        fields=_moved_fields(call, record),
        conditions=Preconditions.from_parameters(call.parameters),
        component_count=record.component_count,
        replaces=[record],
    )
    return await call.engine.objects.create(new)


def _moved_fields(call: Call, record: ObjectRecord) -> dict[str, Any]:
    """Return the fields of an object that only gets another name."""
    kept = {"storageClass", "customerEncryption"}
    if not is_uniform(call.engine.objects.bucket(record.bucket)):
        kept.add("acl")
    return copied_fields(record, {k: v for k, v in record.fields.items() if k in kept})


async def compose(call: Call, bucket: str, name: str) -> ObjectRecord:
    """Join up to 32 objects of one bucket into one, which has a CRC32C and no MD5.

    Raises:
        StorageError: The request is malformed (400), a source does not exist (404), or a
            precondition does not hold (412).
    """
    body = await call.json()
    destination = body.get("destination") or {}
    stated = destination if isinstance(destination, dict) else {}
    fields = requested_fields(call, bucket, stated)
    conditions = Preconditions.from_parameters(call.parameters)
    engine = call.engine
    engine.objects.check_may_write(bucket, name, conditions)
    sources = [_source(call, bucket, entry) for entry in _entries(body)]
    files = [engine.bodies.open(source.body_id) for source in sources]
    body_id, digests = await engine.bodies.concatenate(files)
    new = NewObject(
        bucket=bucket,
        name=name,
        body_id=body_id,
        digests=Digests(size=digests.size, md5=None, crc32c=digests.crc32c),
        fields=fields,
        conditions=conditions,
        component_count=sum(source.component_count or 1 for source in sources),
        # The client names generations, and a generation that is deleted by number is gone.
        consumes=sources if body.get("deleteSourceObjects") else (),
    )
    return await engine.objects.create(new)


def _entries(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    entries = body.get("sourceObjects")
    if not isinstance(entries, list) or not entries:
        raise invalid("You must provide at least one source component.", reason="required")
    if len(entries) > _MAX_COMPOSE_SOURCES:
        message = (
            f"The number of source components provided ({len(entries)}) exceeds the maximum"
            f" ({_MAX_COMPOSE_SOURCES})"
        )
        raise invalid(message)
    if not all(isinstance(entry, dict) and entry.get("name") for entry in entries):
        raise invalid("Each source object needs a name.", reason="required")
    return entries


def _source(call: Call, bucket: str, entry: Mapping[str, Any]) -> ObjectRecord:
    generation = entry.get("generation")
    demands = entry.get("objectPreconditions") or {}
    if not isinstance(demands, dict):
        raise invalid("Invalid value for objectPreconditions")
    stated = {name: str(value) for name, value in demands.items()}
    record = call.engine.objects.get(
        bucket,
        str(entry["name"]),
        parse_generation("generation", None if generation is None else str(generation)),
    )
    Preconditions.from_parameters(stated).check_write(record)
    check_read(record, customer_key(call.headers))
    return record
