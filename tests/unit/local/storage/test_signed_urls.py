from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from google.cloud.storage._signing import generate_signed_url_v4
from google.oauth2 import service_account

from continuon_local.storage.accounts import Accounts, load_or_create
from continuon_local.storage.errors import StorageError
from continuon_local.storage.signed_urls import SignedRequest, canonical_request, verify

if TYPE_CHECKING:
    from pathlib import Path

MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ENDPOINT = "http://127.0.0.1:9199"
HEADERS = {"content-type": "application/json", "x-goog-if-generation-match": "0"}


def sign(folder: Path, *, method: str = "PUT", path: str = "/b/o.json", **options: object) -> str:
    load = service_account.Credentials.from_service_account_file
    credentials = load(  # type: ignore[no-untyped-call]
        folder / "service-account.json"
    )
    arguments: dict[str, object] = {
        "expiration": 600,
        "headers": dict(HEADERS),
        "api_access_endpoint": ENDPOINT,
        "_request_timestamp": MOMENT.strftime("%Y%m%dT%H%M%SZ"),
        **options,
    }
    url: str = generate_signed_url_v4(credentials, path, method=method, **arguments)
    return url


def request_of(
    url: str, *, method: str = "PUT", headers: dict[str, str] | None = None
) -> SignedRequest:
    parts = urlsplit(url)
    sent = {"host": parts.netloc, **(HEADERS if headers is None else headers)}
    return SignedRequest(
        method=method, raw_path=parts.path, raw_query=parts.query, headers=list(sent.items())
    )


@pytest.fixture(scope="module")
def accounts(account_folder: Path) -> Accounts:
    accounts = Accounts()
    load_or_create(account_folder, "demo-continuon", accounts)
    return accounts


def refusal(request: SignedRequest, accounts: Accounts, now: datetime = MOMENT) -> StorageError:
    with pytest.raises(StorageError) as caught:
        verify(request, accounts, now)
    return caught.value


def test_url_made_by_the_google_client_is_accepted(
    account_folder: Path, accounts: Accounts
) -> None:
    verdict = verify(request_of(sign(account_folder)), accounts, MOMENT)

    assert verdict.email == "continuon-local@demo-continuon.iam.gserviceaccount.com"
    assert verdict.payload_sha256 is None


@pytest.mark.parametrize(
    "path",
    ["/b/a%20b/%C3%BC.json", "/b//leading", "/b/100%25", "/b/a~b_c-d.e", "/b/line%0Abreak%3F%23"],
)
def test_names_with_reserved_characters_are_accepted(
    path: str, account_folder: Path, accounts: Accounts
) -> None:
    assert verify(request_of(sign(account_folder, path=path)), accounts, MOMENT)


def test_extra_query_parameters_of_the_signer_are_covered(
    account_folder: Path, accounts: Accounts
) -> None:
    url = sign(
        account_folder,
        method="GET",
        headers={},
        query_parameters={"prefix": "/foo", "soufflé": "=%-_.~ +"},
        response_disposition='attachment; filename="é.json"',
    )

    assert verify(request_of(url, method="GET", headers={}), accounts, MOMENT)


def test_url_signed_for_get_serves_head_but_not_delete(
    account_folder: Path, accounts: Accounts
) -> None:
    url = sign(account_folder, method="GET", headers={})

    assert verify(request_of(url, method="HEAD", headers={}), accounts, MOMENT)
    error = refusal(request_of(url, method="DELETE", headers={}), accounts)
    assert (error.status, error.code) == (403, "SignatureDoesNotMatch")


def test_it_expires_to_the_second(account_folder: Path, accounts: Accounts) -> None:
    request = request_of(sign(account_folder, expiration=600))

    assert verify(request, accounts, MOMENT + timedelta(seconds=600))
    error = refusal(request, accounts, MOMENT + timedelta(seconds=601))
    assert (error.status, error.code) == (400, "ExpiredToken")


def test_url_from_the_future_is_refused(account_folder: Path, accounts: Accounts) -> None:
    error = refusal(request_of(sign(account_folder)), accounts, MOMENT - timedelta(minutes=16))

    assert (error.status, error.code) == (403, "AccessDenied")


