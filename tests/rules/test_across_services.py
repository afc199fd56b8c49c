"""storage.rules that read documents, with both services in one local cloud."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from conftest import run_local_cloud
from rules_project import RulesProject

if TYPE_CHECKING:
    from pathlib import Path

FIREBASE = """{
  "firestore": {"rules": "firestore.rules"},
  "storage": {"rules": "storage.rules"}
}"""
CLOSED = """rules_version = '2';
service cloud.firestore { match /databases/{database}/documents { } }
"""
MEMBERS = """rules_version = '2';
service firebase.storage {
  match /b/{bucket}/o/{team}/{file} {
    allow read: if firestore.get(/databases/(default)/documents/teams/$(team)).data
      .members.hasAny([request.auth.uid]);
  }
}
"""


def test_members_of_a_document_read_objects_and_lose_them_with_it(tmp_path: Path) -> None:
    (tmp_path / "firebase.json").write_text(FIREBASE)
    (tmp_path / "firestore.rules").write_text(CLOSED)
    (tmp_path / "storage.rules").write_text(MEMBERS)
    with run_local_cloud(tmp_path) as cloud:
        project = RulesProject(
            cloud.env["GOOGLE_CLOUD_PROJECT"], cloud.env["FIRESTORE_EMULATOR_HOST"]
        )
        base = cloud.env["STORAGE_EMULATOR_HOST"]
        owner = {"authorization": "Bearer owner"}
        httpx.post(f"{base}/storage/v1/b", json={"name": "shared"}, headers=owner)
        httpx.post(
            f"{base}/upload/storage/v1/b/shared/o?uploadType=media&name=red/plan",
            content=b"plan",
            headers=owner,
        ).raise_for_status()

        def read(uid: str) -> int:
            headers = {"authorization": f"Firebase {project.token(uid)}"}
            return httpx.get(f"{base}/v0/b/shared/o/red%2Fplan", headers=headers).status_code

        team = project.admin.document("teams/red")
        assert read("alice") == 403
        team.set({"members": ["alice"]})
        assert [read("alice"), read("bob")] == [200, 403]
        team.update({"members": ["bob"]})
        assert [read("alice"), read("bob")] == [403, 200]
