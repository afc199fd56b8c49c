"""Push to a real HTTP endpoint."""

from __future__ import annotations

import base64
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from google.api_core import exceptions

from continuon_local.auth.tokens import decode_unsigned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Endpoint:
    """Answers each push with the next of ``answers``, then with 204; keeps what it was sent."""

    def __init__(self, *answers: int) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.url = ""

    def receive(self, headers: dict[str, str], body: bytes) -> int:
        self.requests.append((headers, json.loads(body)))
        return self.answers.pop(0) if self.answers else 204

    def bodies(self) -> list[bytes]:
        return [base64.b64decode(body["message"]["data"]) for _, body in self.requests]


@contextmanager
def endpoint(*answers: int) -> Iterator[Endpoint]:
    made = Endpoint(*answers)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            status = made.receive(headers, self.rfile.read(int(headers["content-length"])))
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            """Keep the test's output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_port}/push"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_push_has_googles_envelope_and_its_success_acknowledges(
    bench: Any, eventually: Callable[..., None]
) -> None:
    topic = bench.topic()
    with endpoint() as target:
        name = bench.subscription(topic, push_config={"push_endpoint": target.url})
        [message_id] = bench.publish(topic, b"hello", kind="train")
        eventually(lambda: len(target.requests) == 1)
        headers, body = target.requests[0]
        message = body["message"]
        assert headers["content-type"] == "application/json"
        assert "authorization" not in headers
        assert body["subscription"] == name
        assert "deliveryAttempt" not in body
        assert message["data"] == "aGVsbG8="
        assert message["attributes"] == {"kind": "train"}
        assert message["messageId"] == message["message_id"] == message_id
        assert message["publishTime"] == message["publish_time"]
        off = {"subscription": name, "push_config": {}}
        bench.subscriber.modify_push_config(request=off)
        assert bench.pull(name, wait=False) == []
        assert len(target.requests) == 1


def test_a_failed_push_is_retried_until_it_succeeds(
    bench: Any, eventually: Callable[..., None]
) -> None:
    topic, dead = bench.topic(), bench.topic("dead")
    with endpoint(500, 404, 302) as target:
        bench.subscription(
            topic,
            push_config={"push_endpoint": target.url},
            dead_letter_policy={"dead_letter_topic": dead, "max_delivery_attempts": 10},
        )
        bench.publish(topic, b"a")
        eventually(lambda: len(target.requests) == 4)
        assert [body["deliveryAttempt"] for _, body in target.requests] == [1, 2, 3, 4]
        bench.publish(topic, b"b")
        eventually(lambda: len(target.requests) == 5)
        assert target.bodies() == [b"a"] * 4 + [b"b"]


def test_a_push_that_keeps_failing_is_buried(bench: Any) -> None:
    topic, dead = bench.topic(), bench.topic("dead")
    graves = bench.subscription(dead)
    with endpoint(*[503] * 20) as target:
        policy = {"minimum_backoff": {"seconds": 0}, "maximum_backoff": {"seconds": 1}}
        bench.subscription(
            topic,
            push_config={"push_endpoint": target.url},
            retry_policy=policy,
            dead_letter_policy={"dead_letter_topic": dead},
        )
        bench.publish(topic, b"poison")
        [buried] = bench.pull(graves)
        assert buried.message.data == b"poison"
        assert len(target.requests) == 5


def test_an_endpoint_that_comes_up_later_gets_its_messages(
    bench: Any, eventually: Callable[..., None]
) -> None:
    topic = bench.topic()
    with endpoint() as gone:
        url = gone.url
    name = bench.subscription(topic, push_config={"push_endpoint": url})
    bench.publish(topic, b"a")
    with endpoint() as target:
        config = {"subscription": name, "push_config": {"push_endpoint": target.url}}
        bench.subscriber.modify_push_config(request=config)
        eventually(lambda: target.bodies() == [b"a"])


def test_an_oidc_token_names_the_account_and_the_audience(
    bench: Any, eventually: Callable[..., None]
) -> None:
    topic = bench.topic()
    account = "push@demo-continuon.iam.gserviceaccount.com"
    with endpoint() as target:
        token = {"service_account_email": account}
        bench.subscription(topic, push_config={"push_endpoint": target.url, "oidc_token": token})
        bench.publish(topic, b"a")
        eventually(lambda: len(target.requests) == 1)
        claims = decode_unsigned(target.requests[0][0]["authorization"].removeprefix("Bearer "))
        assert (claims["email"], claims["aud"]) == (account, target.url)
        assert claims["iss"] == "https://accounts.google.com"


def test_a_push_subscription_is_not_pulled(bench: Any) -> None:
    name = bench.subscription(
        bench.topic(), push_config={"push_endpoint": "http://127.0.0.1:9/never"}
    )
    with pytest.raises(exceptions.FailedPrecondition):
        bench.pull(name)
    streaming = bench.subscriber.subscribe(name, callback=lambda _message: None)
    with pytest.raises(exceptions.FailedPrecondition):
        streaming.result(10)
