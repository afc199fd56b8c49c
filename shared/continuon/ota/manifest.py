"""The manifest of a bundle: what is inside, for which robot, and where it comes from.

``manifest.json`` is the first file of a bundle. It cannot hold the hash of the archive it is part
of: ``checksum`` covers the list of the other files, the signed metadata covers the archive.
"""

from __future__ import annotations

import hashlib
import json
import re
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final, Self

from pydantic import Field, StringConstraints, ValidationError, model_validator

from continuon.contracts.base import Contract
from continuon.ota.errors import BundleError
from continuon.ota.versions import BundleVersion, Requirement

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "MANIFEST_FILE",
    "ROBOT_MODEL",
    "BundleFile",
    "BundleManifest",
    "Dependency",
    "FileRole",
    "Provenance",
    "RobotModel",
    "checksum_of",
    "new_manifest",
    "read_manifest",
    "target_path",
]

MANIFEST_FILE: Final = "manifest.json"
SCHEMA_VERSION: Final = 1
MAX_MANIFEST_BYTES: Final = 256 * 1024
"""In bytes: 64 files and 500 dependencies at under 400 bytes each; it is held in memory."""

MAX_FILES: Final = 64
"""Of one bundle, without the manifest. A sharded checkpoint has a dozen."""

MAX_FILE_BYTES: Final = 4 * 1024**3
"""Of one file of a bundle."""

MAX_DEPENDENCIES: Final = 500
"""Entries of the list of dependencies: a frozen environment of a trainer has about 150."""

RESERVED_ROLES: Final = frozenset({"root", "targets", "snapshot", "timestamp"})
"""Names of top-level roles, which no robot model may have: the model names the delegated role."""

ROBOT_MODEL: Final = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
"""The model part of a robot's URI. It names a role, a folder of objects and a part of a path."""

_SEGMENT = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}"
_PATH: Final = rf"^{_SEGMENT}(?:/{_SEGMENT}){{0,3}}$"
_MAX_PATH_CHARS: Final = 100
"""What a plain tar header holds; a bundle needs no extension headers."""

_SHA256: Final = r"^[0-9a-f]{64}$"
_TEXT: Final = StringConstraints(min_length=1, max_length=200)

RobotModel = Annotated[str, StringConstraints(pattern=ROBOT_MODEL.pattern)]
Sha256 = Annotated[str, StringConstraints(pattern=_SHA256)]


class FileRole(StrEnum):
    """What a file of a bundle is."""

    MODEL = "model"
    CARD = "card"
    OTHER = "other"


class BundleFile(Contract):
    """One file of a bundle."""

    path: Annotated[str, StringConstraints(pattern=_PATH, max_length=_MAX_PATH_CHARS)]
    size_bytes: Annotated[int, Field(ge=0, le=MAX_FILE_BYTES)]
    sha256: Sha256
    role: FileRole = FileRole.OTHER


class Provenance(Contract):
    """Where the model comes from; every link that is known, none that is guessed.

    Attributes:
        model_id: In the model registry.
        model_version: Of that model.
        training_job_id: The job that made it.
        episodes_digest: Over the episodes that it learned from, as the job recorded it.
        code_digest: Over the training code, as the job recorded it.
    """

    model_id: Annotated[str, _TEXT] | None = None
    model_version: Annotated[str, _TEXT] | None = None
    training_job_id: Annotated[str, _TEXT] | None = None
    episodes_digest: Annotated[str, _TEXT] | None = None
    code_digest: Annotated[str, _TEXT] | None = None


class Dependency(Contract):
    """One thing that the model was made with or needs: the line of a bill of materials.

    Attributes:
        name: As its package index knows it.
        version: Exact.
        purl: Package URL, when there is one (``pkg:pypi/numpy@2.3.1``).
        sha256: Of the artefact, when it is known.
    """

    name: Annotated[str, _TEXT]
    version: Annotated[str, _TEXT]
    purl: Annotated[str, StringConstraints(max_length=300)] | None = None
    sha256: Sha256 | None = None


