"""Every limit of the product, each with its unit and its reason, in this one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# --- Requests -----------------------------------------------------------------------------------

MAX_REQUEST_BYTES: Final = 1024 * 1024
"""Of an API request's body. The largest honest one lists 1,000 files at about 250 bytes each; the
platform itself would let 32 MB through to our memory."""

MAX_FILES_PER_REQUEST: Final = 1_000
"""Signed URLs in one answer: each costs one RSA signature (about 0.7 ms). A recording with more
files uploads one archive."""

MAX_PAGE_SIZE: Final = 100
"""Documents in one page of a list: the answer stays under 1 MB."""

DEFAULT_PAGE_SIZE: Final = 20
"""Documents in one page when the caller does not say."""

# --- Proofs -------------------------------------------------------------------------------------

SIGNATURE_WINDOW_S: Final = 300
"""How far a signature's ``created`` may be from now, both ways: robots have drifting clocks, and a
nonce has to be remembered for twice this long."""

CLAIM_MAX_AGE_S: Final = 900
"""How long a claim proof may live: a person carries it from the robot to the app."""

CLAIM_CLOCK_SKEW_S: Final = 60
"""How far ahead a claim proof's ``iat`` may be."""

MAX_NONCE_CHARS: Final = 64
"""A nonce becomes part of a document id."""

# --- Uploads ------------------------------------------------------------------------------------

MAX_DURATION_MS: Final = 7 * 24 * 3600 * 1000
"""Of one episode: a week. Longer is a broken clock."""

MAX_OBJECT_BYTES: Final = 10 * 1024**3
"""Of one uploaded archive: an episode may have 10 GiB unpacked, and packing does not enlarge."""

RESUMABLE_THRESHOLD_BYTES: Final = 8 * 1024**2
"""From this size an upload gets a resumable session: below it, starting again costs less than the
extra round trip."""

UPLOAD_URL_TTL_S: Final = 3600
"""How long a signed upload URL works. Asking again renews it."""

DOWNLOAD_URL_TTL_S: Final = 900
"""How long a signed download URL works."""

# --- Work ---------------------------------------------------------------------------------------

INGEST_LEASE_S: Final = 600
"""How long one worker owns an ingest: an event function is stopped after 540 s, so a lease that
outlives it can only belong to a dead one."""

IDEMPOTENCY_TTL_S: Final = 24 * 3600
"""How long an ``Idempotency-Key`` is remembered."""

# --- Models -------------------------------------------------------------------------------------

MODEL_MAX_BYTES: Final = 2 * 1024**3
"""One artifact: the completion check reads it whole to prove its SHA-256, and Hosting gives a
request 60 s, in which a function reads this much at 36 MB/s."""

MODEL_MAX_EPISODES: Final = 10_000
"""Episodes in one version's lineage: one index entry each, of 40,000 that a document may have."""

MODEL_MAX_LINEAGE_BYTES: Final = 700 * 1024
"""Their ids together: they share a document of at most 1 MiB with everything else."""

MODEL_MAX_METRICS: Final = 100
"""Named numbers of one version."""

MODEL_MAX_REQUIREMENTS: Final = 50
"""Named requirements of one version."""

MODEL_MAX_NOTES_CHARS: Final = 20_000
"""Release notes: pages, not a book."""

MODEL_MAX_REASON: Final = 500
"""Why an alias was moved, in characters."""

# --- Episodes (see the validator) ---------------------------------------------------------------

MAX_STEPS: Final = 1_000_000
"""Steps of one episode: at 50 Hz more than five hours."""

MAX_MEMBER_BYTES: Final = 4 * 1024**3
"""Of one file of an episode."""

# --- The episode validator; sizes are absolute, never a ratio: an honest blank recording was
# --- seen to compress 690-fold ------------------------------------------------------------------

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB

EPISODE_MAX_LINE_BYTES: Final = 1 * MIB
"""One line of a steps file. A step of the largest robot seen is 6 KiB; blobs go to files."""

EPISODE_MAX_DEPTH: Final = 32
"""Nesting of JSON arrays and objects. The format needs 6; readers on robots recurse."""

EPISODE_MAX_METADATA_BYTES: Final = 256 * KIB
"""`metadata.json`, which ends in a database document of at most 1 MiB."""

EPISODE_MAX_MANIFEST_BYTES: Final = 8 * MIB
"""`manifest.json`: 20,000 members at under 400 bytes an entry; it is held in memory."""

EPISODE_MAX_STEPS: Final = MAX_STEPS
"""Steps of an episode: 5.5 hours at 50 Hz; bounds the per-episode bookkeeping."""

EPISODE_MAX_MEMBERS: Final = 20_000
"""Files of an episode; their names and digests are held in memory (about 200 bytes each)."""

EPISODE_MAX_MEMBER_BYTES: Final = MAX_MEMBER_BYTES
"""One unpacked file of an episode."""

EPISODE_MAX_BYTES: Final = 10 * GIB
"""A whole episode, unpacked, and also the uploaded object itself."""

EPISODE_MAX_DOCUMENT_BYTES: Final = 64 * MIB
"""An episode as one JSON document. It has no blobs and is held in memory while it is checked."""

EPISODE_MAX_PATH_BYTES: Final = 512
"""Name of one file inside an episode; an object name in the store ends at 1,024 bytes."""

EPISODE_MAX_FINDINGS_PER_CODE: Final = 50
"""Problems or warnings listed under one code; the total is always counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the episode validator accepts; the defaults are the format's own limits.

    Attributes:
        line_bytes: Longest line of a steps file, in bytes.
        depth: Deepest nesting of JSON arrays and objects.
        metadata_bytes: Largest `metadata.json`.
        manifest_bytes: Largest `manifest.json`.
        steps: Most steps.
        members: Most files.
        member_bytes: Largest unpacked file.
        episode_bytes: Largest sum of unpacked files, and largest uploaded object.
        document_bytes: Largest single-document episode.
        path_bytes: Longest file name, in bytes of UTF-8.
        findings_per_code: Problems or warnings listed per code.
    """

    line_bytes: int = EPISODE_MAX_LINE_BYTES
    depth: int = EPISODE_MAX_DEPTH
    metadata_bytes: int = EPISODE_MAX_METADATA_BYTES
    manifest_bytes: int = EPISODE_MAX_MANIFEST_BYTES
    steps: int = EPISODE_MAX_STEPS
    members: int = EPISODE_MAX_MEMBERS
    member_bytes: int = EPISODE_MAX_MEMBER_BYTES
    episode_bytes: int = EPISODE_MAX_BYTES
    document_bytes: int = EPISODE_MAX_DOCUMENT_BYTES
    path_bytes: int = EPISODE_MAX_PATH_BYTES
    findings_per_code: int = EPISODE_MAX_FINDINGS_PER_CODE


DEFAULT_LIMITS = Limits()

# --- Plans --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PlanLimits:
    """What a plan allows: documents that an account may own."""

    robots: int
    episodes: int


PLANS: Final = {
    "free": PlanLimits(robots=25, episodes=100_000),
    "fleet": PlanLimits(robots=10_000, episodes=100_000_000),
}
"""By plan name. The smallest covers a lab; nothing here is a technical bound."""
