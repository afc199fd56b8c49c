"""A listener is judged again whenever there is something to tell it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from google.cloud.firestore_v1._helpers import encode_value

from continuon_local.auth.tokens import encode_unsigned
from continuon_local.database import open_database
from continuon_local.events.outbox import Outbox
from continuon_local.firestore.access import Caller
from continuon_local.firestore.engine import Engine
from continuon_local.firestore.errors import StatusError
from continuon_local.firestore.events import EventRecorder
from continuon_local.firestore.listen import _Stream
from continuon_local.firestore.messages import ListenRequest, ListenResponse, Message, Write
from continuon_local.firestore.rules_access import RulesAccess
from continuon_local.firestore.rules_source import RulesSource
from continuon_local.service import ServiceContext
from own_messages import own
from rules_requests import firestore_rules

DATABASE = "projects/p/databases/(default)"
ROOT = f"{DATABASE}/documents"


class Listener:
    """A user's stream that listens to ``x/1``."""

    def __init__(self, rules: str) -> None:
        self.context = ServiceContext(data_dir=None)
        connection = open_database(None)
        self.engine = Engine(self.context, connection, EventRecorder(Outbox(connection)))
        source = RulesSource()
        source.set_rules("p", firestore_rules(rules))
        access = RulesAccess(self.engine, source, lambda: self.context.clock.now().timestamp())
        now = int(self.context.clock.now().timestamp())
        claims = {"iss": "https://securetoken.google.com/p", "aud": "p", "sub": "alice"}
        token = encode_unsigned({**claims, "iat": now, "exp": now + 3600})
        self._stream = _Stream(self.engine, None, access, Caller("", token))
        self.engine.subscribe(self._stream.committed)

    def listen(self) -> list[Any]:
        target = {"target_id": 1, "documents": {"documents": [f"{ROOT}/x/1"]}}
        self._stream.receive(ListenRequest(database=DATABASE, add_target=target))
        return self.told()

    async def write(self, value: int) -> list[Any]:
        write: Message = Write(update={"name": f"{ROOT}/x/1"})
        write.update.fields["n"].CopyFrom(own(encode_value(value)))
        await self.engine.commit(DATABASE, [write], b"", "")
        return self.told()

    def told(self) -> list[Any]:
        found: list[Any] = []
        while not self._stream.outgoing.empty():
            answer = self._stream.outgoing.get_nowait()
            if isinstance(answer, StatusError):
                found.append(answer.code.name)
                continue
            assert answer is not None
            response = ListenResponse.FromString(answer)
            kind = response.WhichOneof("response_type")
            if kind == "target_change":
                change = response.target_change
                kind = change.TargetChangeType.Name(change.target_change_type)
                kind = f"{kind} {change.cause.code}" if change.cause.code else kind
            found.append(kind)
        return found


async def test_nothing_more_is_told_once_the_token_has_expired() -> None:
    listener = Listener("match /x/{id} { allow read; }")
    assert listener.listen() == ["ADD", "document_delete", "CURRENT", "NO_CHANGE"]
    assert await listener.write(1) == ["document_change", "NO_CHANGE"]
    listener.context.clock.advance(timedelta(hours=2))
    assert await listener.write(2) == ["UNAUTHENTICATED"]
    assert await listener.write(3) == []


async def test_a_permission_that_time_ends_ends() -> None:
    listener = Listener("match /x/{id} { allow read: if request.time < resource.data.until; }")
    write: Message = Write(update={"name": f"{ROOT}/x/1"})
    until = listener.context.clock.now() + timedelta(minutes=10)
    write.update.fields["until"].CopyFrom(own(encode_value(until)))
    await listener.engine.commit(DATABASE, [write], b"", "")
    assert "document_change" in listener.listen()
    listener.context.clock.advance(timedelta(minutes=20))
    await listener.engine.commit(DATABASE, [write], b"", "")
    write.update.fields["n"].CopyFrom(own(encode_value(1)))
    await listener.engine.commit(DATABASE, [write], b"", "")
    assert listener.told()[-1] == "REMOVE 7"


async def test_being_judged_again_is_billed_like_the_first_time() -> None:
    listener = Listener(
        "match /x/{id} { allow read: if !exists(/databases/(default)/documents/y/1); }"
    )
    listener.listen()
    before = sum(listener.context.meter.totals().values())
    await listener.write(1)
    # One write, the document told, and the one that the rules looked for.
    assert sum(listener.context.meter.totals().values()) - before == 3
