"""Security rules: the project's own, call by call, and listeners whose permission ends."""

from __future__ import annotations

import functools
import queue
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from google.api_core.exceptions import GoogleAPICallError
from google.cloud.firestore import FieldFilter
from google.cloud.firestore_v1.types import ListenRequest, Target

import own_rules
from conformance.model import Area, FirestoreGround
from rules_project import RulesProject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["AREAS"]

# Rules change with the product: what they are to allow is in the table, and tests/rules holds
# our engine to it.
own = Area("firestore", "own-rules", recorded=False)
heard = Area("firestore", "rules-listen")

_WAIT_S = 40
_STREAM_S = 110
_QUIET_S = 0.3


@functools.cache
def _own_project(address: str) -> RulesProject:
    project = RulesProject("demo-own-rules", address)
    own_rules.seed(project)
    return project


@functools.cache
def _own_client(address: str, caller: str) -> Any:
    return own_rules.client_of(_own_project(address), caller)


def _own_case(collection: str, caller: str, call: str) -> Callable[[FirestoreGround], Any]:
    return lambda ground: own_rules.run(_own_client(ground.address, caller), collection, call)


for _case in own_rules.CASES:
    own.add("_".join(_case).replace("/", "."), _own_case(*_case))


RULES = """
match /owned/{id} { allow read: if resource.data.owner == request.auth.uid; }
match /shared/{id} {
  allow read: if get(/databases/$(database)/documents/members/$(request.auth.uid)).data.ok;
}
match /published/{id} { allow read: if resource == null || resource.data.public; }
"""


class _Stream:
    """One user's Listen stream: what was sent by the server, in short."""

    def __init__(self, project: RulesProject) -> None:
        self.project = project
        self.admin = project.admin
        self.root = f"{self.admin._database_string}/documents"
        self._requests: queue.Queue[Any] = queue.Queue()
        self._answers: queue.Queue[Any] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        client = self.project.user("alice")
        requests = iter(self._requests.get, None)
        try:
            # The client waits for the first answer, which comes once there is a target.
            responses = client._firestore_api.listen(
                requests=requests, metadata=client._rpc_metadata, timeout=_STREAM_S
            )
            for response in responses:
                self._answers.put(_short(response._pb))
        except GoogleAPICallError as error:
            self._answers.put({"ended": str(error.grpc_status_code)})

    def documents(self, *names: str, target_id: int = 1) -> list[Any]:
        """Listen to documents; return what is sent until there is a snapshot or a refusal."""
        target: Any = Target.DocumentsTarget(documents=[f"{self.root}/{name}" for name in names])
        return self._listen(Target(target_id=target_id, documents=target))

    def query(self, query: Any, target_id: int = 1) -> list[Any]:
        """Listen to a query, likewise."""
        target: Any = Target.QueryTarget(
            parent=self.root, structured_query=query.order_by("__name__")._to_protobuf()
        )
        return self._listen(Target(target_id=target_id, query=target))

    def _listen(self, target: Any) -> list[Any]:
        database = self.admin._database_string
        self._requests.put(ListenRequest(database=database, add_target=target))
        return self.heard()

    def heard(self) -> list[Any]:
        """Return what is sent up to the next snapshot or removal."""
        found: list[Any] = []
        while not found or found[-1][0] not in {"NO_CHANGE", "REMOVE"}:
            try:
                found.append(self._answers.get(timeout=_WAIT_S))
            except queue.Empty:
                return [*found, "nothing more came"]
        return found

    def silent(self) -> bool:
        """Tell whether nothing is sent for a moment."""
        try:
            self._answers.get(timeout=_QUIET_S)
        except queue.Empty:
            return True
        return False

    def set(self, path: str, **fields: Any) -> None:
        """Write a document as an administrator."""
        self.admin.document(path).set(fields)

    def close(self) -> None:
        """End the stream."""
        self._requests.put(None)


def _short(response: Any) -> list[Any]:
    kind = response.WhichOneof("response_type")
    if kind != "target_change":
        changed = getattr(response, kind)
        name = changed.document.name if kind == "document_change" else changed.document
        return [kind, name.rpartition("/documents/")[2]]
    change = response.target_change
    name = change.TargetChangeType.Name(change.target_change_type)
    timed = change.HasField("read_time") and bool(change.resume_token)
    return [name, list(change.target_ids), change.cause.code, timed]


@contextmanager
def _stream(ground: FirestoreGround) -> Iterator[_Stream]:
    project = RulesProject(f"demo-{ground.case.replace('_', '-')}", ground.address)
    project.allow(RULES)
    stream = _Stream(project)
    try:
        yield stream
    finally:
        stream.close()


def _owned(stream: _Stream) -> Any:
    return stream.admin.collection("owned").where(filter=FieldFilter("owner", "==", "alice"))


