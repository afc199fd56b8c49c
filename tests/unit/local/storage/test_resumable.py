from __future__ import annotations

import asyncio
import base64
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import google_crc32c
import pytest

from continuon_local.storage.resumable import CHUNK_UNIT_BYTES
from unit.local.storage.harness import BUCKET

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from unit.local.storage.harness import Cloud

UNIT = CHUNK_UNIT_BYTES
BODY = bytes(range(256)) * (3 * UNIT // 256) + b"tail"
ADMIN = {"authorization": "Bearer owner"}


async def start(cloud: Cloud, body: dict[str, Any] | None = None, **headers: str) -> str:
    answer = await cloud.http.post(
        f"/upload/storage/v1/b/{BUCKET}/o",
        params={"uploadType": "resumable", "name": "big"},
        json=body or {},
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )
    assert answer.status_code == 200, answer.text
    return answer.headers["location"]


async def start_xml(cloud: Cloud, **headers: str) -> str:
    answer = await cloud.http.post(
        f"/{BUCKET}/big",
        headers={
            **ADMIN,
            "x-goog-resumable": "start",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        },
    )
    assert answer.status_code == 201, answer.text
    return answer.headers["location"]


async def send(
    cloud: Cloud, session: str, begin: int, end: int, total: int | str
) -> httpx.Response:
    return await cloud.http.put(
        session,
        content=BODY[begin:end],
        headers={"content-range": f"bytes {begin}-{end - 1}/{total}"},
    )


async def ask(cloud: Cloud, session: str, total: int | str = "*") -> httpx.Response:
    return await cloud.http.put(session, headers={"content-range": f"bytes */{total}"})


@pytest.mark.parametrize("begin_session", [start, start_xml])
async def test_chunks_make_the_object_once_all_are_there(begin_session: Any, cloud: Cloud) -> None:
    session = await begin_session(cloud)

    assert "range" not in (await ask(cloud, session)).headers
    first = await send(cloud, session, 0, UNIT, "*")
    assert (first.status_code, first.headers["range"]) == (308, f"bytes=0-{UNIT - 1}")
    assert await cloud.names() == []
    second = await send(cloud, session, UNIT, 3 * UNIT, len(BODY))
    assert (second.status_code, second.headers["range"]) == (308, f"bytes=0-{3 * UNIT - 1}")
    last = await send(cloud, session, 3 * UNIT, len(BODY), len(BODY))

    assert last.status_code == 200, last.text
    assert (await cloud.read("big")).content == BODY
    assert cloud.events() == [("finalized", "objects/big")]
    assert len(cloud.body_files()) == 1


async def test_whole_body_in_one_request(cloud: Cloud) -> None:
    session = await start(cloud, {"contentType": "text/x-log", "metadata": {"k": "v"}})

    answer = await cloud.http.put(session, content=BODY)

    assert answer.json()["contentType"] == "text/x-log"
    assert answer.json()["metadata"] == {"k": "v"}
    assert (await cloud.read("big")).content == BODY


async def test_empty_object(cloud: Cloud) -> None:
    session = await start(cloud)

    answer = await ask(cloud, session, 0)

    assert answer.json()["size"] == "0"
    assert (await cloud.read("big")).content == b""


async def test_finished_session_answers_with_its_object_again(cloud: Cloud) -> None:
    session = await start(cloud)
    first = await cloud.http.put(session, content=BODY)
    await cloud.created("big", b"a later generation")

    again = await ask(cloud, session, len(BODY))

    assert again.status_code == 200
    assert again.json()["generation"] == first.json()["generation"]
    assert (await cloud.read("big")).content == b"a later generation"


async def test_bytes_sent_twice_count_once(cloud: Cloud) -> None:
    session = await start(cloud)
    await send(cloud, session, 0, 2 * UNIT, len(BODY))

    overlap = await send(cloud, session, UNIT, 3 * UNIT, len(BODY))
    assert overlap.headers["range"] == f"bytes=0-{3 * UNIT - 1}"
    repeated = await send(cloud, session, 0, UNIT, len(BODY))
    assert repeated.headers["range"] == f"bytes=0-{3 * UNIT - 1}"
    await send(cloud, session, 0, len(BODY), len(BODY))

    assert (await cloud.read("big")).content == BODY


async def test_gap_is_refused_so_that_the_client_asks(cloud: Cloud) -> None:
    session = await start(cloud)
    await send(cloud, session, 0, UNIT, len(BODY))

    answer = await send(cloud, session, 2 * UNIT, 3 * UNIT, len(BODY))

    assert answer.status_code == 503
    assert (await ask(cloud, session)).headers["range"] == f"bytes=0-{UNIT - 1}"


@pytest.mark.parametrize(
    "content_range",
    [
        f"bytes 0-{UNIT - 2}/*",
        f"bytes 0-{UNIT - 2}/{len(BODY)}",
        f"bytes 0-{UNIT - 1}/{UNIT - 1}",
        f"bytes 5-4/{len(BODY)}",
        "bytes 0-/5",
        "items 0-1/2",
        "bytes */x",
        f"bytes 0-{2 * UNIT - 1}/*",
    ],
)
async def test_malformed_chunks_change_nothing(content_range: str, cloud: Cloud) -> None:
    session = await start(cloud)
    body = BODY[: UNIT - 1]

    answer = await cloud.http.put(session, content=body, headers={"content-range": content_range})

    assert answer.status_code == 400, answer.text
    assert "range" not in (await ask(cloud, session)).headers


async def test_broken_connection_keeps_whole_units(cloud: Cloud) -> None:
    session = await start(cloud)

    async def broken() -> AsyncIterator[bytes]:
        yield BODY[: UNIT + 5]
        raise ConnectionError

    await cloud.http.put(
        session,
        content=broken(),
        headers={"content-range": f"bytes 0-{len(BODY) - 1}/{len(BODY)}"},
    )

    assert (await ask(cloud, session)).headers["range"] == f"bytes=0-{UNIT - 1}"
    answer = await send(cloud, session, UNIT, len(BODY), len(BODY))
    assert answer.status_code == 200, answer.text
    assert (await cloud.read("big")).content == BODY


async def test_newer_request_takes_over_from_one_that_hangs(cloud: Cloud) -> None:
    session = await start(cloud)
    hangs = asyncio.Event()

    async def hanging() -> AsyncIterator[bytes]:
        yield BODY[:UNIT]
        hangs.set()
        await asyncio.Event().wait()

    hung = asyncio.create_task(
        cloud.http.put(
            session,
            content=hanging(),
            headers={"content-range": f"bytes 0-{len(BODY) - 1}/{len(BODY)}"},
        )
    )
    await hangs.wait()
    status = await ask(cloud, session)
    assert status.headers["range"] == f"bytes=0-{UNIT - 1}"

    answer = await send(cloud, session, UNIT, len(BODY), len(BODY))
    assert answer.status_code == 200
    assert (await cloud.read("big")).content == BODY
    assert (await hung).status_code == 503


async def test_cancelled_session_is_over(cloud: Cloud) -> None:
    session = await start(cloud)
    await send(cloud, session, 0, UNIT, "*")

    assert (await cloud.http.delete(session)).status_code == 499
    assert (await ask(cloud, session)).status_code == 499
    assert (await send(cloud, session, UNIT, len(BODY), len(BODY))).status_code == 499
    assert await cloud.names() == []
    assert cloud.body_files() == []


async def test_session_lives_for_a_week(cloud: Cloud) -> None:
    session = await start(cloud)
    cloud.engine.context.clock.advance(timedelta(days=6, hours=23))
    assert (await send(cloud, session, 0, UNIT, "*")).status_code == 308

    cloud.engine.context.clock.advance(timedelta(hours=2))
    assert (await send(cloud, session, UNIT, 2 * UNIT, "*")).status_code == 410


async def test_guessed_session_is_not_found(cloud: Cloud) -> None:
    session = await start(cloud)

    assert (await ask(cloud, session[:-1] + "!")).status_code == 404


async def test_checksum_announced_at_the_start_is_checked_at_the_end(cloud: Cloud) -> None:
    session = await start(cloud, {"crc32c": "AAAAAA=="})

    answer = await cloud.http.put(session, content=BODY)

    assert answer.status_code == 400
    assert await cloud.names() == []
    assert cloud.body_files() == []
    assert (await ask(cloud, session)).status_code == 410


@pytest.mark.parametrize(("right", "status"), [(True, 200), (False, 400)])
async def test_checksum_sent_with_the_last_chunk_is_checked(
    status: int, *, right: bool, cloud: Cloud
) -> None:
    session = await start(cloud)
    await send(cloud, session, 0, 3 * UNIT, "*")
    value = google_crc32c.value(BODY) ^ (not right)

    answer = await cloud.http.put(
        session,
        content=BODY[3 * UNIT :],
        headers={
            "content-range": f"bytes {3 * UNIT}-{len(BODY) - 1}/{len(BODY)}",
            "x-goog-hash": f"crc32c={base64.b64encode(value.to_bytes(4, 'big')).decode()}",
        },
    )

    assert answer.status_code == status
    assert await cloud.names() == (["big"] if right else [])


@pytest.mark.parametrize(
    ("size_range", "code"),
    [("0,100", "EntityTooLarge"), (f"{len(BODY) + 1},{len(BODY) + 9}", "EntityTooSmall")],
)
async def test_size_range_holds_for_the_whole_upload(
    size_range: str, code: str, cloud: Cloud
) -> None:
    session = await start_xml(cloud, x_goog_content_length_range=size_range)

    answer = await cloud.http.put(session, content=BODY)

    assert answer.status_code == 400
    assert code in answer.text
    assert await cloud.names() == []
    assert cloud.body_files() == []


async def test_size_range_stops_an_upload_of_unannounced_size(cloud: Cloud) -> None:
    session = await start_xml(cloud, x_goog_content_length_range=f"0,{UNIT}")
    assert (await send(cloud, session, 0, UNIT, "*")).status_code == 308

    answer = await send(cloud, session, UNIT, 2 * UNIT, "*")

    assert answer.status_code == 400
    assert "EntityTooLarge" in answer.text
    assert cloud.body_files() == []


async def test_object_that_appeared_meanwhile_wins_over_generation_zero(cloud: Cloud) -> None:
    session = await start_xml(cloud, x_goog_if_generation_match="0")
    await cloud.created("big", b"first")

    answer = await cloud.http.put(session, content=BODY)

    assert answer.status_code == 412
    assert (await cloud.read("big")).content == b"first"
    assert len(cloud.body_files()) == 1


async def test_announced_size_must_be_kept(cloud: Cloud) -> None:
    session = await start(cloud, x_upload_content_length=str(len(BODY)))

    assert (await send(cloud, session, 0, UNIT, UNIT)).status_code == 400
    assert (await cloud.http.put(session, content=BODY)).status_code == 200


async def test_browsers_get_the_308_in_a_header(cloud: Cloud) -> None:
    session = await start(cloud)

    answer = await cloud.http.put(
        session,
        content=BODY[:UNIT],
        headers={"content-range": f"bytes 0-{UNIT - 1}/*", "x-guploader-no-308": "yes"},
    )

    assert (answer.status_code, answer.headers["x-http-status-code-override"]) == (200, "308")
    assert answer.headers["range"] == f"bytes=0-{UNIT - 1}"


async def test_checksums_are_of_the_bytes_that_were_kept(cloud: Cloud) -> None:
    session = await start(cloud)

    async def broken() -> AsyncIterator[bytes]:
        yield BODY[:UNIT] + b"x" * (UNIT - 5)
        raise ConnectionError

    whole = {"content-range": f"bytes 0-{len(BODY) - 1}/{len(BODY)}"}
    await cloud.http.put(session, content=broken(), headers=whole)
    answer = await send(cloud, session, UNIT, len(BODY), len(BODY))

    assert (await cloud.read("big")).content == BODY
    value = google_crc32c.value(BODY).to_bytes(4, "big")
    assert answer.json()["crc32c"] == base64.b64encode(value).decode()


async def test_racing_completions_make_one_generation(cloud: Cloud) -> None:
    session = await start(cloud)
    await send(cloud, session, 0, 3 * UNIT, "*")

    answers = await asyncio.gather(*(ask(cloud, session, 3 * UNIT) for _ in range(6)))

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["generation"] for answer in answers}) == 1
    assert cloud.events() == [("finalized", "objects/big")]
    assert (await cloud.read("big")).content == BODY[: 3 * UNIT]


async def test_racing_writers_never_mix(cloud: Cloud) -> None:
    session = await start(cloud)

    async def slow() -> AsyncIterator[bytes]:
        for begin in range(0, len(BODY), 10_000):
            yield BODY[begin : begin + 10_000]
            await asyncio.sleep(0)

    async def upload() -> int:
        whole = {"content-range": f"bytes 0-{len(BODY) - 1}/{len(BODY)}"}
        return (await cloud.http.put(session, content=slow(), headers=whole)).status_code

    statuses = await asyncio.gather(*(upload() for _ in range(6)))

    assert set(statuses) <= {200, 503}
    assert (await ask(cloud, session, len(BODY))).status_code == 200
    assert (await cloud.read("big")).content == BODY
    assert cloud.events() == [("finalized", "objects/big")]
