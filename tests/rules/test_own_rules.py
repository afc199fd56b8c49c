"""The project's own rules, call by call; `make conformance` puts the same calls to Google's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest
from google.api_core.exceptions import PermissionDenied

import own_rules
from own_rules import ALLOWED, CALLERS, COLLECTIONS, READS, WRITES, client_of, run
from rules_project import RulesProject

if TYPE_CHECKING:
    from conftest import LocalCloudProcess


def _is_allowed(client: Any, collection: str, call: str) -> bool:
    try:
        run(client, collection, call)
    except PermissionDenied:
        return False
    return True


@pytest.fixture(scope="module")
def clients(own: Any) -> dict[str, Any]:
    return {caller: client_of(own, caller) for caller in CALLERS}


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("collection", COLLECTIONS)
def test_exactly_what_the_table_names_may_be_read(
    clients: dict[str, Any], collection: str, caller: str
) -> None:
    allowed = {call for call in READS if _is_allowed(clients[caller], collection, call)}
    assert allowed == {call for call in READS if (collection, caller, call) in ALLOWED}


@pytest.mark.parametrize("collection", COLLECTIONS)
def test_nobody_writes_and_nothing_changes(
    own: Any, clients: dict[str, Any], collection: str
) -> None:
    before = {found.id: found.to_dict() for found in own.admin.collection(collection).get()}
    for caller in CALLERS:
        for call in WRITES:
            assert not _is_allowed(clients[caller], collection, call)
    after = {found.id: found.to_dict() for found in own.admin.collection(collection).get()}
    assert after == before
    assert before[own_rules.OWNER] == {"owner_id": own_rules.OWNER}


def test_a_person_who_signed_up_reads_their_own_account_and_robots(own: Any) -> None:
    uid, token = own.sign_up()
    own.admin.document(f"users/{uid}").set({"plan": "free"})
    own.admin.document(f"robots/{uid}").set({"owner_id": uid})
    person = own.client(token)
    assert person.document(f"users/{uid}").get().to_dict() == {"plan": "free"}
    assert person.document(f"robots/{uid}").get().exists
    for refused in (f"users/{own_rules.OWNER}", f"robots/{own_rules.OWNER}"):
        with pytest.raises(PermissionDenied):
            person.document(refused).get()


def test_the_whole_cloud_enforces_the_rules_that_firebase_json_names(
    local_cloud: LocalCloudProcess,
) -> None:
    base = f"http://{local_cloud.env['FIRESTORE_EMULATOR_HOST']}/v1/projects/demo-continuon"
    documents = f"{base}/databases/(default)/documents"
    owner = {"authorization": "Bearer owner"}
    for path in ("rcan_registry/d1", "robots/r1"):
        httpx.patch(f"{documents}/{path}", json={}, headers=owner).raise_for_status()
    assert httpx.get(f"{documents}/rcan_registry/d1").status_code == 200
    assert httpx.get(f"{documents}/robots/r1").status_code == 403


def _store(url: str, content: str, headers: dict[str, str]) -> httpx.Response:
    """Upload as Firebase's SDK does."""
    parts = (
        "--x\r\nContent-Type: application/json\r\n\r\n{}\r\n"
        f"--x\r\nContent-Type: text/plain\r\n\r\n{content}\r\n--x--"
    )
    multipart = {
        "x-goog-upload-protocol": "multipart",
        "content-type": "multipart/related; boundary=x",
    }
    return httpx.post(url, content=parts.encode(), headers={**multipart, **headers})


@pytest.mark.parametrize("caller", CALLERS)
def test_firebase_storage_is_closed_to_everybody(
    local_cloud: LocalCloudProcess, caller: str
) -> None:
    base = local_cloud.env["STORAGE_EMULATOR_HOST"]
    owner = {"authorization": "Bearer owner"}
    httpx.post(f"{base}/storage/v1/b", json={"name": own_rules.BUCKET}, headers=owner)
    objects = f"{base}/v0/b/{own_rules.BUCKET}/o"
    there = f"{objects}/{own_rules.OWNER}%2Fa"
    name = f"?name={own_rules.OWNER}%2Fa"
    stored = _store(f"{objects}{name}", "x", owner)
    assert stored.status_code == 200, stored.text
    project = RulesProject(local_cloud.env["GOOGLE_CLOUD_PROJECT"], "unused")
    token = own_rules.token_of(project, caller)
    headers = {} if token is None else {"authorization": f"Firebase {token}"}
    for answer in (
        httpx.get(objects, headers=headers),
        httpx.get(there, headers=headers),
        httpx.get(f"{there}?alt=media", headers=headers),
        _store(f"{objects}?name=new", "x", headers),
        _store(f"{objects}{name}", "y", headers),
        httpx.patch(there, json={"metadata": {"k": "v"}}, headers=headers),
        httpx.delete(there, headers=headers),
    ):
        assert answer.status_code == 403, answer.text
    assert httpx.get(f"{there}?alt=media", headers=owner).content == b"x"
