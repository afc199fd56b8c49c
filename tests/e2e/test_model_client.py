"""Models from the client and from the `continuon models` command, on links that break."""

from __future__ import annotations

import io
import json
import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from continuon_cloud import ContinuonClient, Settings, download_model, register_model
from continuon_cloud.cli import run
from continuon_cloud.errors import ApiProblem, DownloadError, ModelSourceError, UnreachableError
from model_registry import sha256
from product import BUCKET

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from product import Product

LARGE = bytes(range(256)) * 40_000
"""10.24 MB: large enough for a resumable session."""


class BreakingLink(httpx.AsyncBaseTransport):
    """A link that is cut after so many bytes of each large answer, so many times."""

    def __init__(self, after_bytes: int, times: int) -> None:
        self._inner = httpx.AsyncHTTPTransport()
        self._after_bytes = after_bytes
        self.times = times
        self.ranges: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._inner.handle_async_request(request)
        if request.method == "GET" and "X-Goog-Signature" in str(request.url):
            self.ranges.append(request.headers.get("range", ""))
            return httpx.Response(
                response.status_code, headers=response.headers, stream=_Cut(self, response)
            )
        return response

    async def pieces(self, response: httpx.Response) -> AsyncIterator[bytes]:
        """Yield the body until the link breaks."""
        left = self._after_bytes
        assert isinstance(response.stream, httpx.AsyncByteStream)
        async for piece in response.stream:
            yield piece[:left]
            left -= len(piece)
            if left <= 0 and self.times > 0:
                self.times -= 1
                raise httpx.ReadError("cut")

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Cut(httpx.AsyncByteStream):
    def __init__(self, link: BreakingLink, response: httpx.Response) -> None:
        self._link = link
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._link.pieces(self._response):
            yield piece

    async def aclose(self) -> None:
        await self._response.aclose()


class Shell:
    """Somebody at a shell, signed in."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def run(self, *arguments: str) -> tuple[int, str]:
        """Run `continuon models` and return its exit code and all that it printed."""
        self._capsys.readouterr()
        status = run(["models", *arguments])
        printed = self._capsys.readouterr()
        return status, printed.out + printed.err

    def json(self, *arguments: str, status: int = 0) -> Any:
        """Run a command and return its document."""
        found, out = self.run(*arguments, "--json")
        assert found == status, out
        return json.loads(out)


@pytest.fixture
def signed_in(product: Product, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder to work in, with somebody signed in."""
    monkeypatch.setenv("CONTINUON_URL", product.cloud.url)
    monkeypatch.setenv("CONTINUON_HOME", str(tmp_path / "home"))
    host = product.cloud.env["FIREBASE_AUTH_EMULATOR_HOST"]
    monkeypatch.setenv("FIREBASE_AUTH_EMULATOR_HOST", host)
    monkeypatch.setattr("sys.stdin", io.StringIO("correct horse\n"))
    monkeypatch.chdir(tmp_path)
    email = f"models-{secrets.token_hex(4)}@example.com"
    assert run(["login", "--email", email, "--create", "--password-stdin"]) == 0
    return tmp_path