@pytest.mark.parametrize(
    ("find", "replacement"),
    [
        ("/b/o.json", "/b/other.json"),
        ("/b/o.json", "/c/o.json"),
        ("X-Goog-Expires=600", "X-Goog-Expires=601"),
        ("T030405Z", "T030406Z"),
        ("auto", "europe-west1"),
        ("X-Goog-Algorithm", "generation=7&X-Goog-Algorithm"),
    ],
)
def test_tampered_url_does_not_match(
    find: str, replacement: str, account_folder: Path, accounts: Accounts
) -> None:
    url = sign(account_folder)
    tampered = url.replace(find, replacement)
    assert tampered != url

    error = refusal(request_of(tampered), accounts)
    assert (error.status, error.code) == (403, "SignatureDoesNotMatch")


@pytest.mark.parametrize("position", [0, 100, 511])
def test_flipped_signature_digit_does_not_match(
    position: int, account_folder: Path, accounts: Accounts
) -> None:
    head, _, signature = sign(account_folder).rpartition("=")
    flipped = f"{int(signature[position], 16) ^ 1:x}"
    tampered = f"{head}={signature[:position]}{flipped}{signature[position + 1 :]}"

    assert refusal(request_of(tampered), accounts).code == "SignatureDoesNotMatch"


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({**HEADERS, "content-type": "text/plain"}, "SignatureDoesNotMatch"),
        ({**HEADERS, "x-goog-if-generation-match": "1"}, "SignatureDoesNotMatch"),
        ({**HEADERS, "host": "127.0.0.1:9198"}, "SignatureDoesNotMatch"),
        ({"content-type": "application/json"}, "MalformedSecurityHeader"),
        ({**HEADERS, "x-goog-meta-owner": "me"}, "MalformedSecurityHeader"),
    ],
)
def test_headers_other_than_the_signed_ones_are_refused(
    headers: dict[str, str], code: str, account_folder: Path, accounts: Accounts
) -> None:
    assert refusal(request_of(sign(account_folder), headers=headers), accounts).code == code


def test_key_of_another_account_is_refused(
    account_folder: Path, accounts: Accounts, tmp_path: Path
) -> None:
    load_or_create(tmp_path, "demo-continuon", Accounts())
    path = tmp_path / "service-account.json"

    assert refusal(request_of(sign(tmp_path)), accounts).code == "SignatureDoesNotMatch"

    renamed = {**json.loads(path.read_text()), "client_email": "stranger@example.test"}
    path.write_text(json.dumps(renamed))
    assert refusal(request_of(sign(tmp_path)), accounts).code == "AccessDenied"
    assert verify(request_of(sign(account_folder)), accounts, MOMENT)


@pytest.mark.parametrize(
    ("find", "replacement", "code"),
    [
        ("GOOG4-RSA-SHA256", "GOOG4-RSA-SHA1", "InvalidArgument"),
        ("X-Goog-Algorithm=GOOG4-RSA-SHA256&", "", "MalformedSecurityHeader"),
        ("X-Goog-Expires=600", "X-Goog-Expires=604801", "InvalidArgument"),
        ("X-Goog-Expires=600", "X-Goog-Expires=-5", "InvalidArgument"),
        ("X-Goog-Expires=600", "X-Goog-Expires=0", "InvalidArgument"),
        ("X-Goog-Date=20260102T030405Z", "X-Goog-Date=20260102T99", "MalformedSecurityHeader"),
        ("%2F20260102%2F", "%2F20260103%2F", "MalformedSecurityHeader"),
        ("goog4_request", "aws4_request", "MalformedSecurityHeader"),
        ("X-Goog-Signature=", "X-Goog-Signature=zz", "MalformedSecurityHeader"),
        ("host%3B", "", "MalformedSecurityHeader"),
        ("X-Goog-Date", "X-Goog-Expires=600&X-Goog-Date", "InvalidArgument"),
        ("content-type%3Bhost", "host%3Bcontent-type", "MalformedSecurityHeader"),
    ],
)
def test_malformed_claims_are_named(
    find: str, replacement: str, code: str, account_folder: Path, accounts: Accounts
) -> None:
    url = sign(account_folder)
    tampered = url.replace(find, replacement, 1)
    assert tampered != url

    error = refusal(request_of(tampered), accounts)
    assert (error.status, error.code) == (400, code)