class BundleManifest(Contract):
    """``manifest.json``.

    Attributes:
        schema_version: Of this form; a reader refuses one it does not know.
        checksum: ``sha256:`` and the hash of the list of files, see :func:`checksum_of`.
        size_bytes: Of all files together, without the manifest and the archive's own blocks.
        requires_version: What the robot's software must be, see :mod:`continuon.ota.versions`.
        files: Sorted by path; the archive holds exactly these, in this order.
    """

    schema_version: Annotated[int, Field(ge=1)] = SCHEMA_VERSION
    version: BundleVersion
    robot_model: RobotModel
    checksum: Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
    size_bytes: Annotated[int, Field(ge=0)]
    requires_version: Requirement = ""
    provenance: Provenance = Provenance()
    dependencies: Annotated[tuple[Dependency, ...], Field(max_length=MAX_DEPENDENCIES)] = ()
    files: Annotated[tuple[BundleFile, ...], Field(min_length=1, max_length=MAX_FILES)]

    @model_validator(mode="after")
    def _files_fit(self) -> Self:
        _check_names(self.robot_model, [file.path for file in self.files])
        if not any(file.role is FileRole.MODEL for file in self.files):
            raise ValueError("a bundle has at least one model file")
        if self.checksum != checksum_of(self.files):
            raise ValueError("checksum is not that of the list of files")
        if self.size_bytes != sum(file.size_bytes for file in self.files):
            raise ValueError("size_bytes is not that of the files together")
        return self

    def to_bytes(self) -> bytes:
        """Return the one form of this manifest: keys sorted, ASCII, no superfluous spaces."""
        document = self.model_dump(mode="json", exclude_none=True)
        return (json.dumps(document, sort_keys=True, separators=(",", ":")) + "\n").encode("ascii")


def new_manifest(
    *,
    version: str,
    robot_model: str,
    files: Iterable[BundleFile],
    requires_version: str = "",
    provenance: Provenance | None = None,
    dependencies: Iterable[Dependency] = (),
) -> BundleManifest:
    """Return the manifest of a bundle with ``files``, in any order.

    Raises:
        BundleError: A field or the list of files is not acceptable.
    """
    listed = tuple(sorted(files, key=lambda file: file.path))
    fields = {
        "version": version,
        "robot_model": robot_model,
        "checksum": checksum_of(listed),
        "size_bytes": sum(file.size_bytes for file in listed),
        "requires_version": requires_version,
        "provenance": provenance or Provenance(),
        "dependencies": tuple(sorted(dependencies, key=lambda one: (one.name, one.version))),
        "files": listed,
    }
    try:
        return BundleManifest.model_validate(fields)
    except ValidationError as error:
        raise BundleError(_first(error), code="bundle.manifest_invalid") from error


def read_manifest(data: bytes) -> BundleManifest:
    """Read ``manifest.json``.

    Raises:
        BundleError: It is no manifest, or of a form that this reader does not know.
    """
    try:
        manifest = BundleManifest.model_validate_json(data)
    except ValidationError as error:
        raise BundleError(_first(error), code="bundle.manifest_invalid") from error
    if manifest.schema_version > SCHEMA_VERSION:
        raise BundleError(
            f"manifest: schema_version {manifest.schema_version} is newer than {SCHEMA_VERSION}",
            code="bundle.schema_unknown",
        )
    return manifest


def checksum_of(files: Iterable[BundleFile]) -> str:
    """Return ``sha256:`` and the hash of one line for each file, sorted by path.

    A line is hash, two spaces, size in bytes, two spaces, path, newline.
    """
    ordered = sorted(files, key=lambda file: file.path)
    lines = (f"{file.sha256}  {file.size_bytes}  {file.path}\n" for file in ordered)
    return "sha256:" + hashlib.sha256("".join(lines).encode()).hexdigest()


def target_path(robot_model: str, version: str) -> str:
    """Return the path of a bundle in signed metadata and below the store's folder of bundles."""
    return f"{robot_model}/{version}.bundle"


def _check_names(robot_model: str, paths: list[str]) -> None:
    if robot_model.lower() in RESERVED_ROLES:
        raise ValueError(f"{robot_model!r} is the name of a top-level role")
    if paths != sorted(paths):
        raise ValueError("files are not sorted by path")
    # Some robots' file systems do not tell cases apart.
    folded = [path.lower() for path in paths]
    if len(set(folded)) != len(folded) or MANIFEST_FILE in folded:
        raise ValueError("two files have the same path")
    if any(below.startswith(path + "/") for path in folded for below in folded):
        raise ValueError("a path is both a file and a folder")


def _first(error: ValidationError) -> str:
    found = error.errors()[0]
    place = ".".join(str(part) for part in found["loc"])
    return f"manifest: {place or 'form'}: {found['msg']}"
