"""The `continuon` command against the local Auth service and the upload stage."""

from __future__ import annotations

import io
import json
import signal
import stat
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cloud_project import wait_until
from conftest import local_services
from continuon_cloud import __version__
from continuon_cloud.cli import run
from continuon_cloud.cli.exits import ExitCode
from sdk_bench import EPISODE_ID, ROBOT, StageHandle, write_episode

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def auth_port() -> Iterator[int]:
    with local_services("auth") as ports:
        yield ports["auth"]


class Command:
    """Runs `continuon` in this process, in one home."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *options: str) -> None:
        self._capsys = capsys
        self._options = options
        self.err = ""

    def __call__(self, *arguments: str) -> tuple[int, str]:
        code = run([*self._options, *arguments])
        out, self.err = self._capsys.readouterr()
        return code, out

    def json(self, *arguments: str) -> tuple[int, Any]:
        code, out = self(*arguments, "--json")
        return code, json.loads(out)


@pytest.fixture
def staged(stage: StageHandle, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys, "--url", stage.origin, "--home", str(stage.settings.home))


@pytest.fixture
def account(
    auth_port: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    monkeypatch.setenv("FIREBASE_AUTH_EMULATOR_HOST", f"127.0.0.1:{auth_port}")
    monkeypatch.setattr(sys, "stdin", io.StringIO("secret123\nsecret123\nsecret123\n"))
    return Command(capsys, "--home", str(tmp_path / "home"))


_AT_A_TERMINAL = """
import signal
from continuon_cloud.cli import main
# What runs in the background of a script inherits that Ctrl-C is ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
main()
"""


def login(command: Command, email: str, *more: str) -> tuple[int, Any]:
    return command.json("login", "--email", email, "--password-stdin", *more)


def test_account_is_made_kept_private_and_forgotten(account: Command, tmp_path: Path) -> None:
    code, answer = login(account, "maker@example.com", "--create")
    (session,) = (tmp_path / "home" / "accounts").iterdir()

    assert (code, answer["email"]) == (0, "maker@example.com")
    assert stat.S_IMODE(session.stat().st_mode) == 0o600
    assert account.json("logout") == (0, {"signed_out": True})
    assert account.json("logout") == (0, {"signed_out": False})
    assert not session.exists()


def test_expired_session_is_renewed_without_the_password(account: Command, tmp_path: Path) -> None:
    login(account, "renewer@example.com", "--create")
    (path,) = (tmp_path / "home" / "accounts").iterdir()
    session = json.loads(path.read_text())
    path.write_text(json.dumps(session | {"expires_at": 1.0, "id_token": "old"}))
    # Nothing answers at the default address; the renewal comes before the call that fails.
    account("--url", "http://127.0.0.1:9", "whoami")
    code, _ = account("whoami")

    renewed = json.loads(path.read_text())
    assert code == ExitCode.UNAVAILABLE
    assert renewed["id_token"] != "old"
    assert renewed["expires_at"] > 1_000_000


def test_wrong_password_is_a_refused_identity_and_repeats_no_secret(
    account: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    login(account, "owner@example.com", "--create")
    monkeypatch.setattr(sys, "stdin", io.StringIO("wrong-password\n"))
    code, answer = login(account, "owner@example.com")

    assert code == answer["error"]["exit_code"] == ExitCode.IDENTITY
    assert answer["error"]["code"].startswith("auth.")
    assert "wrong-password" not in json.dumps(answer) + account.err


def test_existing_account_is_a_conflict_with_a_remedy(account: Command) -> None:
    login(account, "twice@example.com", "--create")
    code, answer = login(account, "twice@example.com", "--create")

    assert code == ExitCode.CONFLICT
    assert answer["error"]["code"] == "auth.email_exists"
    assert "--create" in answer["error"]["hint"]


def test_upload_prints_one_document_and_leaves_with_zero(staged: Command, tmp_path: Path) -> None:
    path = write_episode(tmp_path / "episode")
    code, answer = staged.json("episode", "upload", str(path))
    (item,) = answer["items"]

    assert code == 0
    assert (item["episode_id"], item["state"], item["quality"]) == (EPISODE_ID, "validated", 0.9)
    assert item["sent_bytes"] == item["size_bytes"]
    assert staged.json("queue", "list")[1]["items"][0]["item_id"] == item["item_id"]
    assert staged.json("queue", "forget", "--finished") == (0, {"forgotten": [item["item_id"]]})
    assert staged.json("queue", "list") == (0, {"items": []})


def test_table_shows_the_verdict_and_bars_stay_off_standard_output(
    staged: Command, tmp_path: Path
) -> None:
    code, out = staged(
        "episode", "upload", str(write_episode(tmp_path / "episode")), "--as", "files"
    )

    assert code == 0
    assert "validated" in out
    assert EPISODE_ID in out
    assert "━" not in out


def test_one_bad_path_does_not_hold_up_the_others(staged: Command, tmp_path: Path) -> None:
    path = write_episode(tmp_path / "episode")
    code, answer = staged.json("episode", "upload", str(tmp_path / "missing"), str(path))

    assert code == ExitCode.NOT_FOUND
    assert [failure["code"] for failure in answer["failed"]] == ["source.missing"]
    assert [item["state"] for item in answer["items"]] == ["validated"]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, ExitCode.IDENTITY),
        (403, ExitCode.IDENTITY),
        (409, ExitCode.CONFLICT),
        (422, ExitCode.REFUSED),
    ],
)
def test_exit_code_says_why_an_upload_did_not_happen(
    status: int, code: ExitCode, staged: Command, stage: StageHandle, tmp_path: Path
) -> None:
    stage.control(rules=[{"method": "POST", "times": 1, "status": status}])
    answered, answer = staged.json("episode", "upload", str(write_episode(tmp_path / "episode")))

    assert answered == code
    assert answer["items"][0]["state"] == ("queued" if status == 401 else "set_aside")
    assert answer["items"][0]["problem"]["status"] == status


def test_item_set_aside_goes_through_after_retry_and_run(
    staged: Command, stage: StageHandle, tmp_path: Path
) -> None:
    stage.control(rules=[{"method": "POST", "times": 1, "status": 422}])
    path = write_episode(tmp_path / "episode")
    _, first = staged.json("episode", "upload", str(path))
    item_id = first["items"][0]["item_id"]
    staged.json("queue", "retry", item_id)
    code, answer = staged.json("queue", "run")

    assert code == 0
    assert answer["items"][0]["state"] == "validated"


def test_interrupted_upload_says_so_and_goes_on_later(
    staged: Command, stage: StageHandle, tmp_path: Path
) -> None:
    path = write_episode(tmp_path / "episode", size=200_000)
    options = ["--url", stage.origin, "--home", str(stage.settings.home)]
    upload = ["episode", "upload", str(path), "--resumable", "--limit-rate", "4k"]
    process = subprocess.Popen(  # noqa: S603 - this very package
        [sys.executable, "-c", _AT_A_TERMINAL, *options, *upload],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: any(entry["method"] == "POST" for entry in stage.entries()[1:]))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)

    assert process.returncode == ExitCode.INTERRUPTED
    assert "what was confirmed is kept" in err
    assert "Traceback" not in err
    assert staged.json("queue", "run")[0] == 0


def test_unknown_queue_item_is_not_found(staged: Command) -> None:
    code, answer = staged.json("queue", "retry", "q_none")

    assert code == ExitCode.NOT_FOUND
    assert answer["error"]["code"] == "queue.not_found"


def test_robot_is_made_once_and_rotation_is_explicit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = Command(capsys, "--home", str(tmp_path))
    parts = ["--manufacturer", "acme", "--model", "companion-v1", "--device-id", "14d4b680"]
    code, made = command.json("robot", "init", "--ruri", str(ROBOT))
    again, refused = command.json("robot", "init", *parts)
    rotated, renewed = command.json("robot", "init", *parts, "--rotate")

    assert (code, again, rotated) == (0, ExitCode.CONFLICT, 0)
    assert refused["error"]["code"] == "identity.exists"
    assert made["robot_id"] == renewed["robot_id"] == "14d4b680"
    assert made["key_thumbprint"] != renewed["key_thumbprint"]


def test_validation_prints_the_report_and_says_invalid(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_episode(tmp_path / "episode")
    (path / "steps.jsonl").write_text("not json\n")
    command = Command(capsys)
    code, report = command.json("episode", "validate", str(path))
    _, shown = command("episode", "validate", str(path))

    assert code == ExitCode.INVALID_EPISODE
    assert report["verdict"] == "invalid"
    assert report["problems"][0]["code"] in shown


def test_nobody_listening_is_unavailable_not_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = Command(capsys, "--url", "http://127.0.0.1:9", "--home", str(tmp_path))
    monkeypatch.setattr(sys, "stdin", io.StringIO("secret123\n"))
    code, answer = login(command, "a@example.com")

    assert code == ExitCode.UNAVAILABLE
    assert answer["error"]["code"] == "network.unreachable"


def test_versions_of_package_and_module_agree() -> None:
    root = Path(__file__).parents[3]
    project = tomllib.loads((root / "sdk" / "pyproject.toml").read_text())

    assert project["project"]["version"] == __version__
