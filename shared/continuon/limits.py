"""Every limit of the product, each with its unit and its reason, in this one place."""

from __future__ import annotations

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

# --- Episodes (see the validator) ---------------------------------------------------------------

MAX_STEPS: Final = 1_000_000
"""Steps of one episode: at 50 Hz more than five hours."""

MAX_MEMBER_BYTES: Final = 4 * 1024**3
"""Of one file of an episode."""