@pytest.fixture
def shell(signed_in: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    assert signed_in.is_dir()
    return Shell(capsys)


@pytest.fixture
def model_id() -> str:
    return f"client-{secrets.token_hex(4)}"


@pytest.fixture
def artifact(signed_in: Path) -> Path:
    path = signed_in / "policy.npz"
    path.write_bytes(LARGE)
    return path


def rewrite(path: Path, content: bytes) -> None:
    """Put something else into a file."""
    path.write_bytes(content)


@asynccontextmanager
async def client_over(
    link: httpx.AsyncBaseTransport | None = None,
) -> AsyncIterator[ContinuonClient]:
    async with (
        httpx.AsyncClient(transport=link, timeout=60) as http,
        ContinuonClient(Settings.load(), http=http) as client,
    ):
        yield client


# --- The client -----------------------------------------------------------------------------------


async def test_a_model_goes_up_and_comes_down_whole(
    artifact: Path, model_id: str, signed_in: Path
) -> None:
    async with client_over() as client:
        made = await register_model(
            client,
            model_id,
            artifact,
            robot_model="arm",
            metrics={"loss": 0.25},
            episode_ids=["ep_1"],
        )
        assert (made.version, made.status, made.format) == (1, "ready", "npz")
        got = await download_model(client, model_id, 1, signed_in / "out")
    assert got.path.read_bytes() == LARGE
    assert got.checksum == f"sha256:{sha256(LARGE)}"


async def test_registering_the_same_file_again_makes_no_second_version(
    artifact: Path, model_id: str
) -> None:
    async with client_over() as client:
        first = await register_model(client, model_id, artifact, robot_model="arm")
        again = await register_model(client, model_id, artifact, robot_model="arm")
        assert again == first
        rewrite(artifact, b"better")
        better = await register_model(client, model_id, artifact)
    assert better.version == 2


async def test_an_interrupted_registration_is_finished_by_running_it_again(
    artifact: Path, model_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with client_over() as client:
        with monkeypatch.context() as patch:
            patch.setattr("continuon_cloud.models._UPLOAD_ATTEMPTS", 1)
            patch.setattr("continuon_cloud.models.store_file", _broken)
            with pytest.raises(UnreachableError):
                await register_model(client, model_id, artifact, robot_model="arm")
        assert (await client.models.version(model_id, 1)).status == "pending"
        made = await register_model(client, model_id, artifact, robot_model="arm")
    assert (made.version, made.status) == (1, "ready")


async def _broken(*_: Any) -> None:
    raise UnreachableError("the link is down")


async def test_a_broken_download_goes_on_where_it_stopped(
    artifact: Path, model_id: str, signed_in: Path
) -> None:
    link = BreakingLink(3_000_000, times=3)
    async with client_over(link) as client:
        await register_model(client, model_id, artifact, robot_model="arm")
        got = await download_model(client, model_id, 1, signed_in / "out")
    assert got.path.read_bytes() == LARGE
    assert link.ranges == ["", "bytes=3000000-", "bytes=6000000-", "bytes=9000000-"]


async def test_a_file_that_is_not_what_was_registered_is_removed(
    artifact: Path, model_id: str, signed_in: Path, product: Product
) -> None:
    async with client_over() as client:
        made = await register_model(client, model_id, artifact, robot_model="arm")
        # An operator replaces the object and points the document at it: the client still sees.
        bucket = product.storage.bucket(BUCKET)
        blob = bucket.blob(made.storage_ref)
        blob.upload_from_string(LARGE[::-1])
        document = product.firestore.document(made.model_ref)
        document.update({"generation": blob.generation, "crc32c": blob.crc32c})
        with pytest.raises(DownloadError) as caught:
            await download_model(client, model_id, 1, signed_in / "out")
    assert caught.value.code == "download.corrupt"
    assert list((signed_in / "out").iterdir()) == []


async def test_a_name_that_climbs_is_not_followed(
    artifact: Path, model_id: str, signed_in: Path, product: Product
) -> None:
    async with client_over() as client:
        made = await register_model(client, model_id, artifact, robot_model="arm")
        product.firestore.document(made.model_ref).update({"file_name": "../climbed"})
        with pytest.raises(DownloadError) as caught:
            await download_model(client, model_id, 1, signed_in / "out")
    assert caught.value.code == "download.unsafe_name"
    assert not (signed_in / "climbed").exists()


@pytest.mark.parametrize("name", ["missing.npz", "empty.npz", "no_extension", "."])
async def test_what_is_no_artifact_is_refused_before_anything_is_sent(
    name: str, model_id: str, signed_in: Path
) -> None:
    (signed_in / "empty.npz").write_bytes(b"")
    (signed_in / "no_extension").write_bytes(b"x")
    async with client_over() as client:
        with pytest.raises(ModelSourceError):
            await register_model(client, model_id, signed_in / name, robot_model="arm")
        with pytest.raises(ApiProblem):
            await client.models.get(model_id)


async def test_lists_go_over_pages(artifact: Path, model_id: str) -> None:
    rewrite(artifact, b"small")
    async with client_over() as client:
        for _ in range(3):
            key = f"key-{secrets.token_hex(8)}"
            await register_model(client, model_id, artifact, robot_model="arm", idempotency_key=key)
        versions = [one.version async for one in client.models.versions(model_id)]
        models = [one.model_id async for one in client.models.owned()]
    assert (versions, models) == ([3, 2, 1], [model_id])


# --- The command ----------------------------------------------------------------------------------


def test_a_model_from_its_file_to_production_and_back(
    shell: Shell, artifact: Path, model_id: str
) -> None:
    register = ("register", model_id, str(artifact), "--robot-model", "arm", "--episode", "ep_x")
    first = shell.json(*register, "--metric", "loss=0.5", "--notes", "the first")
    artifact.write_bytes(b"second")
    base = first["model_ref"]
    second = shell.json("register", model_id, str(artifact), "--model-base", base)
    assert (first["version"], second["version"]) == (1, 2)
    for version in ("1", "2"):
        shell.json("alias", "set", model_id, "production", version, "--reason", f"try {version}")
    shown = shell.json("show", model_id)
    assert [alias["version"] for alias in shown["aliases"]] == [2]
    lineage = shell.json("show", f"{model_id}@1", "--lineage")
    assert [one["version"] for one in lineage["descendants"]] == [2]
    history = shell.json("alias", "history", model_id, "production")["changes"]
    assert [change["version"] for change in history] == [2, 1]
    moment = history[1]["at"].removesuffix("Z").partition(".")[0]
    was = shell.json("alias", "get", model_id, "production", "--at", moment, status=5)
    assert was["error"]["code"] == "model.alias_not_found", "a second before it was set"
    got = shell.json("download", f"{model_id}@production", "-o", "got")
    assert (got["version"], got["checksum"]) == (2, f"sha256:{sha256(b'second')}")
    used = shell.json("used-by", "ep_x")["versions"]
    assert model_id in {one["model_id"] for one in used}
    refused = shell.json("delete", f"{model_id}@2", "--yes", status=6)
    assert refused["error"]["code"] == "model.alias_points_here"
    shell.json("alias", "remove", model_id, "production", "--reason", "over")
    assert shell.json("delete", f"{model_id}@2", "--yes") == {"deleted": f"{model_id}@2"}
    listed = shell.json("versions", model_id)["versions"]
    assert [(one["version"], one["status"]) for one in listed] == [(2, "deleted"), (1, "ready")]


def test_people_get_tables_and_a_way_on(shell: Shell, artifact: Path, model_id: str) -> None:
    status, text = shell.run("list")
    assert (status, "continuon models register" in text) == (0, True)
    shell.json("register", model_id, str(artifact), "--robot-model", "arm")
    for arguments, words in (
        (("list",), (model_id, "arm")),
        (("versions", model_id), (f"{model_id}@1", "ready", "9.8 MiB")),
        (("show", f"{model_id}@1"), ("policy.npz", "sha256:")),
        (("show", f"{model_id}@1", "--lineage"), ("nothing that was written down",)),
        (("show", model_id, "--lineage"), ("nothing that was written down",)),
        (("notes", f"{model_id}@1", "slower on stairs"), ("slower on stairs",)),
    ):
        status, text = shell.run(*arguments)
        assert status == 0
        assert [word for word in words if word not in text] == []


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("show", "nobody"), 5, "`continuon models list` shows yours"),
        (("show", "@1"), 2, "neither MODEL nor MODEL@VERSION"),
        (("show", "nobody", "--lineage"), 5, "`continuon models list` shows yours"),
        (("download", "m"), 2, "which version?"),
        (("delete", "m@production", "--yes"), 2, "is no number"),
        (("register", "m", "nothing.npz"), 5, "is no file"),
        (("register", "m", "policy.npz", "--metric", "loss"), 2, "is not NAME=VALUE"),
        (("register", "m", "policy.npz", "--metric", "loss=abc"), 2, "could not convert"),
        (("register", "m", "policy.npz", "--metric", "loss=inf"), 2, "finite number"),
        (("register", "m", "policy.npz", "--episode", "../x"), 2, "episode_ids"),
        (("register", "m", "policy.npz", "--episodes-from", "none.txt"), 9, "none.txt"),
        (
            ("alias", "set", "m", "production", "0", "--reason", "x"),
            2,
            "greater than or equal to 1",
        ),
        (("alias", "set", "m", "production", "1", "--reason", " "), 2, "reason"),
        (("alias", "get", "m", "production", "--at", "yesterday"), 2, "does not match"),
    ],
)
def test_a_wrong_command_says_what_is_wrong_and_leaves_with_its_code(
    arguments: tuple[str, ...], status: int, words: str, shell: Shell, artifact: Path
) -> None:
    assert artifact.exists()
    found, text = shell.run(*arguments)
    assert (found, words in " ".join(text.split())) == (status, True), text
    assert "Traceback" not in text


def test_every_command_teaches_its_use(shell: Shell) -> None:
    for command in (
        ("list",),
        ("show",),
        ("versions",),
        ("used-by",),
        ("register",),
        ("download",),
        ("notes",),
        ("delete",),
        ("alias", "set"),
        ("alias", "get"),
        ("alias", "history"),
        ("alias", "remove"),
    ):
        status, text = shell.run(*command, "--help")
        assert status == 0
        assert f"continuon models {' '.join(command)}" in text.partition("For example")[2], text
