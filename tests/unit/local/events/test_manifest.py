"""A manifest that the Firebase CLI would refuse, or that could never fire, is refused here."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from continuon_local.errors import ConfigurationError
from continuon_local.events.manifest import EventTrigger, load_manifest
from continuon_local.project import load_project

if TYPE_CHECKING:
    from pathlib import Path

STORAGE = "google.cloud.storage.object.v1.finalized"
FIRESTORE = "google.cloud.firestore.document.v1.written"


def write(folder: Path, endpoint: Any, **top: Any) -> Path:
    document = {"specVersion": "v1alpha1", "endpoints": {"fn": endpoint}, **top}
    (folder / "functions" / "cb").mkdir(parents=True)
    path = folder / "functions" / "cb" / "functions.yaml"
    path.write_text(json.dumps(document))
    (folder / "firebase.json").write_text(
        json.dumps({"functions": [{"source": "functions/cb", "codebase": "cb"}]})
    )
    return path


def endpoint(**keys: Any) -> dict[str, Any]:
    return {"platform": "gcfv2", "entryPoint": "fn", **keys}


def event(event_type: str = STORAGE, **keys: Any) -> dict[str, Any]:
    trigger = {"eventType": event_type, "eventFilters": {}, "retry": True, **keys}
    return endpoint(eventTrigger=trigger)


def schedule(text: str, **keys: Any) -> dict[str, Any]:
    return endpoint(scheduleTrigger={"schedule": text, **keys})


def test_defaults_are_those_of_a_deployment(tmp_path: Path) -> None:
    path = write(tmp_path, event(eventFilters={"bucket": "b"}))
    (spec,) = load_manifest(path, codebase="cb")
    assert (spec.region, spec.timeout_s, spec.memory_mb) == ("us-central1", 60, 256)
    assert (spec.signature_type, spec.trigger_key) == ("cloudevent", "us-central1-fn-0")
    assert isinstance(spec.trigger, EventTrigger)
    assert spec.source == path.parent


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (endpoint(), "exactly one of httpsTrigger, eventTrigger and scheduleTrigger"),
        (endpoint(httpsTrigger={}, scheduleTrigger={"schedule": "x"}), "exactly one of"),
        (endpoint(httpsTrigger={}, memory=1), "unknown field `memory`"),
        (endpoint(httpsTrigger={}, platform="gcfv1"), "Invalid enum value 'gcfv1'"),
        (endpoint(httpsTrigger={}, region="us-central1"), "`array | null`, got `str`"),
        (endpoint(httpsTrigger={}, region=["a", "b"]), "fn.region: the local cloud runs one"),
        (endpoint(httpsTrigger={}, availableMemoryMb=300), "$.availableMemoryMb"),
        (endpoint(httpsTrigger={}, timeoutSeconds=3601), "fn.timeoutSeconds: at most 3600"),
        (endpoint(callableTrigger={}), "fn.callableTrigger: the local cloud does not emulate it"),
        (event(eventFilters={"bucket": "b"}, retries=True), "unknown field `retries`"),
        ({**event(eventFilters={"bucket": "b"}), "timeoutSeconds": 541}, "at most 540"),
        (event("google.cloud.nothing"), "eventType: the local cloud raises no"),
        (event(eventFilters={}), "the filter 'bucket' is missing"),
        (event(eventFilters={"bucket": "b", "topic": "t"}), "has no filter 'topic'"),
        (
            event(FIRESTORE, eventFilterPathPatterns={"document": "a/{b"}),
            "malformed path pattern 'a/{b'",
        ),
        (schedule("now and then"), "schedule: not understood: 'now and then'"),
        (schedule("* * * * * *"), "schedule: not understood"),
        (schedule("every 0 minutes"), "schedule: not understood"),
        (schedule("0 0 31 2 *"), "schedule: not understood"),
        (schedule("every 5 minutes", timeZone="Mars/Olympus"), "timeZone: unknown 'Mars/Olympus'"),
    ],
)
def test_a_wrong_manifest_is_refused_by_file_and_endpoint(
    tmp_path: Path, raw: dict[str, Any], message: str
) -> None:
    path = write(tmp_path, raw)
    with pytest.raises(ConfigurationError) as caught:
        load_project(tmp_path)
    assert str(caught.value).startswith(f"{path}: endpoints.fn")
    assert message in str(caught.value)


def test_an_unknown_top_level_key_and_version_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, endpoint(httpsTrigger={}), specVersion="v2")
    with pytest.raises(ConfigurationError, match="specVersion"):
        load_manifest(path, codebase="cb")


def test_a_repeated_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "functions.yaml"
    path.write_text("specVersion: v1alpha1\nendpoints: {}\nendpoints: {}\n")
    with pytest.raises(ConfigurationError, match="repeated key 'endpoints'"):
        load_manifest(path, codebase="cb")


@pytest.mark.parametrize("text", ["", "[", "- a", "\x00", "a: !!python/object:os.system {}"])
def test_a_file_that_is_no_manifest_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "functions.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"functions\.yaml"):
        load_manifest(path, codebase="cb")


def test_one_name_in_two_codebases_is_refused(tmp_path: Path) -> None:
    write(tmp_path, endpoint(httpsTrigger={}))
    other = tmp_path / "functions" / "other"
    other.mkdir()
    (other / "functions.yaml").write_text((tmp_path / "functions/cb/functions.yaml").read_text())
    codebases = [{"source": f"functions/{name}", "codebase": name} for name in ("cb", "other")]
    (tmp_path / "firebase.json").write_text(json.dumps({"functions": codebases}))
    with pytest.raises(ConfigurationError, match="'fn' is in codebases 'cb' and 'other'"):
        load_project(tmp_path)


def test_a_source_outside_the_project_is_refused(tmp_path: Path) -> None:
    (tmp_path / "firebase.json").write_text('{"functions": {"source": "../elsewhere"}}')
    with pytest.raises(ConfigurationError, match="leaves the project"):
        load_project(tmp_path)
