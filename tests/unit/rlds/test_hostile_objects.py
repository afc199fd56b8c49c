"""Archives made to do harm, limits, and sources that fail."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
import zlib
from typing import TYPE_CHECKING

import pytest

from continuon.limits import Limits
from continuon.rlds import (
    EpisodeMember,
    Packaging,
    Report,
    ReportError,
    SourceError,
    codes,
    detect_packaging,
    validate_members,
    validate_path,
    validate_stream,
)
from rlds_samples import (
    codes_of,
    make,
    pack_document,
    pack_tar,
    pack_zip,
    replace_bytes,
    tiny,
    validate,
    validate_bytes,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SMALL = tiny()


def _tar(**fields: object) -> bytes:
    """Pack the sample and one more member with these fields of its header."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path, data in SMALL.items():
            info = tarfile.TarInfo(path)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        info = tarfile.TarInfo("blobs/evil")
        for name, value in fields.items():
            setattr(info, name, value)
        archive.addfile(info, io.BytesIO(bytes(info.size)))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, codes.ARCHIVE_MEMBER_UNSAFE),
        ({"type": tarfile.LNKTYPE, "linkname": "metadata.json"}, codes.ARCHIVE_MEMBER_UNSAFE),
        ({"type": tarfile.CHRTYPE}, codes.ARCHIVE_MEMBER_UNSAFE),
        ({"type": tarfile.FIFOTYPE}, codes.ARCHIVE_MEMBER_UNSAFE),
        ({"name": "/etc/passwd"}, codes.ARCHIVE_MEMBER_UNSAFE),
        ({"name": "blobs/../../evil"}, codes.ARCHIVE_MEMBER_UNSAFE),
        ({"name": "blobs/a"}, codes.ARCHIVE_DUPLICATE),
        ({"name": "run.sh"}, codes.ARCHIVE_MEMBER_UNKNOWN),
        ({"name": "C:/evil"}, codes.ARCHIVE_MEMBER_UNSAFE),
        ({"name": "blobs\\evil"}, codes.ARCHIVE_MEMBER_UNSAFE),
        ({"name": "blobs/" + "a" * 600}, codes.ARCHIVE_MEMBER_UNSAFE),
        ({"name": "other/metadata.json"}, codes.ARCHIVE_MEMBER_UNKNOWN),
    ],
)
def test_hostile_tar_member_is_refused(fields: dict[str, object], code: str) -> None:
    report = validate_bytes(_tar(**fields), Packaging.TAR)
    assert codes_of(report) == {code}


def test_top_folder_is_taken_off_but_only_one() -> None:
    assert validate_bytes(pack_tar(SMALL, top="ep_1/"), Packaging.TAR).problems == []
    assert validate_bytes(pack_tar(SMALL, top="./"), Packaging.TAR).problems == []
    assert validate_bytes(pack_tar(SMALL, top="./ep_1/"), Packaging.TAR).problems == []
    report = validate_bytes(pack_tar(SMALL, top="././"), Packaging.TAR)
    assert report.verdict == "invalid"
    report = validate_bytes(pack_tar(SMALL, top="a/b/"), Packaging.TAR)
    assert codes.ARCHIVE_MEMBER_UNKNOWN in codes_of(report)


def test_extension_header_of_gigabytes_is_not_read_into_memory() -> None:
    header = bytearray(tarfile.TarInfo("x").tobuf(tarfile.GNU_FORMAT))
    header[156:157] = b"L"
    header[124:136] = b"77777777777\x00"
    total = sum(header[:148]) + sum(header[156:]) + 8 * 32
    header[148:156] = b"%06o\x00 " % total
    report = validate_bytes(bytes(header) + bytes(4096), Packaging.TAR)
    assert codes_of(report) == {codes.ARCHIVE_UNSUPPORTED}


