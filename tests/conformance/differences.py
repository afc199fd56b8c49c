"""Where we and an emulator differ on purpose: the service has the last word over its emulator.

Everything that is not listed here must agree. A listed case states both answers in short, so that
a change on either side shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

__all__ = ["DIFFERENCES", "Difference", "difference"]

OK = "answers"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One justified difference, of one case or of several with one reason.

    Attributes:
        area: The area of the cases.
        cases: Names of cases; ``*`` stands for anything.
        ours: What we do: a gRPC code, or ``answers``; ``*`` when it depends on the case.
        theirs: What the emulator does, likewise.
        why: Why ours is right, or what it costs.
    """

    area: str
    cases: tuple[str, ...]
    ours: str
    theirs: str
    why: str

    def fits(self, ours: Any, theirs: Any) -> bool:
        """Tell whether both answers are still those of the table."""
        return self.ours in {"*", _short(ours)} and self.theirs in {"*", _short(theirs)}


def difference(area: str, case: str) -> Difference | None:
    """Return the listed difference for a case, or None."""
    for item in DIFFERENCES:
        if item.area == area and any(fnmatchcase(case, name) for name in item.cases):
            return item
    return None


def _short(answer: Any) -> str:
    """Return the first refusal in an answer, or that there is none."""
    if isinstance(answer, dict):
        if "refused" in answer:
            return str(answer["refused"])
        parts: list[Any] = list(answer.values())
    else:
        parts = answer if isinstance(answer, list) else []
    return next((short for part in parts if (short := _short(part)) != OK), OK)


_NO = "INVALID_ARGUMENT"
_LATER = "UNIMPLEMENTED"

