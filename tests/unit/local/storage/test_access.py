from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import httpx

    from unit.local.storage.harness import Cloud

BUCKET = "/storage/v1/b/episodes"
OBJECT = f"{BUCKET}/o/a"
UNIFORM = {"iamConfiguration": {"uniformBucketLevelAccess": {"enabled": True}}}
READER = {"entity": "user-ada@example.com", "role": "READER"}


def roles(answer: httpx.Response) -> dict[str, str]:
    assert answer.status_code == 200, answer.text
    return {entry["entity"]: entry["role"] for entry in answer.json()["items"]}


async def test_a_new_bucket_belongs_to_its_project(cloud: Cloud) -> None:
    found = roles(await cloud.http.get(f"{BUCKET}/acl"))
    assert {entity.rpartition("-")[0]: role for entity, role in found.items()} == {
        "project-owners": "OWNER",
        "project-editors": "OWNER",
        "project-viewers": "READER",
    }
    full = (await cloud.http.get(BUCKET, params={"projection": "full"})).json()
    assert {entry["projectTeam"]["team"] for entry in full["acl"]} == {
        "owners",
        "editors",
        "viewers",
    }
    assert full["owner"]["entity"].startswith("project-owners-")
    assert "acl" not in (await cloud.http.get(BUCKET)).json()


@pytest.mark.parametrize("path", [f"{BUCKET}/acl", f"{BUCKET}/defaultObjectAcl", f"{OBJECT}/acl"])
async def test_entries_are_made_changed_and_removed(path: str, cloud: Cloud) -> None:
    await cloud.created("a")
    entity = f"{path}/user-ada@example.com"

    made = await cloud.http.post(path, json=READER)
    assert (made.status_code, made.json()["email"]) == (200, "ada@example.com")
    changed = await cloud.http.patch(entity, json={"role": "OWNER"})
    assert changed.json()["role"] == "OWNER"
    assert (await cloud.http.get(entity)).json()["role"] == "OWNER"
    assert (await cloud.http.delete(entity)).status_code == 204
    assert (await cloud.http.get(entity)).status_code == 404
    assert (await cloud.http.delete(entity)).status_code == 404
    for bad in ({"entity": "nobody", "role": "READER"}, {**READER, "role": "KING"}, {"role": "x"}):
        assert (await cloud.http.post(path, json=bad)).status_code == 400


async def test_new_objects_take_the_default_list_or_a_predefined_one(cloud: Cloud) -> None:
    await cloud.http.post(f"{BUCKET}/defaultObjectAcl", json=READER)
    await cloud.created("a")
    await cloud.upload("public", predefinedAcl="publicRead")

    assert READER["entity"] in roles(await cloud.http.get(f"{OBJECT}/acl"))
    public = roles(await cloud.http.get(f"{BUCKET}/o/public/acl"))
    assert public["allUsers"] == "READER"
    assert READER["entity"] not in public
    assert (await cloud.upload("b", predefinedAcl="everything")).status_code == 400


async def test_changes_of_lists_obey_preconditions(cloud: Cloud) -> None:
    body = {"acl": [READER]}
    stale = {"ifMetagenerationMatch": "9", "projection": "full"}
    assert (await cloud.http.patch(BUCKET, json=body, params=stale)).status_code == 412

    changed = await cloud.http.patch(BUCKET, json=body, params={"projection": "full"})

    entities = {entry["entity"] for entry in changed.json()["acl"]}
    assert READER["entity"] in entities
    # The owners of the project cannot be shut out.
    assert any(entity.startswith("project-owners-") for entity in entities)


async def test_uniform_access_hides_the_lists_and_gives_them_back(cloud: Cloud) -> None:
    await cloud.created("a")
    before = (await cloud.http.get(f"{BUCKET}/acl")).json()["items"]
    uniform = (await cloud.http.patch(BUCKET, json=UNIFORM)).json()["iamConfiguration"]
    assert uniform["bucketPolicyOnly"] == uniform["uniformBucketLevelAccess"]
    assert uniform["uniformBucketLevelAccess"]["lockedTime"]

    for path in (f"{BUCKET}/acl", f"{BUCKET}/defaultObjectAcl", f"{OBJECT}/acl"):
        assert (await cloud.http.get(path)).status_code == 400
        assert (await cloud.http.post(path, json=READER)).status_code == 400
    assert (await cloud.upload("b", predefinedAcl="private")).status_code == 400
    assert (await cloud.http.patch(BUCKET, json={"acl": [READER]})).status_code == 400
    assert (await cloud.http.post(f"{OBJECT}/copyTo/b/episodes/o/c")).status_code == 200
    assert (await cloud.http.post(f"{OBJECT}/moveTo/o/d")).status_code == 200

    off = {"iamConfiguration": {"uniformBucketLevelAccess": {"enabled": False}}}
    assert (await cloud.http.patch(BUCKET, json=off)).status_code == 200
    after = (await cloud.http.get(f"{BUCKET}/acl")).json()["items"]
    assert [entry["entity"] for entry in after] == [entry["entity"] for entry in before]
    await cloud.http.patch(BUCKET, json=UNIFORM)
    cloud.engine.context.clock.advance(timedelta(days=91))
    assert (await cloud.http.patch(BUCKET, json=off)).status_code == 400