@heard.case
def document_of_another_from_now_on(ground: FirestoreGround) -> Any:
    with _stream(ground) as stream:
        stream.set("owned/1", owner="alice")
        answers = [stream.documents("owned/1")]
        stream.set("owned/1", owner="alice", n=1)
        answers.append(stream.heard())
        stream.set("owned/1", owner="bob")
        answers.append(stream.heard())
        stream.set("owned/1", owner="alice")
        return [answers, stream.silent()]


@heard.case
def document_whose_deletion_may_not_be_seen(ground: FirestoreGround) -> Any:
    with _stream(ground) as stream:
        stream.set("owned/1", owner="alice")
        first = stream.documents("owned/1")
        stream.admin.document("owned/1").delete()
        return [first, stream.heard()]


@heard.case
def document_whose_deletion_may_be_seen(ground: FirestoreGround) -> Any:
    with _stream(ground) as stream:
        stream.set("published/1", public=True)
        answers = [stream.documents("published/1")]
        stream.admin.document("published/1").delete()
        answers.append(stream.heard())
        stream.set("published/1", public=False)
        return [answers, stream.heard()]


@heard.case
def one_of_two_documents(ground: FirestoreGround) -> Any:
    with _stream(ground) as stream:
        stream.set("owned/1", owner="alice")
        stream.set("owned/2", owner="alice")
        first = stream.documents("owned/1", "owned/2")
        stream.set("owned/2", owner="bob")
        second = stream.heard()
        stream.set("owned/1", owner="alice", n=1)
        return [first, second, stream.silent()]


@heard.case
def membership_ends_under_a_document(ground: FirestoreGround) -> Any:
    with _stream(ground) as stream:
        stream.set("members/alice", ok=True)
        stream.set("shared/1", n=1)
        first = stream.documents("shared/1")
        stream.set("members/alice", ok=False)
        quiet = stream.silent()
        stream.set("shared/1", n=2)
        return [first, quiet, stream.heard()]


@heard.case
def membership_ends_under_a_query(ground: FirestoreGround) -> Any:
    with _stream(ground) as stream:
        stream.set("members/alice", ok=True)
        stream.set("shared/1", n=1)
        first = stream.query(stream.admin.collection("shared"))
        stream.set("members/alice", ok=False)
        stream.set("elsewhere/1", n=1)
        quiet = stream.silent()
        stream.set("shared/2", n=2)
        return [first, quiet, stream.heard()]


@heard.case
def membership_ends_and_a_result_goes(ground: FirestoreGround) -> Any:
    with _stream(ground) as stream:
        stream.set("members/alice", ok=True)
        stream.set("shared/1", n=1)
        first = stream.query(stream.admin.collection("shared"))
        stream.set("members/alice", ok=False)
        stream.admin.document("shared/1").delete()
        return [first, stream.heard()]


@heard.case
def document_leaves_a_query_that_is_still_allowed(ground: FirestoreGround) -> Any:
    with _stream(ground) as stream:
        stream.set("owned/1", owner="alice")
        first = stream.query(_owned(stream))
        stream.set("owned/1", owner="bob")
        second = stream.heard()
        stream.set("owned/2", owner="alice")
        return [first, second, stream.heard()]


@heard.case
def new_rules_refuse_a_document(ground: FirestoreGround) -> Any:
    with _stream(ground) as stream:
        stream.set("owned/1", owner="alice")
        first = stream.documents("owned/1")
        stream.project.allow("match /owned/{id} { allow read: if false; }")
        quiet = stream.silent()
        stream.set("owned/1", owner="alice", n=1)
        return [first, quiet, stream.heard()]


@heard.case
def new_rules_refuse_a_query(ground: FirestoreGround) -> Any:
    with _stream(ground) as stream:
        stream.set("owned/1", owner="alice")
        first = stream.query(_owned(stream))
        stream.project.allow("match /owned/{id} { allow read: if false; }")
        stream.set("owned/1", owner="alice", n=1)
        return [first, stream.heard()]


@heard.case
def the_other_target_goes_on(ground: FirestoreGround) -> Any:
    with _stream(ground) as stream:
        stream.set("owned/1", owner="alice")
        stream.set("published/1", public=True)
        answers = [stream.documents("owned/1"), stream.documents("published/1", target_id=2)]
        stream.set("owned/1", owner="bob")
        answers.append(stream.heard())
        stream.set("published/1", public=True, n=1)
        return [*answers, stream.heard()]


@heard.case
def refused_from_the_start(ground: FirestoreGround) -> Any:
    with _stream(ground) as stream:
        stream.set("owned/1", owner="bob")
        return [
            stream.documents("owned/1"),
            stream.query(stream.admin.collection("owned"), target_id=2),
            stream.query(_owned(stream), target_id=3),
        ]


AREAS = [own, heard]
