"""WebChannel as the browser SDK speaks it: sessions, the back channel, loss and bad input."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PATH = "/google.firestore.v1.Firestore"
OWNER = "Authorization:Bearer owner\r\nX-Goog-Api-Client:gl-js/\r\n"


def parse_chunks(text: str) -> list[Any]:
    found = []
    while text:
        length, _, text = text.partition("\n")
        found.append(json.loads(text[: int(length)]))
        text = text[int(length) :]
    return found


@dataclass
class Channel:
    http: httpx.Client
    name: str
    database: str
    headers: str = OWNER
    sid: str = ""
    sent: int = 0
    received: list[tuple[int, Any]] = field(default_factory=list)

    def send(self, *messages: dict[str, Any], offset: int | None = None) -> httpx.Response:
        ofs = self.sent if offset is None else offset
        form = {"count": str(len(messages)), "ofs": str(ofs)}
        form |= {f"req{n}___data__": json.dumps(each) for n, each in enumerate(messages)}
        self.sent = ofs + len(messages)
        query = {"VER": "8", "database": self.database, "RID": "1", "$httpHeaders": self.headers}
        if self.sid:
            query |= {"SID": self.sid, "AID": str(self.last_id)}
        response = self.http.post(f"{PATH}/{self.name}/channel", params=query, data=form)
        if not self.sid and response.is_success:
            (((number, hello),),) = parse_chunks(response.text)
            assert (number, hello[0], hello[3]) == (0, "c", 8)
            self.sid = hello[1]
        return response

    @property
    def last_id(self) -> int:
        return self.received[-1][0] if self.received else 0

    def poll(self, acknowledge: int | None = None, hold_ms: int = 5000) -> list[Any]:
        aid = self.last_id if acknowledge is None else acknowledge
        query = {"SID": self.sid, "RID": "rpc", "AID": str(aid), "CI": "1", "TO": str(hold_ms)}
        response = self.http.get(f"{PATH}/{self.name}/channel", params=query)
        (arrays,) = parse_chunks(response.text)
        self.received += [(number, payload) for number, payload in arrays]
        return [payload for _, payload in arrays]

    def poll_until(self, wanted: str) -> dict[str, Any]:
        for _ in range(20):
            for (message,) in self.poll():
                if wanted in json.dumps(message):
                    return dict(message)
        raise AssertionError(f"{wanted} did not come: {self.received}")

    def terminate(self) -> httpx.Response:
        query = {"SID": self.sid, "TYPE": "terminate"}
        return self.http.post(f"{PATH}/{self.name}/channel", params=query)


@pytest.fixture
def http(firestore_host: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://{firestore_host}", timeout=10) as http:
        yield http


@pytest.fixture
def database() -> str:
    return f"projects/web-{uuid.uuid4().hex}/databases/(default)"


def writes(database: str, token: str, number: int) -> dict[str, Any]:
    name = f"{database}/documents/c/a"
    update = {"update": {"name": name, "fields": {"n": {"integerValue": str(number)}}}}
    return {"streamToken": token, "writes": [update]}


def listens(database: str) -> dict[str, Any]:
    structured = {"from": [{"collectionId": "c"}]}
    query = {"parent": f"{database}/documents", "structuredQuery": structured}
    return {"database": database, "addTarget": {"query": query, "targetId": 2}}


def test_a_listener_hears_of_a_write(http: httpx.Client, database: str) -> None:
    listener = Channel(http, "Listen", database)
    listener.send(listens(database))
    current = listener.poll_until("CURRENT")
    assert current["targetChange"]["targetIds"] == [2]
    writer = Channel(http, "Write", database)
    writer.send({"database": database})
    token = writer.poll_until("streamId")["streamToken"]
    assert parse_chunks(writer.send(writes(database, token, 7)).text)[0][0] == 0
    assert writer.poll_until("commitTime")["writeResults"]
    change = listener.poll_until("documentChange")["documentChange"]
    assert change["document"]["fields"] == {"n": {"integerValue": "7"}}
    assert change["targetIds"] == [2]
    assert listener.terminate().status_code == 200
    assert writer.terminate().status_code == 200


def test_what_was_not_acknowledged_is_sent_again(http: httpx.Client, database: str) -> None:
    channel = Channel(http, "Write", database)
    channel.send({"database": database})
    first = channel.poll()
    assert channel.poll(acknowledge=0) == first
    assert channel.poll(hold_ms=1) == [["noop"]]
    channel.terminate()


def test_a_message_sent_twice_is_taken_once(http: httpx.Client, database: str) -> None:
    channel = Channel(http, "Write", database)
    channel.send({"database": database})
    channel.poll_until("streamId")
    channel.send(writes(database, "MA==", 1))
    channel.send(writes(database, "MA==", 1), offset=1)
    channel.poll_until("commitTime")
    assert channel.poll(hold_ms=50) == [["noop"]]
    channel.terminate()


def test_a_users_write_without_a_rule_is_refused_in_the_stream(
    http: httpx.Client, database: str
) -> None:
    channel = Channel(http, "Write", database, headers="")
    channel.send({"database": database}, writes(database, "MA==", 1))
    error = channel.poll_until("error")["error"]
    assert (error["code"], error["status"]) == (403, "PERMISSION_DENIED")
    channel.terminate()


def test_a_streaming_back_channel_gives_each_message_as_it_comes(
    http: httpx.Client, database: str
) -> None:
    channel = Channel(http, "Listen", database)
    channel.send(listens(database))
    query = {"SID": channel.sid, "RID": "rpc", "AID": "0", "CI": "0", "TYPE": "xmlhttp"}
    text = ""
    with http.stream("GET", f"{PATH}/Listen/channel", params=query) as response:
        for part in response.iter_text():
            text += part
            if "CURRENT" in text:
                break
    assert parse_chunks(text)[0][0][0] == 1
    channel.terminate()


@pytest.mark.parametrize(
    ("form", "query"),
    [
        ({"count": "x"}, {}),
        ({"count": "1", "ofs": "0", "req0___data__": "{"}, {}),
        ({"count": "1", "ofs": "0", "req0___data__": '{"no": 1}'}, {}),
        ({"count": "1", "ofs": "0", "other": "1"}, {}),
        ({}, {"SID": "unknown"}),
    ],
)
def test_bad_requests_are_refused(
    http: httpx.Client, form: dict[str, str], query: dict[str, str]
) -> None:
    assert http.post(f"{PATH}/Listen/channel", params=query, data=form).status_code == 400


def test_other_channels_do_not_exist(http: httpx.Client, database: str) -> None:
    assert http.post(f"{PATH}/RunQuery/channel", data={}).status_code == 404
    channel = Channel(http, "Listen", database)
    channel.send()
    assert http.get(f"{PATH}/Listen/channel", params={"SID": channel.sid, "AID": "x"}).is_error
    channel.terminate()
    gone = http.get(f"{PATH}/Listen/channel", params={"SID": channel.sid})
    assert (gone.status_code, gone.text) == (400, "Unknown SID")