async def test_public_access_prevention_keeps_things_private(cloud: Cloud) -> None:
    await cloud.created("a")
    enforced = {"iamConfiguration": {"publicAccessPrevention": "enforced"}}
    assert (await cloud.http.patch(BUCKET, json=enforced)).status_code == 200
    everybody = {"entity": "allUsers", "role": "READER"}

    answers = [
        await cloud.http.post(f"{BUCKET}/acl", json=everybody),
        await cloud.http.post(f"{BUCKET}/defaultObjectAcl", json=everybody),
        await cloud.http.post(f"{OBJECT}/acl", json=everybody),
        await cloud.http.patch(BUCKET, json={"acl": [everybody]}),
        await cloud.http.patch(OBJECT, json={"acl": [everybody]}),
        await cloud.upload("b", predefinedAcl="publicRead"),
        await set_policy(cloud, bindings=[binding("objectViewer", "allUsers")]),
    ]

    assert [answer.status_code for answer in answers] == [412] * len(answers)
    assert await cloud.names() == ["a"]


def binding(role: str, *members: str, **more: Any) -> dict[str, Any]:
    return {"role": f"roles/storage.{role}", "members": list(members), **more}


async def set_policy(cloud: Cloud, **policy: Any) -> httpx.Response:
    return await cloud.http.put(f"{BUCKET}/iam", json=policy)


async def test_policies_are_kept_and_guarded_by_their_etag(cloud: Cloud) -> None:
    first = (await cloud.http.get(f"{BUCKET}/iam")).json()
    owners = next(each for each in first["bindings"] if each["role"].endswith("BucketOwner"))
    assert owners["members"] == ["projectEditor:demo-continuon", "projectOwner:demo-continuon"]
    viewer = binding("objectViewer", "user:ada@example.com")

    changed = await set_policy(cloud, bindings=[*first["bindings"], viewer], etag=first["etag"])
    stale = await set_policy(cloud, bindings=[], etag=first["etag"])

    assert viewer in changed.json()["bindings"]
    assert changed.json()["etag"] != first["etag"]
    assert stale.status_code == 412
    assert (await cloud.http.get(f"{BUCKET}/iam")).json() == changed.json()


async def test_legacy_roles_and_the_list_are_one(cloud: Cloud) -> None:
    await cloud.http.post(f"{BUCKET}/acl", json=READER)
    policy = (await cloud.http.get(f"{BUCKET}/iam")).json()
    readers = next(each for each in policy["bindings"] if each["role"].endswith("BucketReader"))
    assert "user:ada@example.com" in readers["members"]

    readers["members"].remove("user:ada@example.com")
    await set_policy(cloud, bindings=policy["bindings"])

    assert READER["entity"] not in roles(await cloud.http.get(f"{BUCKET}/acl"))


async def test_conditions_need_uniform_access_and_the_third_version(cloud: Cloud) -> None:
    condition = {"title": "t", "expression": "true"}
    conditional = binding("objectViewer", "user:ada@example.com", condition=condition)
    assert (await set_policy(cloud, version=3, bindings=[conditional])).status_code == 412
    await cloud.http.patch(BUCKET, json=UNIFORM)
    assert (await set_policy(cloud, version=1, bindings=[conditional])).status_code == 400

    assert (await set_policy(cloud, version=3, bindings=[conditional])).json()["version"] == 3

    old = (await cloud.http.get(f"{BUCKET}/iam")).json()
    assert old["version"] == 1
    assert old["bindings"][0]["role"].startswith("roles/storage.objectViewer_withcond_")
    full = await cloud.http.get(f"{BUCKET}/iam", params={"optionsRequestedPolicyVersion": "3"})
    assert full.json()["bindings"] == [conditional]


