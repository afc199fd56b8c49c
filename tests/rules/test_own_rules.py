from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from google.api_core.exceptions import PermissionDenied
from google.cloud.firestore import FieldFilter

if TYPE_CHECKING:
    from conftest import LocalCloudProcess

CLOSED = [
    "audit_log",
    "provisioned_devices",
    "nonces",
    "training_jobs",
    "models",
    "ota_bundles",
    "remote_sessions",
]
OPEN_BY_OWNER = ["robots", "rlds_episodes"]


def _owned_by(collection: Any, uid: str) -> Any:
    return collection.where(filter=FieldFilter("owner_id", "==", uid))


def test_a_person_reads_their_own_account_and_no_other(own: Any) -> None:
    uid, token = own.sign_up()
    own.admin.document(f"users/{uid}").set({"plan": "free"})
    own.admin.document("users/other").set({"plan": "free"})
    person = own.client(token)
    assert person.document(f"users/{uid}").get().to_dict() == {"plan": "free"}
    with pytest.raises(PermissionDenied):
        person.document("users/other").get()
    with pytest.raises(PermissionDenied):
        person.collection("users").get()
    with pytest.raises(PermissionDenied):
        own.client(None).document(f"users/{uid}").get()


@pytest.mark.parametrize("collection", OPEN_BY_OWNER)
def test_an_owner_reads_what_is_theirs(own: Any, collection: str) -> None:
    uid, token = own.sign_up()
    _, strangers_token = own.sign_up()
    own.admin.document(f"{collection}/{uid}").set({"owner_id": uid})
    own.admin.document(f"{collection}/of-another").set({"owner_id": "another"})
    person, stranger = own.client(token), own.client(strangers_token)
    assert person.document(f"{collection}/{uid}").get().exists
    found = _owned_by(person.collection(collection), uid).get()
    assert [document.id for document in found] == [uid]
    assert _owned_by(person.collection(collection), uid).count().get()[0][0].value == 1
    for refused in (
        stranger.document(f"{collection}/{uid}").get,
        own.client(None).document(f"{collection}/{uid}").get,
        person.document(f"{collection}/of-another").get,
        person.document(f"{collection}/missing").get,
        person.collection(collection).get,
        person.collection(collection).count().get,
        _owned_by(stranger.collection(collection), uid).get,
        _owned_by(person.collection_group(collection), uid).get,
        person.collection(f"{collection}/{uid}/commands").get,
    ):
        with pytest.raises(PermissionDenied):
            refused()


def test_the_registry_can_be_looked_up_and_not_dumped(own: Any) -> None:
    own.admin.document("rcan_registry/d1").set({"name": "arm"})
    nobody = own.client(None)
    assert nobody.document("rcan_registry/d1").get().to_dict() == {"name": "arm"}
    with pytest.raises(PermissionDenied):
        nobody.collection("rcan_registry").limit(1).get()


@pytest.mark.parametrize("collection", CLOSED)
def test_everything_else_is_closed(own: Any, collection: str) -> None:
    uid, token = own.sign_up()
    own.admin.document(f"{collection}/{uid}").set({"owner_id": uid})
    person = own.client(token)
    for refused in (
        person.document(f"{collection}/{uid}").get,
        person.collection(collection).get,
        _owned_by(person.collection(collection), uid).get,
    ):
        with pytest.raises(PermissionDenied):
            refused()


@pytest.mark.parametrize("collection", ["users", "rcan_registry", *OPEN_BY_OWNER, *CLOSED])
def test_nobody_writes_and_nothing_changes(own: Any, collection: str) -> None:
    uid, token = own.sign_up()
    own.admin.document(f"{collection}/{uid}").set({"owner_id": uid})
    for client in (own.client(token), own.client(None)):
        document = client.document(f"{collection}/{uid}")
        batch = client.batch()
        batch.set(document, {"owner_id": "thief"})
        for refused in (
            lambda document=document: document.set({"owner_id": "thief"}),
            lambda document=document: document.update({"owner_id": "thief"}),
            document.delete,
            lambda client=client: client.document(f"{collection}/new-{uid}").create({}),
            batch.commit,
        ):
            with pytest.raises(PermissionDenied):
                refused()
    assert own.admin.document(f"{collection}/{uid}").get().to_dict() == {"owner_id": uid}
    assert not own.admin.document(f"{collection}/new-{uid}").get().exists


def test_the_whole_cloud_enforces_the_rules_that_firebase_json_names(
    local_cloud: LocalCloudProcess,
) -> None:
    import httpx  # noqa: PLC0415 - the client above talks to another service

    base = f"http://{local_cloud.env['FIRESTORE_EMULATOR_HOST']}/v1/projects/demo-continuon"
    documents = f"{base}/databases/(default)/documents"
    owner = {"authorization": "Bearer owner"}
    for path in ("rcan_registry/d1", "robots/r1"):
        httpx.patch(f"{documents}/{path}", json={}, headers=owner).raise_for_status()
    assert httpx.get(f"{documents}/rcan_registry/d1").status_code == 200
    assert httpx.get(f"{documents}/robots/r1").status_code == 403