DIFFERENCES: tuple[Difference, ...] = (
    Difference(
        area="writes",
        cases=("raw_other_database", "raw_other_project"),
        ours=_NO,
        theirs=OK,
        why="a commit writes to the database of its request; the emulator writes anywhere",
    ),
    Difference(
        area="writes",
        cases=("raw_mask_with_document_id",),
        ours=_NO,
        theirs=OK,
        why="names of the form `__.*__` are reserved for fields",
    ),
    Difference(
        area="limits",
        cases=("field_name_underscores", "*_id_reserved_short"),
        ours=_NO,
        theirs=OK,
        why="`____` has the documented reserved form `__.*__`",
    ),
    Difference(
        area="limits",
        cases=("transforms_501_of_one_document",),
        ours=_NO,
        theirs=OK,
        why="500 transforms of a document in one commit is a documented limit",
    ),
    Difference(
        area="reads",
        cases=("get_projected_document_id",),
        ours=_NO,
        theirs=OK,
        why="names of the form `__.*__` are reserved for fields",
    ),
    Difference(
        area="reads",
        cases=("list_*_order_by_name",),
        ours=OK,
        theirs="FAILED_PRECONDITION",
        why="the service scans keys downwards with an index that says so; the emulator cannot",
    ),
    Difference(
        area="reads",
        cases=("read_two_hours_ago",),
        ours="FAILED_PRECONDITION",
        theirs=OK,
        why="without point-in-time recovery the service keeps one hour of versions",
    ),
    Difference(
        area="transactions",
        cases=("read_only_long_ago",),
        ours="FAILED_PRECONDITION",
        theirs=OK,
        why="without point-in-time recovery the service keeps one hour of versions",
    ),
    Difference(
        area="transactions",
        cases=("retry_of_rubbish",),
        ours=OK,
        theirs=_NO,
        why="the id only asks for a better place in the queue; an unknown one gets none",
    ),
    Difference(
        area="queries",
        cases=("*order_name_desc", "*name_below_desc"),
        ours=OK,
        theirs="FAILED_PRECONDITION",
        why="the service scans keys downwards with an index that says so; the emulator cannot",
    ),
    Difference(
        area="queries",
        cases=("partitions_cover_everything",),
        ours=OK,
        theirs=_LATER,
        why="the emulator has no PartitionQuery",
    ),
    Difference(
        area="aggregations",
        cases=("count_up_to_zero",),
        ours=_NO,
        theirs=OK,
        why="`up_to` must be greater than zero by the definition of the API",
    ),
    Difference(
        area="aggregations",
        cases=("six_aggregations",),
        ours=_NO,
        theirs="UNKNOWN",
        why="five is the documented limit; the emulator fails without a message",
    ),
    Difference(
        area="vectors",
        cases=("cosine_zero_vector",),
        ours=OK,
        theirs=OK,
        why="the cosine distance from a zero vector is undefined; the emulator sorts it in",
    ),
    Difference(
        area="rules-listen",
        cases=("document_leaves_a_query_that_is_still_allowed",),
        ours=OK,
        theirs=OK,
        why="the emulator sends the whole result again where only the change is needed",
    ),
    Difference(
        area="topics",
        cases=("update_labels",),
        ours=OK,
        theirs=_NO,
        why="the service lets labels of a topic be changed; the emulator does not know the field",
    ),
    Difference(
        area="topics",
        cases=("subscriptions_of_a_missing_topic",),
        ours="NOT_FOUND",
        theirs=OK,
        why="the service answers NOT_FOUND for a topic that is not there",
    ),
    Difference(
        area="subscriptions",
        cases=("create_deadline_9", "update_deadline_too_short"),
        ours=_NO,
        theirs=OK,
        why="10 to 600 seconds is the documented range",
    ),
    Difference(
        area="subscriptions",
        cases=("create_filter_rubbish", "create_filter_257_bytes"),
        ours=_NO,
        theirs=OK,
        why="the emulator does not read filters",
    ),
    Difference(
        area="subscriptions",
        cases=("create_exactly_once",),
        ours=_LATER,
        theirs=OK,
        why="exactly-once delivery is not built; it says so instead of pretending",
    ),
    Difference(
        area="subscriptions",
        cases=("detach",),
        ours="FAILED_PRECONDITION",
        theirs=_LATER,
        why="the emulator has no DetachSubscription; a detached subscription refuses to be pulled",
    ),
    Difference(
        area="topics",
        cases=("get_policy", "set_policy", "test_policy", "test_policy_of_a_missing_topic"),
        ours=OK,
        theirs=_LATER,
        why="the emulator has no policies; for a missing resource no permission is documented",
    ),
    Difference(
        area="topics",
        cases=("get_policy_of_a_missing_topic", "set_policy_of_a_missing_topic"),
        ours="NOT_FOUND",
        theirs=_LATER,
        why="the emulator has no policies",
    ),
    Difference(
        area="replay",
        cases=("snapshot_of_a_deleted_topic",),
        ours=OK,
        theirs=OK,
        why="the documented topic is then `_deleted-topic_`; the emulator names the old one",
    ),
    Difference(
        area="replay",
        cases=("snapshot_outlives_its_subscription", "topic_keeps_for_a_later_subscription"),
        ours=OK,
        theirs=OK,
        why="a new subscription begins with what is published next, and may seek to what a "
        "snapshot or its topic has kept; the emulator decides by the age of the subscription",
    ),
    Difference(
        area="replay",
        cases=("snapshots_of_a_missing_topic",),
        ours="NOT_FOUND",
        theirs=OK,
        why="the service answers NOT_FOUND for a topic that is not there",
    ),
    Difference(
        area="replay",
        cases=("update_snapshot",),
        ours=OK,
        theirs=_LATER,
        why="the emulator has no UpdateSnapshot",
    ),
    Difference(
        area="messages",
        cases=("modify_deadline_out_of_range",),
        ours=_NO,
        theirs=_NO,
        why="600 seconds is the documented maximum; the emulator checks only the minimum",
    ),
    Difference(
        area="messages",
        cases=(
            "publish_empty_attribute_key",
            "publish_attribute_key_257_bytes",
            "publish_attribute_key_goog",
            "publish_attribute_value_1025_bytes",
            "publish_attributes_101",
            "publish_ordering_key_1025_bytes",
            "publish_data_10_mb",
        ),
        ours=_NO,
        theirs=OK,
        why="documented limits of messages, which the emulator does not know",
    ),
    Difference(
        area="filters",
        cases=("filter_[!e]*", "filter_equal", "filter_escaped"),
        ours="*",
        theirs=OK,
        why="the emulator delivers everything, whatever the filter says",
    ),
)
