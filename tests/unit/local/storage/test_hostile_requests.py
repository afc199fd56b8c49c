"""Whatever a client sends, it gets an answer in Google's shape and never a traceback."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from unit.local.storage.harness import Cloud

OWNER = {"authorization": "Bearer owner"}
PATHS = [
    "/",
    "//",
    "/storage/v1/",
    "/storage/v1/b",
    "/storage/v1/b/%00",
    "/storage/v1/b/%FF",
    "/storage/v1/b/episodes",
    "/storage/v1/b/episodes/o",
    "/storage/v1/b/episodes/o/",
    "/storage/v1/b/episodes/o/%C3%28",
    "/storage/v1/b/episodes/o/a",
    "/storage/v1/b/episodes/o/a/b",
    "/storage/v1/b/episodes/o/a/compose",
    "/storage/v1/b/episodes/o/a/rewriteTo/b/episodes/o/b",
    "/storage/v1/b/episodes/o/a/moveTo/o/b",
    "/storage/v1/b/episodes/o/a/acl/x",
    "/storage/v1/b/episodes/o/a/restore",
    "/storage/v1/b/episodes/acl",
    "/storage/v1/b/episodes/acl/%FF",
    "/storage/v1/b/episodes/defaultObjectAcl/allUsers",
    "/storage/v1/b/episodes/iam",
    "/storage/v1/b/episodes/iam/testPermissions",
    "/storage/v1/b/episodes/lockRetentionPolicy",
    "/storage/v1/b/episodes/managedFolders",
    "/storage/v1/b/episodes/managedFolders/x/y",
    "/storage/v1/b/episodes/notificationConfigs",
    "/storage/v1/b/episodes/notificationConfigs/x",
    "/storage/v1/projects/%FF/hmacKeys",
    "/storage/v1/projects/p/hmacKeys/x",
    "/v0/",
    "/v0/b/episodes/o",
    "/v0/b/episodes/o/a",
    "/v0/b/episodes/o/%FF",
    "/v0/b/missing/o/a",
    "/upload/storage/v1/b/episodes/o",
    "/upload/storage/v1/x",
    "/download/storage/v1/b/episodes/o/a",
    "/batch/storage/v1",
    "/batch/storage/v1/x",
    "/episodes",
    "/episodes/a",
    "/episodes/%C3%28",
    "/a%00b/c",
]
PARAMETERS = {
    "alt": ["media", "json", ""],
    "generation": ["-1", "1e3", "9" * 40, "x", "²"],
    "ifGenerationMatch": ["-1", "9" * 40, "", "x", "٣"],
    "ifMetagenerationNotMatch": ["1", "x"],
    "maxResults": ["-1", "9" * 40, "0", "²"],
    "name": ["", "a", "\x00", "\ud7ff"],
    "pageToken": ["W10=", "eyJh", "x", "WyJhIiwgIjEiXQ=="],
    "prefix": ["\x00", "a"],
    "delimiter": ["/", ""],
    "partNumber": ["1", "99999", "²"],
    "uploads": ["", "x"],
    "uploadId": ["x", ""],
    "list-type": ["2", "x"],
    "marker": ["\x00", "a/"],
    "max-keys": ["x", "5"],
    "encoding-type": ["url", "x"],
    "softDeleted": ["true", "x"],
    "filter": ['contexts."k":*', "x"],
    "predefinedAcl": ["publicRead", "x", ""],
    "projection": ["full", "x"],
    "permissions": ["storage.objects.get", "x"],
    "optionsRequestedPolicyVersion": ["3", "x", "²"],
    "create_token": ["true", "x"],
    "delete_token": ["", "x"],
    "token": ["", "é"],
    "project": ["", "x" * 300],
    "upload_id": ["x", ""],
    "uploadType": ["media", "multipart", "resumable", "none"],
    "X-Goog-Signature": ["00", "x", ""],
    "X-Goog-Algorithm": ["GOOG4-RSA-SHA256"],
    "X-Goog-Credential": ["a/20260101/auto/storage/goog4_request", "/"],
    "X-Goog-Date": ["20260101T000000Z", "20269999T000000Z"],
    "X-Goog-Expires": ["600", "9" * 30],
    "X-Goog-SignedHeaders": ["host", ";", "host;host"],
}
HEADERS = {
    "content-type": [
        "multipart/related",
        "multipart/mixed; boundary=x",
        "a/b",
        "",
        "multipart/form-data; boundary=x",
    ],
    "content-range": ["bytes */*", "bytes 0-1/*", "bytes 9-1/2", "x"],
    "range": ["bytes=0-", "bytes=-", "bytes=9999999999999999999999-"],
    "x-goog-hash": ["md5=x", "crc32c=", "x"],
    "content-md5": ["x", "é"],
    "x-goog-content-length-range": ["1", "2,1", "a,b", "9" * 50],
    "x-goog-if-generation-match": ["x", "0"],
    "x-goog-resumable": ["start", "x"],
    "x-goog-acl": ["public-read", "x", "--"],
    "x-goog-encryption-algorithm": ["AES256", "x"],
    "x-goog-encryption-key": ["x", "é", "A" * 44],
    "x-goog-upload-protocol": ["multipart", "resumable", "x"],
    "x-goog-upload-command": ["start", "upload, finalize", ",", "x"],
    "x-goog-upload-header-content-length": ["x", "-1", "5"],
    "x-goog-upload-offset": ["x", "0"],
    "x-goog-date": ["20260101T000000Z", "x"],
    "x-upload-content-length": ["x", "-1", "5", "²"],
    "origin": ["null", "x"],
    "host": ["", ".storage.googleapis.com", "x"],
    "if-none-match": ["*", '"', ","],
}
BODIES = [
    b"",
    b"{",
    b"[]",
    b"null",
    b'{"name": 5, "metadata": [], "contentType": {}}',
    b'{"metadata": {"k": 5}}',
    b'{"acl": [5], "defaultObjectAcl": 5, "retentionPolicy": 5, "lifecycle": []}',
    b'{"acl": [{"entity": 5, "role": []}]}',
    b'{"retentionPolicy": {"retentionPeriod": []}, "softDeletePolicy": {}}',
    b'{"lifecycle": {"rule": [{"action": [], "condition": 5}]}}',
    b'{"lifecycle": {"rule": [{"action": {"type": []}, "condition": {"age": 1}}]}}',
    b'{"autoclass": {"enabled": 5, "terminalStorageClass": []}, "encryption": {"x": {}}}',
    b'{"encryption": {"x": {"restrictionMode": []}}, "customPlacementConfig": {}}',
    b'{"iamConfiguration": {"publicAccessPrevention": [], "bucketPolicyOnly": 5}}',
    b'{"customPlacementConfig": {"dataLocations": [[], 5]}, "rpo": {}, "labels": {"a": []}}',
    b'{"contexts": {"custom": {"k": {"value": []}}}, "retention": {"mode": []}}',
    b'{"contexts": {"custom": 5}, "temporaryHold": "x"}',
    b'{"retention": {"mode": "Locked", "retainUntilTime": 5}}',
    b'{"bindings": [{"role": [], "members": [5], "condition": []}], "etag": 5}',
    b'{"topic": [], "payload_format": [], "event_types": [[]]}',
    b'{"topic": "projects/p/topics/t", "payload_format": "NONE", "event_types": [[]]}',
    b'{"topic": "projects/p/topics/t", "payload_format": "NONE", "custom_attributes": []}',
    b'{"state": [], "etag": []}',
    b"<CompleteMultipartUpload><Part/></CompleteMultipartUpload>",
    b'--x\r\nContent-Disposition: form-data; name="policy"\r\n\r\nx\r\n--x--',
    b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\nx\r\n--x--',
    b'{"metadata": {"k": "\\ud800"}}',
    b'{"name": "\\ud800x"}',
    b'{"storageClass": "GOLD", "md5Hash": 5, "crc32c": []}',
    b'{"sourceObjects": {"name": "a"}, "destination": 5}',
    b'{"sourceObjects": [{"name": {"x": 1}, "generation": []}]}',
    b'{"cors": "x", "labels": 5, "iamConfiguration": "y", "versioning": "z", "location": {}}',
    b'{"cors": [5]}',
    b'{"cors": [{"origin": "x", "method": [5]}]}',
    b'{"labels": {"a": null}, "versioning": {"enabled": "x"}}',
    b"--x\r\n\r\nGET /storage/v1/b HTTP/1.1\r\n\r\n\r\n--x\r\n\r\nnonsense\r\n--x--",
    b"\xff\xfe",
    b"[" * 5000,
    b'{"a":' * 3000,
]


def _credentials(choose: random.Random) -> list[tuple[bytes, bytes]]:
    other = [b"Firebase x", b"Firebase e30.e30.", b"GOOG4-HMAC-SHA256 Credential=a, Signature=x"]
    other.append(b"GOOG4-RSA-SHA256 Credential=a/b, SignedHeaders=host, Signature=00")
    other.append(b"\xff")
    if choose.random() < 0.3:
        return [(b"authorization", choose.choice(other))]
    return [(b"authorization", b"Bearer owner")] if choose.random() < 0.7 else []


@pytest.mark.parametrize("seed", range(6))
async def test_hostile_requests_are_answered(seed: int, cloud: Cloud) -> None:
    await cloud.created("a")
    choose = random.Random(seed)  # noqa: S311 - repeatable, not secret
    for _ in range(120):
        parameters = choose.sample(sorted(PARAMETERS), choose.randint(0, 4))
        headers = choose.sample(sorted(HEADERS), choose.randint(0, 3))
        method = choose.choice(["GET", "PUT", "POST", "PATCH", "DELETE", "HEAD", "OPTIONS"])
        path = choose.choice(PATHS)
        answer = await cloud.http.request(
            method,
            path,
            params={name: choose.choice(PARAMETERS[name]) for name in parameters},
            headers=[
                *((name.encode(), choose.choice(HEADERS[name]).encode()) for name in headers),
                *_credentials(choose),
            ],
            content=choose.choice(BODIES),
        )
        assert answer.status_code != 500, f"{method} {answer.request.url} {answer.text}"
        assert "Traceback" not in answer.text
