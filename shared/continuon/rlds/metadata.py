"""The rules of `metadata.json`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from continuon.rlds import codes, shapes
from continuon.rlds._json import DuplicateKeyError, JsonFault, is_finite_number, loads, unique_pairs

if TYPE_CHECKING:
    from continuon.limits import Limits
    from continuon.rlds.report import Findings

FILE: Final = "metadata.json"
SUPPORTED_MAJOR: Final = 1
_VERSION: Final = re.compile(r"(\d{1,6})\.(\d{1,6})(?:\.\d{1,6})?")

XR_MODES: Final = frozenset({"trainer", "workstation", "observer", "autonomous", "inference"})
CONTROL_ROLES: Final = frozenset(
    {
        "human_teleop",
        "human_supervisor",
        "human_dev_xr",
        "autonomous_agent",
        "pilot",
        "observer",
    }
)
_XR_MARKERS: Final = ("xr_mode", "control_role", "software")
_XR_STRINGS: Final = ("xr_mode", "control_role", "environment_id")
_SOFTWARE_FIELDS: Final = ("xr_app", "continuonbrain_os", "glove_firmware")

_JSON_CODES: Final = {
    "utf8": codes.TEXT_NOT_UTF8,
    "depth": codes.LIMITS_DEPTH,
    "nonfinite": codes.METADATA_INVALID,
    "syntax": codes.METADATA_INVALID,
}


class ExpectedIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """What was proven at upload; None means nothing was.

    Attributes:
        robot_id: The robot whose key signed the request.
        episode_id: The episode the upload was granted for.
        step_count: Announced with the request.
    """

    robot_id: str | None = None
    episode_id: str | None = None
    step_count: int | None = None


@dataclass(slots=True)
class Metadata:
    """What the rest of the validator needs to know from the metadata.

    Attributes:
        values: The normalised object, None when it is absent or unreadable.
        profile: `xr` or `base`.
        schema_version: As recorded, "1.0" when missing.
        step_count: Declared number of steps.
        duration_ms: Declared duration.
        shape: Shape of the client, as far as the metadata tells.
        no_upload: A privacy block forbids upload.
        pii_pending: Personal data awaits review.
    """

    values: dict[str, Any] | None = None
    profile: Literal["xr", "base"] = "base"
    schema_version: str | None = None
    step_count: int | None = None
    duration_ms: float | None = None
    shape: str = shapes.CANONICAL
    no_upload: bool = False
    pii_pending: bool = False

    def text(self, name: str) -> str | None:
        """Return a string field, or None."""
        value = (self.values or {}).get(name)
        return value if isinstance(value, str) else None


def check_metadata(
    data: bytes, findings: Findings, limits: Limits, expected: ExpectedIdentity | None
) -> Metadata:
    """Read and check `metadata.json`, adding what is wrong to `findings`."""
    try:
        value = loads(data, max_depth=limits.depth, pairs_hook=unique_pairs)
    except JsonFault as fault:
        findings.add(_JSON_CODES[fault.kind], fault.message, file=FILE, path=fault.path)
        return Metadata()
    except DuplicateKeyError as error:
        findings.add(codes.METADATA_DUPLICATE_KEY, f"the key {error} occurs twice", file=FILE)
        return Metadata()
    if not isinstance(value, dict):
        findings.add(codes.METADATA_TYPE, "the metadata is not an object", file=FILE)
        return Metadata()
    beyond = _beyond_64_bits(value, "")
    if beyond is not None:
        message = "a number does not fit into 64 bits"
        findings.add(codes.METADATA_NUMBER, message, file=FILE, path=beyond)
        return Metadata()
    return _Check(value, findings).run(expected)


def _beyond_64_bits(value: Any, path: str) -> str | None:
    """Return where the first number stands that neither an int64 nor a double holds."""
    if isinstance(value, dict):
        items = ((f"{path}.{key}" if path else key, item) for key, item in value.items())
    elif isinstance(value, list):
        items = ((f"{path}[{index}]", item) for index, item in enumerate(value))
    else:
        wide = type(value) is int and not -(2**63) <= value < 2**63
        return path if wide or (type(value) is float and not math.isfinite(value)) else None
    found = (_beyond_64_bits(item, name) for name, item in items)
    return next((hit for hit in found if hit is not None), None)


class _Check:
    """One pass over one metadata object."""

    def __init__(self, value: dict[str, Any], findings: Findings) -> None:
        self._value = value
        self._findings = findings
        self._meta = Metadata(values=value)

    def run(self, expected: ExpectedIdentity | None) -> Metadata:
        self._meta.no_upload = _forbids_upload(self._value)
        if self._meta.no_upload:
            self._add(codes.PRIVACY_NO_UPLOAD, "the recording is marked no_upload", "privacy")
        self._normalise()
        self._version()
        self._plain_fields()
        self._xr_profile()
        self._identity(expected or ExpectedIdentity())
        self._meta.pii_pending = _pii_pending(self._value)
        return self._meta

    def _add(self, code: str, message: str, path: str) -> None:
        self._findings.add(code, message, file=FILE, path=path)

    def _normalise(self) -> None:
        try:
            self._value, changed = shapes.normalise_metadata(self._value)
        except shapes.ShapeFault as fault:
            self._add(codes.SHAPE_UNKNOWN, fault.message, fault.path)
            return
        self._meta.values = self._value
        if self._value.get("source") == "flutter_companion":
            self._meta.shape = shapes.FLUTTER
        elif changed:
            self._meta.shape = shapes.KOTLIN

    def _version(self) -> None:
        version = self._value.get("schema_version")
        if version is None:
            self._meta.schema_version = "1.0"
            return
        match = _VERSION.fullmatch(version) if isinstance(version, str) else None
        if match is None:
            self._add(codes.METADATA_TYPE, 'schema_version is not "MAJOR.MINOR"', "schema_version")
            return
        self._meta.schema_version = version
        if int(match[1]) != SUPPORTED_MAJOR:
            message = f"schema_version {version} is not {SUPPORTED_MAJOR}.x"
            self._add(codes.METADATA_VERSION, message, "schema_version")

    def _plain_fields(self) -> None:
        for name in ("episode_id", "robot_id", "robot_model", "frame_convention"):
            if not isinstance(self._value.get(name), str | None):
                self._add(codes.METADATA_TYPE, f"{name} is not a string", name)
        count = self._value.get("step_count")
        if type(count) is int and count >= 0:
            self._meta.step_count = count
        elif count is not None:
            self._add(codes.METADATA_TYPE, "step_count is not a count", "step_count")
        duration = self._value.get("duration_ms")
        if is_finite_number(duration) and duration >= 0:
            self._meta.duration_ms = float(duration)
        elif duration is not None:
            self._add(codes.METADATA_TYPE, "duration_ms is not a duration", "duration_ms")

    def _xr_profile(self) -> None:
        if not any(marker in self._value for marker in _XR_MARKERS):
            return
        self._meta.profile = "xr"
        for name in _XR_STRINGS:
            self._require_string(self._value, name, name)
        self._tags()
        software = self._value.get("software")
        if software is None:
            self._add(codes.METADATA_FIELD_MISSING, "software is missing", "software")
        elif not isinstance(software, dict):
            self._add(codes.METADATA_TYPE, "software is not an object", "software")
        else:
            for name in _SOFTWARE_FIELDS:
                self._require_string(software, name, f"software.{name}")
        self._known("xr_mode", XR_MODES)
        self._known("control_role", CONTROL_ROLES)

    def _tags(self) -> None:
        tags = self._value.get("tags")
        if tags is None:
            self._add(codes.METADATA_FIELD_MISSING, "tags is missing", "tags")
        elif not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
            self._add(codes.METADATA_TYPE, "tags is not a list of strings", "tags")

    def _require_string(self, block: dict[str, Any], name: str, path: str) -> None:
        value = block.get(name)
        if value is None:
            self._add(codes.METADATA_FIELD_MISSING, f"{path} is missing", path)
        elif not isinstance(value, str):
            self._add(codes.METADATA_TYPE, f"{path} is not a string", path)

    def _known(self, name: str, known: frozenset[str]) -> None:
        value = self._value.get(name)
        if isinstance(value, str) and value not in known:
            message = f"{name} {value[:64]!r} is not a known value"
            self._add(codes.METADATA_UNKNOWN_VALUE, message, name)

    def _identity(self, expected: ExpectedIdentity) -> None:
        for name in ("robot_id", "episode_id", "step_count"):
            proven = getattr(expected, name)
            recorded = self._value.get(name)
            if proven is not None and recorded is not None and recorded != proven:
                message = f"{name} is not the {name} that was proven at upload"
                self._add(codes.METADATA_IDENTITY, message, name)


def _forbids_upload(value: Any) -> bool:
    """Search every `privacy` block, bare or prefixed, at any depth."""
    if isinstance(value, list):
        return any(_forbids_upload(item) for item in value)
    if not isinstance(value, dict):
        return False
    return any(
        is_no_upload(item) if _is_privacy(key) and is_no_upload(item) else _forbids_upload(item)
        for key, item in value.items()
    )


def _is_privacy(key: str) -> bool:
    return key == "privacy" or key.endswith(".privacy")


def is_no_upload(block: Any) -> bool:
    """Whether a privacy block forbids upload; a string "true" counts, to err on the safe side."""
    if not isinstance(block, dict):
        return False
    value = block.get("no_upload")
    return value is True or (isinstance(value, str) and value.strip().lower() == "true")


def _pii_pending(metadata: dict[str, Any]) -> bool:
    safety = metadata.get("safety")
    if not isinstance(safety, dict):
        return False
    attested = safety.get("pii_attestation")
    attestation = attested if isinstance(attested, dict) else {}
    cleared = safety.get("pii_cleared") is True or attestation.get("pii_cleared") is True
    return attestation.get("pii_present") is True and not cleared