def test_tar_header_with_a_wrong_checksum_is_refused() -> None:
    data = pack_tar(SMALL)
    report = validate_bytes(b"n" + data[1:], Packaging.TAR)
    assert codes_of(report) == {codes.ARCHIVE_INVALID}


def test_bytes_after_the_end_of_an_archive_are_refused() -> None:
    for data, packaging in (
        (pack_tar(SMALL), Packaging.TAR),
        (pack_tar(SMALL, kind="gz"), Packaging.TAR_GZ),
        (pack_zip(SMALL), Packaging.ZIP),
    ):
        assert validate_bytes(data, packaging).problems == []
        report = validate_bytes(data + b"x" * 600, packaging)
        assert report.verdict == "invalid"


def test_gzip_of_several_members_is_one_stream() -> None:
    data = pack_tar(SMALL)
    halves = gzip.compress(data[:1000]) + gzip.compress(data[1000:])
    assert validate_bytes(halves, Packaging.TAR_GZ, size=11).problems == []


def test_zip_whose_directory_names_other_files_is_refused() -> None:
    data = pack_zip(SMALL)
    start = data.rindex(b"PK\x01\x02")
    other = data[:start] + replace_bytes(data[start:], b"blobs/a", b"blobs/b")
    assert codes_of(validate_bytes(other, Packaging.ZIP)) == {codes.ARCHIVE_INVALID}


def test_zip_whose_directory_hides_a_member_is_refused() -> None:
    data = pack_zip(SMALL)
    first, second = data.index(b"PK\x01\x02"), data.rindex(b"PK\x01\x02")
    assert first != second
    hidden = data[:second] + data[data.rindex(b"PK\x05\x06") :]
    assert codes_of(validate_bytes(hidden, Packaging.ZIP)) == {codes.ARCHIVE_INVALID}


def test_zip_member_with_a_wrong_crc_is_refused() -> None:
    data = pack_zip(SMALL, stored=True)
    report = validate_bytes(replace_bytes(data, b"blobPK", b"blubPK"), Packaging.ZIP)
    assert codes_of(report) == {codes.ARCHIVE_INVALID}


def test_zip_with_links_encryption_or_other_compression_is_refused() -> None:
    link = zipfile.ZipInfo("blobs/link")
    link.external_attr = 0o120777 << 16
    link.create_system = 3
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, data in SMALL.items():
            archive.writestr(path, data)
        archive.writestr(link, "/etc/passwd")
    assert codes.ARCHIVE_MEMBER_UNSAFE in codes_of(validate_bytes(buffer.getvalue(), Packaging.ZIP))
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as archive:
            archive.writestr("metadata.json", b"{}")
        report = validate_bytes(buffer.getvalue(), Packaging.ZIP)
        assert codes_of(report) == {codes.ARCHIVE_UNSUPPORTED}
    encrypted = bytearray(pack_zip(SMALL))
    encrypted[6] |= 1
    report = validate_bytes(bytes(encrypted), Packaging.ZIP)
    assert codes_of(report) == {codes.ARCHIVE_UNSUPPORTED}


def test_zip_with_64_bit_sizes_is_read() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in SMALL.items():
            with archive.open(path, "w", force_zip64=True) as member:
                member.write(data)
    data = buffer.getvalue()
    assert struct.pack("<H", 45) in data
    assert validate_bytes(data, Packaging.ZIP).problems == []


def test_zip_that_names_a_member_twice_is_refused() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("metadata.json", b"{}")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("metadata.json", b"{}")
    report = validate_bytes(buffer.getvalue(), Packaging.ZIP)
    assert codes.ARCHIVE_DUPLICATE in codes_of(report)


def test_empty_objects_are_invalid() -> None:
    for packaging in Packaging:
        assert validate_bytes(b"", packaging).verdict == "invalid"
    assert validate_members([]).verdict == "invalid"


