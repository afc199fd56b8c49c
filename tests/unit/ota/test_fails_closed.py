"""What the agent needs and does not have is a no, said in one sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from continuon.auth.ruri import Ruri
from continuon.ota.errors import TrustError
from continuon.ota.trust.signers import load_signer, new_key_pem
from continuon_cloud.cli import run
from continuon_cloud.identity import RobotHome
from continuon_cloud.ota.errors import UpdateError
from continuon_cloud.ota.records import Installed
from continuon_cloud.ota.slots import Slots
from continuon_cloud.ota.state import AgentState
from continuon_cloud.queue.lock import Lock
from ota_trust import TrustBench

if TYPE_CHECKING:
    from pathlib import Path

WITHOUT = """
import sys
for name in ("tuf", "securesystemslib"):
    sys.modules[name] = None
from continuon_cloud.cli import run
sys.exit(run(sys.argv[1:]))
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with one robot."""
    monkeypatch.setenv("CONTINUON_HOME", str(tmp_path))
    RobotHome(tmp_path).create(Ruri("continuon.cloud", "acme", "companion-v1", "r1"))
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        ["agent", "--once", "--software-version", "1.0"],
        ["keys", "status"],
        ["publish", "--file", "x", "--release", "1.0", "--robot-model", "m", "--no-passphrase"],
    ],
)
def test_without_the_library_nothing_is_installed_or_published(
    home: Path, words: list[str]
) -> None:
    command = [sys.executable, "-c", WITHOUT, "ota", *words, "--json"]
    done = subprocess.run(  # noqa: S603 - this interpreter
        command, check=False, capture_output=True, timeout=100, cwd=home
    )
    assert json.loads(done.stdout)["error"]["code"] == "ota.library_missing", done.stderr
    assert done.returncode == 9


def test_without_the_library_a_robot_still_comes_back(home: Path) -> None:
    command = [sys.executable, "-c", WITHOUT, "ota", "recover", "--json"]
    done = subprocess.run(  # noqa: S603 - this interpreter
        command, check=False, capture_output=True, timeout=100, cwd=home
    )
    assert json.loads(done.stdout) == {"version": None, "slot": None}


@pytest.mark.usefixtures("home")
def test_a_robot_that_does_not_say_what_it_runs_is_not_updated(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["ota", "agent", "--once"]) == 2
    assert "--software-version" in capsys.readouterr().err
    assert run(["ota", "agent", "--once", "--software-version", "latest", "--json"]) == 8


def test_two_agents_do_not_work_on_one_robot(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["ota", "recover"])
    capsys.readouterr()
    with Lock(home / "ota" / "r1" / "agent.lock"):
        assert run(["ota", "recover", "--json"]) == 7
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "queue.busy"


def test_a_damaged_state_is_named_and_not_overwritten(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["ota", "recover"])
    database = home / "ota" / "r1" / "agent.db"
    database.write_bytes(b"no database at all" * 100)
    capsys.readouterr()
    assert run(["ota", "recover", "--json"]) == 8
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "ota.state_damaged"
    assert database.read_bytes().startswith(b"no database")


# --- The pinned root ----------------------------------------------------------------------------


def test_a_root_is_pinned_once(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = home / "first.json", home / "second.json"
    first.write_bytes(TrustBench().initial_root)
    second.write_bytes(TrustBench().initial_root)
    assert run(["ota", "trust", str(first)]) == 0
    assert run(["ota", "trust", str(first)]) == 0
    assert run(["ota", "trust", str(second)]) == 6
    with AgentState(home / "ota" / "r1" / "agent.db") as state:
        state.raise_floors({"root": ("", 9)})
    assert run(["ota", "trust", str(second), "--replace"]) == 0
    with AgentState(home / "ota" / "r1" / "agent.db") as state:
        assert state.floor("root") is None
    capsys.readouterr()


@pytest.mark.parametrize("data", [b"", b"{}", b"\x00", b'{"signed": {"_type": "root"}}'])
def test_a_file_that_is_no_root_is_not_pinned(
    home: Path, data: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    path = home / "root.json"
    path.write_bytes(data)
    assert run(["ota", "trust", str(path), "--json"]) == 8
    assert json.loads(capsys.readouterr().out)["error"]["code"].startswith("trust.")
    assert not (home / "ota" / "r1" / "root.json").exists()


def test_a_root_below_its_own_threshold_is_not_pinned(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = json.loads(TrustBench().initial_root)
    document["signatures"] = document["signatures"][:1]
    path = home / "root.json"
    path.write_text(json.dumps(document))
    assert run(["ota", "trust", str(path), "--json"]) == 8
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "trust.unsigned"


# --- Keys and slots -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "code"),
    [
        ("", "trust.key_invalid"),
        ("online.pem", "trust.key_invalid"),
        ("file2:", "trust.key_invalid"),
        ("file2:/no/such/key.pem", "trust.key_missing"),
        ("gcpkms:projects/p/x", "trust.library_missing"),
    ],
)
def test_a_key_that_cannot_be_used_is_named(uri: str, code: str) -> None:
    with pytest.raises(TrustError) as refused:
        load_signer(uri)
    assert refused.value.code == code


def test_an_encrypted_key_needs_its_passphrase(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(new_key_pem(b"secret"))
    path.chmod(0o600)
    for passphrase in (None, b"wrong"):
        with pytest.raises(TrustError) as refused:
            load_signer(f"file2:{path}", passphrase=passphrase)
        assert refused.value.code == "trust.passphrase"
    assert load_signer(f"file2:{path}", passphrase=b"secret").public_key.keyid


def test_the_running_slot_is_never_touched(tmp_path: Path) -> None:
    slots = Slots(tmp_path)
    slots.path("a").mkdir()
    slots.point_to("a")
    with pytest.raises(UpdateError):
        slots.unpack(Installed("a", "b", "1", "0"), tmp_path / "x", lambda _: None)
    with pytest.raises(UpdateError):
        slots.drop("a")
    assert slots.current() == "a"


def test_a_pointer_that_somebody_bent_names_no_slot(tmp_path: Path) -> None:
    slots = Slots(tmp_path)
    (tmp_path / "current").symlink_to("/etc")
    assert slots.current() is None
    slots.point_to("b")
    assert slots.current() == "b"
