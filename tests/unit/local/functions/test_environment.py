"""A function's environment: the platform's word is last, a developer's cloud settings never in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from continuon_local.environment import Endpoints, client_environment, function_environment
from continuon_local.events.manifest import FunctionSpec, HttpsTrigger

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def endpoints(tmp_path: Path) -> Endpoints:
    ports = {"firestore": 1, "storage": 2, "pubsub": 3, "auth": 4, "hosting": 5, "hub": 6}
    return Endpoints(
        project_id="demo-x",
        host="127.0.0.1",
        ports=ports,
        service_account_file=tmp_path / "key.json",
    )


def spec(source: Path) -> FunctionSpec:
    return FunctionSpec(
        id="fn",
        codebase="cb",
        source=source,
        entry_point="entry",
        region="us-central1",
        trigger=HttpsTrigger(),
        environment={"FROM": "manifest", "ONLY_MANIFEST": "1"},
    )


def test_clients_are_pointed_at_every_service(endpoints: Endpoints, tmp_path: Path) -> None:
    assert client_environment(endpoints) == {
        "GOOGLE_CLOUD_PROJECT": "demo-x",
        "GCLOUD_PROJECT": "demo-x",
        "FIRESTORE_EMULATOR_HOST": "127.0.0.1:1",
        "STORAGE_EMULATOR_HOST": "http://127.0.0.1:2",
        "PUBSUB_EMULATOR_HOST": "127.0.0.1:3",
        "FIREBASE_AUTH_EMULATOR_HOST": "127.0.0.1:4",
        "CONTINUON_URL": "http://127.0.0.1:5",
        "CONTINUON_HUB_URL": "http://127.0.0.1:6",
        "FIREBASE_EMULATOR_HUB": "127.0.0.1:6",
        "GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "key.json"),
    }


def test_later_dotenv_files_win_and_the_platform_wins_over_all(
    endpoints: Endpoints, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("FROM=env\nONLY_ENV=$HOME\n")
    (tmp_path / ".env.demo-x").write_text("FROM=project\n")
    (tmp_path / ".env.local").write_text("FROM=local\nFIRESTORE_EMULATOR_HOST=evil:1\nEMPTY\n")
    variables = function_environment(spec(tmp_path), endpoints)
    assert variables["FROM"] == "local"
    assert variables["ONLY_MANIFEST"] == "1"
    assert variables["ONLY_ENV"] == "$HOME"
    assert variables["FIRESTORE_EMULATOR_HOST"] == "127.0.0.1:1"
    assert variables["FUNCTION_TARGET"] == "entry"
    assert "EMPTY" not in variables


@pytest.mark.parametrize(
    "name",
    ["CLOUDSDK_CONFIG", "GOOGLE_API_KEY", "FIREBASE_CONFIG", "BIGTABLE_EMULATOR_HOST", "PORT"],
)
def test_a_developers_cloud_settings_stay_outside(
    endpoints: Endpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "own")
    monkeypatch.setenv("HARMLESS", "kept")
    variables = function_environment(spec(tmp_path), endpoints)
    assert name not in variables
    assert variables["HARMLESS"] == "kept"
