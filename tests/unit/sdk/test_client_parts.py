from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from continuon.contracts.problems import Problem
from continuon_cloud import errors
from continuon_cloud.accounts import Session
from continuon_cloud.cli import run
from continuon_cloud.cli.exits import ExitCode, exit_code_of
from continuon_cloud.cli.render import bar, counts_text, size
from continuon_cloud.cli.upload import options_of
from continuon_cloud.download import safe_target
from continuon_cloud.errors import DownloadError, QueueError, SettingsError
from continuon_cloud.queue.lock import Lock, QueueBusyError
from continuon_cloud.queue.records import FilePlan, ItemPlan, Packaging, State
from continuon_cloud.queue.store import QueueStore
from continuon_cloud.settings import DEFAULT_URL, Settings


def plan(digest: str = "a" * 64, cloud: str = DEFAULT_URL) -> ItemPlan:
    return ItemPlan(
        cloud=cloud,
        robot_id="14d4b680",
        episode_id="ep_1",
        digest=digest,
        packaging=Packaging.OBJECT,
        source=Path("/e"),
        spool=None,
        files=(FilePlan("episode.zip", Path("/e.zip"), 5, 1, digest, "application/zip"),),
    )


# --- Settings ---


def test_settings_come_from_arguments_then_the_environment_then_defaults(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CONTINUON_URL", raising=False)
    assert Settings.load(home=tmp_path).base_url == DEFAULT_URL
    monkeypatch.setenv("CONTINUON_URL", "https://fleet.example.com/")
    monkeypatch.setenv("CONTINUON_HOME", str(tmp_path / "env"))
    assert Settings.load().base_url == "https://fleet.example.com"
    assert Settings.load().home == tmp_path / "env"
    assert Settings.load(url="http://127.0.0.1:1").base_url == "http://127.0.0.1:1"


@pytest.mark.parametrize(
    "url",
    ["fleet.example.com", "ftp://x", "http://", "http://x/path", "http://u:p@x", "http://x?q"],
)
def test_address_that_is_no_cloud_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError):
        Settings.load(url=url, home=tmp_path)


# --- The queue's memory ---


def test_items_survive_closing_and_same_content_is_one_item(tmp_path: Path) -> None:
    store = QueueStore(tmp_path)
    item = store.add(plan())
    store.close()
    again = QueueStore(tmp_path)

    assert again.add(plan()).item_id == item.item_id
    assert [one.state for one in again.items()] == [State.QUEUED]
    again.close()


def test_clouds_do_not_see_each_others_items(tmp_path: Path) -> None:
    store = QueueStore(tmp_path)
    store.add(plan())
    other = store.add(plan(cloud="https://fleet.example.com"))

    assert [one.item_id for one in store.items("https://fleet.example.com")] == [other.item_id]
    store.close()


def test_progress_forgives_failures_and_forgetting_takes_the_files_along(tmp_path: Path) -> None:
    store = QueueStore(tmp_path)
    item = store.add(plan())
    store.postponed(item.item_id, attempts=3, next_attempt_at=9.0, problem={"code": "x"})
    store.progressed(item.item_id, 0, 2)
    changed = store.item(item.item_id)

    assert (changed.attempts, changed.problem) == (0, None)
    store.forget(item.item_id)
    assert store.files(item.item_id) == []
    store.close()


def test_damaged_queue_file_is_a_clear_refusal(tmp_path: Path) -> None:
    (tmp_path / "queue.db").write_bytes(b"this is not a database, however long it may be" * 50)
    with pytest.raises(QueueError):
        QueueStore(tmp_path)


def test_lock_is_held_by_one_and_freed_at_the_end(tmp_path: Path) -> None:
    with Lock(tmp_path / "x.lock"), pytest.raises(QueueBusyError), Lock(tmp_path / "x.lock"):
        pass
    with Lock(tmp_path / "x.lock"):
        pass


def test_secrets_appear_in_no_representation(tmp_path: Path) -> None:
    store = QueueStore(tmp_path)
    item = store.add(plan())
    (file,) = store.files(item.item_id)
    signed = dataclasses.replace(file, url="https://s/?SECRET", session_uri="https://s/?SECRET")
    session = Session("http://x", "u1", "a@b.c", 0.0, id_token="SECRET", refresh_token="SECRET")

    assert "SECRET" not in repr(signed) + repr(session)
    store.close()


# --- Paths, words and codes ---


@pytest.mark.parametrize("name", ["metadata.json", "blobs/a/b.jpg", "steps/000000.jsonl"])
def test_names_of_the_layout_are_safe(name: str, tmp_path: Path) -> None:
    assert safe_target(tmp_path, name) == tmp_path / name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/../b", "/a", "a/", "a/./b", "a\\b", "a\0b", "~"]
)
def test_every_other_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(DownloadError):
        safe_target(tmp_path, name)


def test_exit_codes_are_distinct_and_all_are_explained_in_the_help(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())

    assert len({int(code) for code in ExitCode}) == len(ExitCode)
    for code in ExitCode:
        assert f"{int(code)} {code.meaning}" in shown


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, ExitCode.REFUSED),
        (401, ExitCode.IDENTITY),
        (404, ExitCode.NOT_FOUND),
        (409, ExitCode.CONFLICT),
        (429, ExitCode.UNAVAILABLE),
        (503, ExitCode.UNAVAILABLE),
    ],
)
def test_status_of_a_refusal_decides_the_exit_code(status: int, code: ExitCode) -> None:
    problem = Problem(type="about:blank", title="No.", status=status, detail="", code="x")

    assert exit_code_of(errors.ApiProblem(problem)) is code


@pytest.mark.parametrize(
    "words",
    [
        ["login"],
        ["logout"],
        ["whoami"],
        *(["robot", name] for name in ("init", "claim", "list", "show", "revoke")),
        *(
            ["episode", name]
            for name in ("validate", "upload", "list", "report", "download", "delete")
        ),
        *(["queue", name] for name in ("list", "retry", "run", "forget")),
    ],
    ids=" ".join,
)
def test_every_command_explains_itself(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*words, "--help"]) == 0
    shown = capsys.readouterr().out

    assert "--json" in shown
    assert "continuon" in shown


def test_wrong_usage_is_two(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["episode", "upload"]) == ExitCode.USAGE
    assert run(["nonsense"]) == ExitCode.USAGE
    assert run(["episode", "upload", "x", "--limit-rate", "fast"]) == ExitCode.USAGE
    assert "Usage" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "rate"),
    [("500", 500.0), ("500k", 512000.0), ("2M", 2097152.0), ("1.5MiB/s", 1572864.0)],
)
def test_rates_are_read_with_their_unit(text: str, rate: float) -> None:
    assert options_of(text, wait=True).rate_bytes_per_s == rate


def test_home_that_is_no_folder_is_a_local_fault_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    home.write_text("a file where a folder belongs")
    code = run(["--home", str(home), "--json", "robot", "init", "--ruri", "rcan://cc/a/m/d"])

    assert code == ExitCode.LOCAL
    assert json.loads(capsys.readouterr().out)["error"]["exit_code"] == ExitCode.LOCAL


def test_figures_are_short() -> None:
    assert [size(n) for n in (None, 12, 2048, 3 * 1024**2, 5 * 1024**3)] == [
        "",
        "12 B",
        "2.0 KiB",
        "3.0 MiB",
        "5.00 GiB",
    ]
    assert counts_text({"a": 1, "b": 3}) == "b x3, a"
    assert "0.50" in bar(0.5)