@pytest.mark.parametrize(
    "bad",
    [
        {"bindings": "x"},
        {"bindings": [{"role": "x", "members": []}]},
        {"bindings": [{"role": "roles/storage.admin", "members": ["x"]}]},
        {"bindings": [{"role": "roles/storage.admin", "members": "x"}]},
        {"bindings": [binding("admin", condition="x")]},
    ],
)
async def test_malformed_policies_are_refused(bad: dict[str, Any], cloud: Cloud) -> None:
    assert (await set_policy(cloud, **bad)).status_code == 400


async def test_permissions_are_tested(cloud: Cloud) -> None:
    path = f"{BUCKET}/iam/testPermissions"
    asked = ["storage.buckets.get", "storage.objects.create"]

    answer = await cloud.http.get(path, params={"permissions": asked})

    assert answer.json()["permissions"] == asked
    assert (await cloud.http.get(path, params={"permissions": "x"})).status_code == 400


async def test_a_public_policy_lets_anybody_read_and_list(cloud: Cloud) -> None:
    await cloud.created("a")
    assert (await cloud.http.get("/episodes/a")).status_code == 403

    await set_policy(cloud, bindings=[binding("objectViewer", "allUsers")])
    assert (await cloud.http.get("/episodes/a")).content == b"hello"
    assert "<Key>a</Key>" in (await cloud.http.get("/episodes")).text

    await cloud.http.patch(BUCKET, json={"billing": {"requesterPays": True}})
    refused = await cloud.http.get("/episodes/a")
    assert (refused.status_code, "UserProjectMissing" in refused.text) == (400, True)


async def test_managed_folders_are_listed_when_asked(cloud: Cloud) -> None:
    path = f"{BUCKET}/managedFolders"
    assert (await cloud.http.post(path, json={"name": "m"})).status_code == 400
    await cloud.http.patch(BUCKET, json=UNIFORM)
    assert (await cloud.http.post(path, json={"name": "m"})).json()["name"] == "m/"
    assert (await cloud.http.post(path, json={"name": "m/"})).status_code == 409
    await cloud.created("m/x")

    plain = await cloud.http.get(f"{BUCKET}/o", params={"delimiter": "/", "prefix": "z"})
    query = {"delimiter": "/", "includeFoldersAsPrefixes": "true"}
    shown = await cloud.http.get(f"{BUCKET}/o", params=query)

    assert "prefixes" not in plain.json()
    assert shown.json()["prefixes"] == ["m/"]
    assert (await cloud.http.delete(f"{path}/m")).status_code == 409
    assert (
        await cloud.http.delete(f"{path}/m", params={"allowNonEmpty": "true"})
    ).status_code == 204
    assert (await cloud.http.get(f"{path}/m")).status_code == 404


@pytest.mark.parametrize(
    "fields",
    [
        {"iamConfiguration": {"publicAccessPrevention": "maybe"}},
        {"iamConfiguration": {"uniformBucketLevelAccess": {"enabled": "x"}}},
        {"retentionPolicy": {"retentionPeriod": "x"}},
        {"retentionPolicy": {"retentionPeriod": "99999999999"}},
        {"softDeletePolicy": {"retentionDurationSeconds": "60"}},
        {"autoclass": {"enabled": True, "terminalStorageClass": "HOT"}},
        {"customPlacementConfig": {"dataLocations": ["US-EAST1"]}},
        {"labels": {"Upper": "x"}},
        {"encryption": {"googleManagedEncryptionEnforcementConfig": {"restrictionMode": "x"}}},
        {"hierarchicalNamespace": {"enabled": True}},
        {"versioning": {"enabled": "x"}},
        {"acl": [{"entity": "x"}]},
    ],
)
async def test_settings_that_google_refuses_are_refused(
    fields: dict[str, Any], cloud: Cloud
) -> None:
    before = (await cloud.http.get(BUCKET)).json()

    assert (await cloud.http.patch(BUCKET, json=fields)).status_code == 400
    assert (await cloud.http.get(BUCKET)).json() == before


@pytest.mark.parametrize(
    "fields",
    [
        {"encryption": {"defaultKmsKeyName": "projects/p/locations/us/keyRings/k/cryptoKeys/k"}},
        {"ipFilter": {"mode": "Enabled"}},
        {"logging": {"logBucket": "b"}},
        {"somethingNew": True},
    ],
)
async def test_settings_without_effect_here_say_so(fields: dict[str, Any], cloud: Cloud) -> None:
    assert (await cloud.http.patch(BUCKET, json=fields)).status_code == 501
