"""Every problem and warning of the episode validator, in one place.

A code is stable, dotted and lower case: programs compare it, people read the sentence. Run
`python -m continuon.rlds` to print the table that the documentation shows.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Literal

Severity = Literal["problem", "warning"]


@dataclass(frozen=True, slots=True)
class Code:
    """One kind of finding.

    Attributes:
        name: The stable code.
        severity: A `problem` refuses the episode, a `warning` does not.
        sentence: What is wrong.
        remedy: What the recorder or its owner can do.
    """

    name: str
    severity: Severity
    sentence: str
    remedy: str


CODES: dict[str, Code] = {}


def _code(name: str, severity: Severity, sentence: str, remedy: str) -> str:
    CODES[name] = Code(name, severity, sentence, remedy)
    return name


def _problem(name: str, sentence: str, remedy: str) -> str:
    return _code(name, "problem", sentence, remedy)


def _warning(name: str, sentence: str, remedy: str) -> str:
    return _code(name, "warning", sentence, remedy)


_REPACK = "Pack the episode again and upload the new archive."
_RECORDER = "Fix the recorder, or cut the episode before this step."

# Packaging
ARCHIVE_TRUNCATED = _problem("archive.truncated", "The archive ends before its end mark.", _REPACK)
ARCHIVE_INVALID = _problem("archive.invalid", "The bytes are not a well-formed archive.", _REPACK)
ARCHIVE_UNSUPPORTED = _problem(
    "archive.unsupported",
    "The archive uses a feature that cannot be read forward and safely.",
    "Use plain tar, gzip or deflate; no encryption, no multi-part archives.",
)
ARCHIVE_MEMBER_UNSAFE = _problem(
    "archive.member_unsafe",
    "A member is a link or a device, or its name leaves the episode folder.",
    "Pack regular files under one folder, with relative names.",
)
ARCHIVE_MEMBER_UNKNOWN = _problem(
    "archive.member_unknown",
    "A member is not part of the episode layout.",
    "Pack only metadata.json, steps, blobs and manifest.json.",
)
ARCHIVE_DUPLICATE = _problem("archive.duplicate_member", "A name occurs twice.", _REPACK)
ARCHIVE_TOO_LARGE = _problem(
    "archive.too_large", "The episode is larger than the limit.", "Record shorter episodes."
)
FILES_PATH_UNSAFE = _problem(
    "files.path_unsafe",
    "A file's name leaves the episode folder or has forbidden characters.",
    "Use relative names of letters, digits, dot, dash and underscore.",
)
FILES_UNKNOWN = _warning(
    "files.unknown", "A file is not part of the episode layout; it is ignored.", "Remove the file."
)
FILES_SIZE = _problem(
    "files.size_mismatch", "A file has another size than announced.", "Send the file again."
)
FILES_DUPLICATE = _problem("files.duplicate", "A file name occurs twice.", "Send each file once.")

# Limits
LIMITS_DEPTH = _problem("limits.depth", "JSON is nested too deeply.", "Flatten the value.")
LIMITS_LINE_SIZE = _problem(
    "limits.line_size",
    "A line of the steps file is longer than the limit; the rest was not read.",
    "Put large values into a file under blobs/.",
)
LIMITS_METADATA_SIZE = _problem(
    "limits.metadata_size", "metadata.json is larger than the limit.", "Move bulk data to blobs/."
)
LIMITS_MANIFEST_SIZE = _problem(
    "limits.manifest_size", "manifest.json is larger than the limit.", "List each file once."
)
LIMITS_STEPS = _problem("limits.steps", "There are too many steps.", "Split the episode.")
LIMITS_MEMBERS = _problem("limits.members", "There are too many files.", "Split the episode.")
LIMITS_MEMBER_SIZE = _problem(
    "limits.member_size", "A file is larger than the limit.", "Split the episode."
)
LIMITS_DOCUMENT_SIZE = _problem(
    "limits.document_size",
    "The single-document episode is larger than the limit.",
    "Upload an archive or a folder.",
)

# Text
TEXT_NOT_UTF8 = _problem(
    "text.not_utf8", "The text is not UTF-8 without a byte order mark.", "Write UTF-8."
)

# Document form
DOCUMENT_INVALID = _problem(
    "document.invalid",
    'The document is not one JSON object {"metadata": {...}, "steps": [...]}.',
    "Write strict JSON with both members.",
)

# Metadata
METADATA_MISSING = _problem("metadata.missing", "There is no metadata.json.", "Add it.")
METADATA_INVALID = _problem(
    "metadata.json_invalid", "The metadata is not strict JSON.", "Write strict JSON."
)
METADATA_DUPLICATE_KEY = _problem(
    "metadata.duplicate_key", "A key occurs twice in one object.", "Write each key once."
)
METADATA_TYPE = _problem("metadata.type", "A metadata value has the wrong type.", "Fix the type.")
METADATA_NUMBER = _problem(
    "metadata.number_range",
    "A number of the metadata does not fit into 64 bits, so it could not be kept exactly.",
    "Write it as a string.",
)
METADATA_FIELD_MISSING = _problem(
    "metadata.field_missing", "A field that the profile requires is missing.", "Add the field."
)
METADATA_VERSION = _problem(
    "metadata.version_unsupported",
    "The schema_version has a major number this validator does not know.",
    "Update the cloud, or record with schema 1.x.",
)
METADATA_IDENTITY = _problem(
    "metadata.identity_mismatch",
    "The episode names another robot or episode than was proven at upload.",
    "Upload each episode with the robot that recorded it.",
)
METADATA_UNKNOWN_VALUE = _warning(
    "metadata.unknown_value", "A value is not in the known list; it is kept.", "None needed."
)
METADATA_DURATION = _warning(
    "metadata.duration_mismatch", "duration_ms disagrees with the steps.", "Write last minus first."
)
PRIVACY_NO_UPLOAD = _problem(
    "privacy.no_upload",
    "The episode is marked no_upload; what was uploaded is deleted.",
    "Do not upload it.",
)

OBJECT_CHECKSUM = _problem(
    "object.checksum_mismatch",
    "The stored object differs from the SHA-256 that was announced for it.",
    "Compare it with the robot's copy and upload that under a new episode id.",
)

# Manifest
MANIFEST_INVALID = _problem(
    "manifest.invalid", "manifest.json is not strict JSON of the known form.", "Write it again."
)
MANIFEST_MISMATCH = _problem(
    "manifest.checksum_mismatch",
    "A file differs from the size or SHA-256 in manifest.json.",
    "Write the manifest after the files.",
)
MANIFEST_FILE_MISSING = _problem(
    "manifest.file_missing", "manifest.json lists a file that is absent.", "Add the file."
)

# Steps as a whole
STEPS_MISSING = _problem("steps.missing", "There is no steps file.", "Add steps.jsonl or steps/.")
STEPS_BOTH_FORMS = _problem(
    "steps.both_forms", "There are both steps.jsonl and steps/.", "Keep one of them."
)
STEPS_EMPTY = _problem("steps.empty", "There is no step.", "Record at least one step.")
STEPS_SHARD_GAP = _problem(
    "steps.shard_gap", "The numbers of the shards under steps/ have a gap.", "Number from 000000."
)
STEPS_COUNT_MISMATCH = _problem(
    "steps.count_mismatch", "step_count disagrees with the steps.", "Count the steps written."
)

# One step
STEPS_JSON_INVALID = _problem(
    "steps.json_invalid", "A line is not one strict JSON value.", _RECORDER
)
STEPS_NONFINITE = _problem("steps.nonfinite", "A number is NaN or infinite.", _RECORDER)
STEPS_TYPE = _problem("steps.type", "A value of a step has the wrong type.", _RECORDER)
STEPS_FIELD_MISSING = _problem("steps.field_missing", "A step lacks a required field.", _RECORDER)
STEPS_INDEX = _problem("steps.index", "step_index does not count 0, 1, 2, ...", _RECORDER)
STEPS_FLAGS = _problem(
    "steps.flags",
    "is_first, is_last or is_terminal is missing or set on the wrong step.",
    "Set is_first on the first and is_last on the last step of the episode only.",
)
STEPS_TIME_ORDER = _problem("steps.time_order", "timestamp_ns decreases.", "Use a monotonic clock.")
STEPS_TIME_TYPE = _problem(
    "steps.time_type", "A time is not a JSON integer of 64 bits.", "Write nanoseconds as integer."
)
STEPS_TIME_ALIGNMENT = _problem(
    "steps.time_alignment",
    "Vision and robot state are more than 5 ms apart.",
    "Synchronise the sensors' clocks.",
)
ACTION_MISSING = _problem("action.missing", "A step has no action with a command.", _RECORDER)
ACTION_EMPTY = _problem(
    "action.empty", "action.command is empty.", "Record the command that the robot executed."
)
ACTION_DIMENSION = _problem(
    "action.dimension", "action.command changes its length.", "Keep one length per episode."
)
STATE_DIMENSION = _problem(
    "state.dimension", "A robot_state list changes its length.", "Keep one length per episode."
)
STATE_ABSENT = _warning(
    "state.absent", "A robot_state list of the first step is absent later.", "Write it always."
)
VECTOR_LENGTH = _problem(
    "steps.vector_length",
    "A quaternion has not 4, a position not 3, flex not 5 or fsr not 8 numbers.",
    _RECORDER,
)
GAZE_NOT_UNIT = _problem(
    "gaze.not_unit", "gaze.direction is not of unit length.", "Normalise the direction."
)
FRAMES_ID_MISMATCH = _problem(
    "frames.id_mismatch", "The frame ids within a step differ.", "Use one id per captured frame."
)
STEP_METADATA_VALUE = _warning(
    "step_metadata.not_string", "A step_metadata value is turned into a string.", "Write strings."
)
INSTRUCTION_MISSING = _warning(
    "instruction.missing", "The first step has no language_instruction.", "Name the task."
)

# Blobs
BLOBS_PATH_UNSAFE = _problem(
    "blobs.path_unsafe",
    "A media reference is not a plain relative path under blobs/.",
    "Write blobs/NAME; no scheme, no absolute path, no dots.",
)
BLOBS_MISSING = _problem("blobs.missing", "A referenced blob is absent.", "Add the file.")
BLOBS_EMPTY = _problem("blobs.empty", "A referenced blob has no bytes.", "Record the frame.")
BLOBS_CHECKSUM = _problem(
    "blobs.checksum_mismatch", "A blob differs from its recorded SHA-256.", "Send the file again."
)
BLOBS_UNREFERENCED = _warning(
    "blobs.unreferenced", "A blob is not referenced by any step.", "Remove it."
)

# Shapes
SHAPE_KOTLIN = _warning(
    "shape.kotlin", "The camelCase shape of the XR app was normalised.", "None needed."
)
SHAPE_FLUTTER = _warning(
    "shape.flutter", "The shape of the companion app was recognised.", "None needed."
)
SHAPE_UNKNOWN = _problem(
    "shape.unknown",
    "A client's shape cannot be normalised without loss or guessing.",
    "Record in the documented shape.",
)

ELIGIBILITY_PII_PENDING = "eligibility.pii_pending"
"""Not a finding but a reason in `eligibility.reasons`: personal data awaits review."""
ELIGIBILITY_INVALID = "eligibility.invalid"
"""Reason: an invalid episode is never used for training."""

ELIGIBILITY_REASONS: dict[str, str] = {
    ELIGIBILITY_PII_PENDING: "Personal data is attested and not cleared; a person must review it.",
    ELIGIBILITY_INVALID: "The episode is invalid.",
}


def render_markdown() -> str:
    """Return the table of all codes as Markdown, sorted by code.

    Returns:
        Two tables, findings and eligibility reasons, ending in a newline.
    """
    lines = ["| code | kind | meaning | remedy |", "|---|---|---|---|"]
    lines += [
        f"| `{code.name}` | {code.severity} | {code.sentence} | {code.remedy} |"
        for code in sorted(CODES.values(), key=lambda code: code.name)
    ]
    lines += ["", "| eligibility reason | meaning |", "|---|---|"]
    lines += [f"| `{name}` | {text} |" for name, text in sorted(ELIGIBILITY_REASONS.items())]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(render_markdown())
