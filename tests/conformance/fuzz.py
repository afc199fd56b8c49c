"""Random operations, the same for both services by their seed, and where the answers part.

Each operation is one request of the API in its JSON form; its answer is what comes back as JSON,
without times and generated ids, or the code of the refusal.
"""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import grpc
from google.cloud.firestore_v1 import types
from google.protobuf.json_format import MessageToDict, ParseDict

from conformance.fuzz_requests import Operation, Requests

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["disagreements", "report"]

_TIMEOUT_S = 30
_SERVICE = "/google.firestore.v1.Firestore/"
_METADATA = (("authorization", "Bearer owner"),)
_VOLATILE = frozenset(
    (
        "createTime",
        "updateTime",
        "readTime",
        "commitTime",
        "transaction",
        "nextPageToken",
        "done",
        "skippedResults",
    )
)
_STREAMS = frozenset(("RunQuery", "RunAggregationQuery", "BatchGetDocuments"))
_LONG_ID = "x" * 1501
_RESPONSES = {"GetDocument": "Document"}


class _Target:
    """One Firestore, asked as an administrator."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address)

    def answer(self, operation: Operation) -> Any:
        """Return what an operation answers, as JSON."""
        method, document = operation
        request = ParseDict(document, getattr(types, f"{method}Request").pb()())
        response = getattr(types, _RESPONSES.get(method, f"{method}Response")).pb()
        make = self._channel.unary_stream if method in _STREAMS else self._channel.unary_unary
        call = make(
            _SERVICE + method,
            request_serializer=type(request).SerializeToString,
            response_deserializer=response.FromString,
        )
        try:
            found: Any = call(request, metadata=_METADATA, timeout=_TIMEOUT_S)
            answers: list[Any] = list(found) if method in _STREAMS else [found]
        except grpc.RpcError as error:
            return {"refused": error.code().name, "words": error.details()}
        shown = [_stable(MessageToDict(answer)) for answer in answers]
        if method == "BatchGetDocuments":
            # In any order, by the definition of the API.
            shown.sort(key=lambda answer: json.dumps(answer, sort_keys=True))
        return [answer for answer in shown if answer]

    def close(self) -> None:
        """End the connection."""
        self._channel.close()


def disagreements(
    ours: str, theirs: str, seed: int, count: int
) -> Iterator[tuple[int, Operation, Any, Any]]:
    """Yield the operations that two Firestores at ``host:port`` answer differently.

    Yields:
        Number, operation, our answer, theirs.
    """
    requests = Requests(random.Random(seed), f"demo-fuzz-{seed}")  # noqa: S311 - no secret
    targets = [_Target(ours), _Target(theirs)]
    try:
        for number in range(count):
            operation = requests.next()
            mine, reference = (target.answer(operation) for target in targets)
            if _code(mine) == _code(reference):
                continue
            if operation[0] == "Commit":
                # What follows would differ because of this.
                for target in targets:
                    target.answer(requests.deletion_of(operation))
            if not _is_known(operation, mine, reference):
                yield number, operation, mine, reference
    finally:
        for target in targets:
            target.close()


def report(number: int, operation: Operation, ours: Any, theirs: Any) -> str:
    """Return a disagreement for a person."""
    method, request = operation
    lines = [f"{number}: {method} {json.dumps(request, ensure_ascii=True)}"]
    lines += [f"  ours:   {json.dumps(ours)[:600]}", f"  theirs: {json.dumps(theirs)[:600]}"]
    return "\n".join(lines)


def _code(answer: Any) -> Any:
    return _refusal(answer) or answer


def _stable(answer: Any) -> Any:
    if isinstance(answer, dict):
        kept = {key: _stable(item) for key, item in answer.items() if key not in _VOLATILE}
        return {key: item for key, item in kept.items() if item not in ({}, [])}
    if isinstance(answer, list):
        return [_stable(item) for item in answer]
    return answer


def _is_known(operation: Operation, ours: Any, theirs: Any) -> bool:
    """Tell whether an answer differs for a reason that is not ours to remove."""
    mine, reference = _refusal(ours), _refusal(theirs)
    if mine == "INVALID_ARGUMENT" and _LONG_ID in json.dumps(operation):
        return True  # The emulator does not measure ids.
    if operation[0] == "Commit":
        return _is_known_of_writes(operation, ours, theirs)
    # The emulator cannot scan names downwards.
    return reference == "FAILED_PRECONDITION" and "scan" in str(theirs["words"])


def _is_known_of_writes(operation: Operation, ours: Any, theirs: Any) -> bool:
    mine, reference = _refusal(ours), _refusal(theirs)
    if mine and reference:
        # The emulator notices in another order what is wrong, and refuses some pairs of writes.
        return {mine, reference} <= {"INVALID_ARGUMENT", "ALREADY_EXISTS", "NOT_FOUND"}
    # It does not look at fields that a mask leaves out, nor for arrays among elements to append.
    masked = any("updateMask" in write for write in operation[1]["writes"])
    nested = mine is not None and "nested entity" in str(ours["words"])
    return mine == "INVALID_ARGUMENT" and (masked or nested)


def _refusal(answer: Any) -> str | None:
    return str(answer["refused"]) if isinstance(answer, dict) else None