def test_signed_body_digest_is_handed_on(account_folder: Path, accounts: Accounts) -> None:
    digest = hashlib.sha256(b"hello").hexdigest()
    headers = {**HEADERS, "x-goog-content-sha256": digest}

    request = request_of(sign(account_folder, headers=dict(headers)), headers=headers)
    assert verify(request, accounts, MOMENT).payload_sha256 == digest


# Method, path, further query, headers, and the digest of the canonical request as Google's
# published conformance suite for V4 signatures states it.
PUBLISHED: list[tuple[str, str, str, dict[str, str], str]] = [
    (
        "GET",
        "/test-bucket/test-object",
        "",
        {},
        "00e2fb794ea93d7adb703edaebdd509821fcc7d4f1a79ac5c8d2b394df109320",
    ),
    (
        "PUT",
        "/test-bucket/test-object",
        "",
        {},
        "78742860705da91404222d5d66ff89850292471199c3c2808d116ad12e6177b4",
    ),
    (
        "POST",
        "/test-bucket/test-object",
        "",
        {"x-goog-resumable": "start"},
        "877f8b40179d2753296f2fd6de815ab40503c7a3c446a7b44aa4e74422ff4daf",
    ),
    (
        "GET",
        "/test-bucket//path/with/slashes/under_score/amper%26sand/file.ext",
        "",
        {},
        "63c601ecd6ccfec84f1113fc906609cbdf7651395f4300cecd96ddd2c35164f8",
    ),
    (
        "GET",
        "/test-bucket/test-object",
        "",
        {"bar": "2023-02-10T03:", "foo": "2023-02-10T02:00:00Z"},
        "a2a6df7e6bd818894e1f60ac3c393901b512ca1cf1061ba602dace3fb38c19a6",
    ),
    (
        "GET",
        "/test-bucket/test-object",
        "",
        {
            "collapsed": "abc    def",
            "leading": "    xyz",
            "trailing": "abc    ",
            "tabs": "\tabc\t\t\t\tdef\t",
        },
        "19153e83555808dbfeb8969043cc8ce8d5db0cce91dc11fb9df58b8130f09d42",
    ),
    (
        "GET",
        "/test-bucket/test-object",
        "",
        {"multiple": " xyz ,  abc, def  , xyz   "},
        "4df8e486146c31f1c8cd4e4c730554cde4326791ba48ec11fa969a3de064cd7f",
    ),
    (
        "GET",
        "/test-bucket/test-object",
        "&aA0%C3%A9%2F%3D%25-_.~=~%20._-%25%3D%2F%C3%A90Aa",
        {},
        "448f96c23dafa8210900554e138b2b5fd55bc53ef53b8637cecc3edec45a8fcf",
    ),
    (
        "GET",
        "/test-bucket/test-object",
        "&prefix=%2Ffoo&X-Goog-Meta-Foo=bar",
        {},
        "4dafe74ad142f32b7c25fc4e6b38fd3b8a6339d7f112247573fb0066f637db6c",
    ),
]


@pytest.mark.parametrize(("method", "path", "extra", "headers", "digest"), PUBLISHED)
def test_canonical_request_is_the_published_one(
    method: str, path: str, extra: str, headers: dict[str, str], digest: str
) -> None:
    names = sorted({"host", *headers})
    query = (
        "X-Goog-Algorithm=GOOG4-RSA-SHA256&X-Goog-Credential=test-iam-credentials%40dummy-project-id"
        ".iam.gserviceaccount.com%2F20190201%2Fauto%2Fstorage%2Fgoog4_request"
        f"&X-Goog-Date=20190201T090000Z&X-Goog-Expires=10&X-Goog-SignedHeaders={'%3B'.join(names)}"
        f"{extra}&X-Goog-Signature=00"
    )
    request = SignedRequest(
        method=method,
        raw_path=path,
        raw_query=query,
        headers=[("host", "storage.googleapis.com"), *headers.items()],
    )

    text = canonical_request(request, names)
    assert hashlib.sha256(text.encode()).hexdigest() == digest