@pytest.mark.parametrize(
    ("steps", "count"),
    [
        (b"[]", 0),
        (b" [ ] ", 0),
        (b"[{}]", 1),
        (b'[1,"a,b]",[1,[2]], {"a":[1,{"b":2}]} ]', 4),
        (b'[\n{"a":\r\n1},\n\n{}\n]', 2),
        (b'["\\"", "[", "\\\\"]', 3),
    ],
)
def test_document_is_taken_apart_at_its_values(steps: bytes, count: int) -> None:
    data = b'{"metadata":{},"steps":' + steps + b"}"
    report = validate_bytes(data, Packaging.DOCUMENT)
    assert report.counts.steps == count
    assert codes.STEPS_JSON_INVALID not in codes_of(report)


@pytest.mark.parametrize(
    "document",
    [
        b"[]",
        b"{}",
        b'{"metadata":{}}',
        b'{"steps":[]}',
        b'{"metadata":{},"steps":{}}',
        b'{"metadata":{},"steps":null}',
        b'{"metadata":{},"steps":[]}{}',
        b'{"metadata":{},"steps":[NaN]}',
    ],
)
def test_document_of_another_form_is_refused(document: bytes) -> None:
    report = validate_bytes(document, Packaging.DOCUMENT)
    assert codes_of(report) == {codes.DOCUMENT_INVALID}


# --- Limits --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (Limits(line_bytes=100), codes.LIMITS_LINE_SIZE),
        (Limits(steps=5), codes.LIMITS_STEPS),
        (Limits(members=4), codes.LIMITS_MEMBERS),
        (Limits(member_bytes=1_000), codes.LIMITS_MEMBER_SIZE),
        (Limits(episode_bytes=2_000), codes.ARCHIVE_TOO_LARGE),
        (Limits(metadata_bytes=100), codes.LIMITS_METADATA_SIZE),
        (Limits(depth=3), codes.LIMITS_DEPTH),
    ],
)
def test_each_limit_is_enforced_for_folders_and_archives(limits: Limits, code: str) -> None:
    files = make(8)
    assert code in codes_of(validate(files, limits=limits))
    assert code in codes_of(validate_bytes(pack_tar(files), Packaging.TAR, limits=limits))
    assert code in codes_of(validate_bytes(pack_zip(files), Packaging.ZIP, limits=limits))


def test_step_limit_holds_on_the_batch_path_and_over_shards() -> None:
    assert validate(make(300), limits=Limits(steps=300)).problems == []
    report = validate(make(300), limits=Limits(steps=299))
    assert codes.LIMITS_STEPS in codes_of(report)
    report = validate(make(12, shards=3), limits=Limits(steps=11))
    assert codes.LIMITS_STEPS in codes_of(report)


def test_document_limit_is_met_before_the_document_is_read() -> None:
    pulled = 0

    def endless() -> Iterator[bytes]:
        nonlocal pulled
        for _ in range(100):
            pulled += 1
            yield b" " * 1000

    limits = Limits(document_bytes=5_000, episode_bytes=20_000)
    report = validate_stream(endless(), packaging=Packaging.DOCUMENT, limits=limits)
    assert codes.LIMITS_DOCUMENT_SIZE in codes_of(report)
    assert report.sha256 is None
    assert pulled < 25


def test_compressed_zeros_stop_at_the_line_limit() -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    zeros = packer.compress(bytes(50_000_000)) + packer.flush()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("steps.jsonl", bytes(50_000_000))
    assert len(zeros) < 100_000
    report = validate_bytes(buffer.getvalue(), Packaging.ZIP)
    assert codes_of(report) == {codes.LIMITS_LINE_SIZE}
    assert report.sha256 is not None


def test_honest_blob_that_compresses_well_is_accepted() -> None:
    files = {**SMALL, "blobs/a": bytes(3_000_000)}
    data = pack_zip(files)
    assert len(data) * 690 < 3_000_000 * 1.5
    assert validate_bytes(data, Packaging.ZIP).problems == []


