"""The gateway answers as Firebase Hosting does, by ``firebase.json``."""

from __future__ import annotations

import http.client
import os
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import pytest

from cloud_project import CloudProject
from conftest import LocalCloudProcess, run_local_cloud

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloudProcess]:
    project = CloudProject(tmp_path_factory.mktemp("project"))
    with run_local_cloud(project.root) as running:
        yield running


@pytest.fixture
def web(cloud: LocalCloudProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=cloud.url, timeout=30) as client:
        yield client


def raw_get(cloud: LocalCloudProcess, path: str, **headers: str) -> tuple[int, bytes]:
    """Request ``path`` byte for byte: ordinary clients tidy ``..`` away."""
    address = urlsplit(cloud.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=30)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


def test_static_files_carry_type_etag_and_rule_headers(web: httpx.Client) -> None:
    answer = web.get("/")
    assert (answer.status_code, answer.text) == (200, "<h1>home</h1>")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["cache-control"] == "max-age=3600"
    assert web.get("/assets/app.js").headers["cache-control"] == "max-age=31536000"


def test_an_etag_the_client_has_answers_304_without_a_body(web: httpx.Client) -> None:
    etag = web.get("/assets/app.js").headers["etag"]
    answer = web.get("/assets/app.js", headers={"If-None-Match": f'"other", W/{etag}'})
    assert (answer.status_code, answer.content) == (304, b"")


@pytest.mark.parametrize(
    ("wanted", "status", "body", "content_range"),
    [
        ("bytes=2-4", 206, "234", "bytes 2-4/10"),
        ("bytes=7-", 206, "789", "bytes 7-9/10"),
        ("bytes=-3", 206, "789", "bytes 7-9/10"),
        ("bytes=5-99", 206, "56789", "bytes 5-9/10"),
        ("bytes=10-", 416, "", "bytes */10"),
        ("bytes=-0", 416, "", "bytes */10"),
        ("bytes=4-2", 200, "0123456789", None),
        ("bytes=0-1,3-4", 200, "0123456789", None),
        ("lines=0-1", 200, "0123456789", None),
    ],
)
def test_one_range_is_honoured(
    web: httpx.Client, wanted: str, status: int, body: str, content_range: str | None
) -> None:
    answer = web.get("/assets/app.js", headers={"Range": wanted, "Accept-Encoding": "identity"})
    assert (answer.status_code, answer.text) == (status, body)
    assert answer.headers.get("content-range") == content_range


def test_head_answers_like_get_without_the_body(web: httpx.Client) -> None:
    answer = web.head("/assets/app.js")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == "10"


def test_clean_urls_serve_the_page_and_redirect_its_file_name(web: httpx.Client) -> None:
    assert web.get("/about").text == "<h1>about</h1>"
    answer = web.get("/about.html?x=1")
    assert (answer.status_code, answer.headers["location"]) == (301, "/about?x=1")
    assert web.get("/index.html").headers["location"] == "/"


def test_redirects_come_before_static_content_and_fill_captures(web: httpx.Client) -> None:
    assert web.get("/both").headers["location"] == "/redirected"
    answer = web.get("/old/page%201")
    assert (answer.status_code, answer.headers["location"]) == (302, "/new/page%201")


def test_static_content_comes_before_rewrites(web: httpx.Client) -> None:
    assert web.get("/api/static.txt").text == "before the rewrite"
    assert web.get("/app/deep/link").text == "<h1>home</h1>"


def test_a_missing_page_is_the_custom_404(web: httpx.Client) -> None:
    answer = web.get("/nowhere")
    assert (answer.status_code, answer.text) == (404, "<h1>lost</h1>")


@pytest.mark.parametrize(
    "path",
    [
        "/.env",
        "/../firebase.json",
        "/%2e%2e/firebase.json",
        "/..%2ffirebase.json",
        "/assets/..%5c..%5cfirebase.json",
        "/assets//app.js",
        "//etc/passwd",
        "/secret/key.txt",
        "/assets/app.js%00.html",
    ],
)
def test_nothing_outside_the_published_files_is_served(cloud: LocalCloudProcess, path: str) -> None:
    status, body = raw_get(cloud, path)
    assert status == 404
    assert body == b"<h1>lost</h1>"


def test_reserved_paths_and_websockets_are_refused_by_name(cloud: LocalCloudProcess) -> None:
    status, body = raw_get(cloud, "/__/auth/handler")
    assert (status, b"/__/auth/handler" in body) == (501, True)
    status, body = raw_get(cloud, "/api/x", Connection="Upgrade", Upgrade="websocket")
    assert (status, b"WebSockets" in body) == (501, True)


def test_the_site_says_which_project_it_is_and_where_to_sign_in(
    web: httpx.Client, cloud: LocalCloudProcess
) -> None:
    said = web.get("/__/firebase/init.json").json()
    assert said["projectId"] == "demo-continuon"
    assert "http://" + said["authEmulatorHost"] == cloud.urls["auth"]


def test_a_rewrite_hands_the_request_to_the_function(web: httpx.Client) -> None:
    answer = web.put(
        "/api/a%2Fb?x=1&x=2",
        content=b"12345",
        headers={"Cookie": "a=1; __session=s; b=2", "X-Forwarded-For": "9.9.9.9"},
    )
    seen: dict[str, Any] = answer.json()
    assert (seen["method"], seen["query"], seen["size"]) == ("PUT", "x=1&x=2", 5)
    assert seen["raw_path"] == "/api/a%2Fb"
    headers = seen["headers"]
    assert headers["cookie"] == "__session=s"
    assert headers["x-forwarded-host"] == web.base_url.netloc.decode()
    assert headers["x-forwarded-proto"] == "http"
    assert headers["x-forwarded-for"] == "9.9.9.9, 127.0.0.1"
    trace = headers["x-cloud-trace-context"].partition("/")[0]
    assert headers["traceparent"].split("-")[1] == trace
    assert answer.headers["cache-control"] == "private"


def test_a_trace_of_the_client_is_kept(web: httpx.Client) -> None:
    given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    headers = web.get("/api/x", headers={"traceparent": given}).json()["headers"]
    assert headers["traceparent"] == given
    assert "x-cloud-trace-context" not in headers


def test_hop_by_hop_headers_end_at_the_gateway(web: httpx.Client) -> None:
    answer = web.get("/api/x", headers={"TE": "trailers", "Proxy-Authorization": "Basic x"})
    assert {"te", "proxy-authorization"}.isdisjoint(answer.json()["headers"])


def test_a_rewrite_to_an_unknown_function_says_so(web: httpx.Client) -> None:
    answer = web.get("/api/gone")
    assert (answer.status_code, "missing" in answer.text) == (404, True)


def test_answers_stream_through_the_gateway(web: httpx.Client) -> None:
    with web.stream("GET", "/api/stream") as answer:
        chunks = list(answer.iter_text())
    assert "".join(chunks) == "0\n1\n2\n"
    assert len(chunks) > 1


def test_a_chunked_request_streams_through_the_gateway(web: httpx.Client) -> None:
    answer = web.post("/api/x", content=(os.urandom(1000) for _ in range(50)))
    assert answer.json()["size"] == 50_000
