"""What a commit would make of each of its documents. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from continuon_local.firestore.messages import Write
from continuon_local.firestore.writes import apply_write, write_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from continuon_local.firestore.messages import Message

__all__ = ["PlannedWrite", "planned_writes"]


@dataclass(slots=True)
class PlannedWrite:
    """One document of a commit.

    Attributes:
        method: ``create``, ``update`` or ``delete``: what the commit as a whole does to it.
        before: The document, None when it does not exist.
        after: The document once all is written, None when it is gone.
    """

    method: str
    before: Message | None
    after: Message | None


def planned_writes(
    writes: Sequence[Message], version: int, load: Callable[[str], Message | None]
) -> Mapping[str, PlannedWrite]:
    """Return what the writes come to, by document name.

    Preconditions are not looked at here: who may not write does not learn whether they hold. But a
    write that demands a document counts as an update, one that demands its absence as a creation.

    Raises:
        StatusError: A write is not one that Firestore accepts.
    """
    planned: dict[str, PlannedWrite] = {}
    demanded: dict[str, bool] = {}
    for write in writes:
        name = write_name(write)
        plan = planned.get(name)
        if plan is None:
            before = load(name)
            plan = planned[name] = PlannedWrite("", before, before)
            if write.current_document.WhichOneof("condition_type") == "exists":
                demanded[name] = write.current_document.exists
        unconditional = Write()
        unconditional.CopyFrom(write)
        unconditional.ClearField("current_document")
        plan.after, _ = apply_write(unconditional, plan.after, version)
    for name, plan in planned.items():
        exists = demanded.get(name, plan.before is not None)
        plan.method = "delete" if plan.after is None else "update" if exists else "create"
    return planned
