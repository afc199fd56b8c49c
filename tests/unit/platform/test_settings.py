"""Settings: what a laptop may set, production refuses."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from continuon import limits
from continuon.platform.settings import PlatformSettings
from continuon_fleet.settings import ClaimPolicy, FleetSettings
from continuon_rlds.settings import RldsSettings

_LOCAL_ONLY = ("FIREBASE_AUTH_EMULATOR_HOST", "STORAGE_EMULATOR_HOST", "CONTINUON_FAULT")
_OTHERS = ("CONTINUON_INGEST_LEASE_S", "CLAIM_POLICY", "GOOGLE_CLOUD_PROJECT")


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*_LOCAL_ONLY, *_OTHERS):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", _LOCAL_ONLY)
@pytest.mark.parametrize("project", ["continuon-prod", "demo", "mydemo-1", "DEMO-x", " demo-x"])
def test_emulator_and_fault_variables_are_refused_outside_demo_projects(
    name: str, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", project)
    monkeypatch.setenv(name, "127.0.0.1:1")
    with pytest.raises(ValidationError, match=r"demo-\*"):
        PlatformSettings()


@pytest.mark.parametrize("name", _LOCAL_ONLY)
def test_a_demo_project_may_use_emulators(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "demo-continuon")
    monkeypatch.setenv(name, "127.0.0.1:1")
    assert "127.0.0.1:1" in PlatformSettings().model_dump().values()


def test_the_defaults_are_those_of_production(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "continuon-prod")
    assert FleetSettings().claim_policy is ClaimPolicy.PROVISIONED
    assert RldsSettings().continuon_ingest_lease_s == limits.INGEST_LEASE_S


def test_an_unknown_claim_policy_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAIM_POLICY", "anything_goes")
    with pytest.raises(ValidationError):
        FleetSettings()


@pytest.mark.parametrize("seconds", ["0", "-1", "soon"])
def test_a_lease_that_nobody_can_hold_stops_the_start(
    seconds: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONTINUON_INGEST_LEASE_S", seconds)
    with pytest.raises(ValidationError):
        RldsSettings()