def test_nest_of_a_hundred_thousand_levels_is_refused_everywhere() -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    line = b'{"observation":{},"action":{"command":[1]},"x":' + deep + b"}"
    files = {"metadata.json": b"{}", "steps.jsonl": line}
    assert codes_of(validate(files)) == {codes.LIMITS_DEPTH}
    document = b'{"metadata":{},"steps":[' + line + b"]}"
    report = validate_bytes(document, Packaging.DOCUMENT)
    assert codes_of(report) == {codes.LIMITS_DEPTH}


# --- Sources -------------------------------------------------------------------------------------


class _BrokenPipeError(Exception):
    pass


def _failing(data: bytes) -> Iterator[bytes]:
    yield data
    raise _BrokenPipeError


def test_error_of_the_byte_source_escapes_unchanged() -> None:
    for packaging in Packaging:
        with pytest.raises(_BrokenPipeError):
            validate_stream(_failing(pack_tar(SMALL)[:700]), packaging=packaging)
    member = EpisodeMember("steps.jsonl", None, _failing(b"{}\n"))
    with pytest.raises(_BrokenPipeError):
        validate_members([member])


def test_announced_size_must_be_the_real_one() -> None:
    members = [
        EpisodeMember(path, len(data) + (path == "blobs/a"), [data]) for path, data in SMALL.items()
    ]
    assert codes_of(validate_members(members)) == {codes.FILES_SIZE}


def test_path_on_disk_gives_the_same_report_as_the_stream(tmp_path: Path) -> None:
    folder = tmp_path / "ep"
    for path, data in SMALL.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    assert validate_path(folder) == validate(SMALL)
    for name, data, packaging in (
        ("a.tar.gz", pack_tar(SMALL, kind="gz"), Packaging.TAR_GZ),
        ("a.zip", pack_zip(SMALL), Packaging.ZIP),
        ("a.json", pack_document(SMALL), Packaging.DOCUMENT),
    ):
        (tmp_path / name).write_bytes(data)
        assert validate_path(tmp_path / name) == validate_bytes(data, packaging)


def test_link_in_a_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b'{"robot_id":"other"}')
    folder = tmp_path / "ep"
    folder.mkdir()
    (folder / "metadata.json").symlink_to(tmp_path / "secret")
    (folder / "steps.jsonl").write_bytes(SMALL["steps.jsonl"])
    report = validate_path(folder)
    assert report.robot_id is None
    assert codes.FILES_PATH_UNSAFE in codes_of(report)


def test_path_that_is_not_there_is_a_source_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot read"):
        validate_path(tmp_path / "none")


def test_packaging_is_told_by_bytes_then_type_then_name() -> None:
    assert detect_packaging(pack_zip(SMALL)[:512], "x.json", "application/json") is Packaging.ZIP
    assert detect_packaging(pack_tar(SMALL)[:512]) is Packaging.TAR
    assert detect_packaging(b"\x1f\x8b\x08") is Packaging.TAR_GZ
    assert detect_packaging(b' {"a"') is Packaging.DOCUMENT
    assert detect_packaging(b"", None, "application/gzip; x") is Packaging.TAR_GZ
    assert detect_packaging(b"??", "A.TGZ") is Packaging.TAR_GZ
    assert detect_packaging(b"??") is Packaging.DOCUMENT


def test_report_is_read_back_and_other_bytes_are_refused() -> None:
    report = validate(SMALL)
    assert Report.from_json(report.to_json()) == report
    for data in (b"", b"{}", b"[" * 5_000, b"\xff"):
        with pytest.raises(ReportError):
            Report.from_json(data)


def test_codes_are_dotted_lower_case_and_in_the_table() -> None:
    table = codes.render_markdown()
    for name, code in codes.CODES.items():
        head, _, tail = name.partition(".")
        assert head.isidentifier()
        assert tail.isidentifier()
        assert name == name.lower()
        assert f"| `{name}` | {code.severity} |" in table
        assert code.sentence.endswith(".")
        assert code.remedy.endswith(".")
