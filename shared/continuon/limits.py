"""Every limit of the product, each with its unit and its reason, in this one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# --- Requests -----------------------------------------------------------------------------------

MAX_REQUEST_BYTES: Final = 1024 * 1024
"""Of an API request's body. The largest honest one lists 1,000 files at about 250 bytes each; the
platform itself would let 32 MB through to our memory."""

REQUESTS_PER_MINUTE: Final = 1_200
"""Of one proven caller at one instance: 20 a second. A robot with a backlog asks for about two URLs
a second, and one instance serves some hundreds of requests a second."""

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

# --- Callbacks out ------------------------------------------------------------------------------

WEBHOOK_TOLERANCE_S: Final = 300
"""How far a callback's timestamp may be from its receiver's clock, as for robots' signatures."""

WEBHOOK_TIMEOUT_S: Final = 10.0
"""Of one callback, from resolving the name to the end of the answer. A receiver stores and answers;
it works afterwards."""

WEBHOOK_MAX_ANSWER_BYTES: Final = 16 * 1024
"""Of a receiver's answer that are read. Nothing of it is kept but the status."""

WEBHOOK_CLAIM_S: Final = 60
"""How long one worker owns an attempt: longer than an attempt can take."""

WEBHOOK_BACKOFF_S: Final = (60, 300, 900, 3600, 3 * 3600, 6 * 3600, 12 * 3600)
"""Pauses after the first, second, ... failed attempt; after the last one the delivery has failed.
Together 22 hours: a receiver may be down for a working day."""

WEBHOOK_SECRET_OVERLAP_S: Final = 24 * 3600
"""How long a replaced secret still signs, next to the new one: time to change every receiver."""

WEBHOOK_MAX_SECRETS: Final = 3
"""Secrets that sign at once: the new one, and the old one also after a lost answer."""

WEBHOOK_KEPT_S: Final = 30 * 24 * 3600
"""How long what became of a callback can be looked up."""

WEBHOOK_DUE_AT_ONCE: Final = 20
"""Callbacks repeated in one round of the schedule: ten at a time, ten seconds each at most."""

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

# --- Training -----------------------------------------------------------------------------------

MAX_JOB_EPISODES: Final = 10_000
"""Episodes of one job: their ids stay in its document, which ends at 1 MiB and 40,000 index
entries, three for each id."""

MAX_JOB_EPISODES_BYTES: Final = 600 * KIB
"""Ids of a job's episodes together: what else a job's document holds needs the rest of 1 MiB."""

MAX_HYPERPARAMS_BYTES: Final = 16 * KIB
"""A job's hyperparameters as JSON: options of a program, not data."""

MAX_HYPERPARAMS_DEPTH: Final = 20
"""Nesting of a job's hyperparameters: options, and lists of layers of options."""

MAX_JOB_ATTEMPTS: Final = 5
"""How often a job is started before it fails: a fifth worker that dies is not bad luck."""

MAX_DISPATCH_ATTEMPTS: Final = 5
"""How often one start is tried before its message goes to the dead letters."""

DEFAULT_JOB_TIMEOUT_S: Final = 3600
"""How long a job may run from its first start, over all attempts, unless it says otherwise."""

MAX_JOB_TIMEOUT_S: Final = 7 * 24 * 3600
"""The longest a job may run: a week; longer trainings are split by their checkpoints."""

MAX_JOB_QUEUED_S: Final = 7 * 24 * 3600
"""How long a job waits for a worker before it fails: a laptop may be shut over a holiday week."""

HEARTBEAT_S: Final = 15
"""How often a trainer says that it lives: 4 document writes a minute for each running job."""

JOB_LEASE_S: Final = 60
"""How long a job stays with a worker that is not heard of: four missed heartbeats."""

JOB_POLL_S: Final = 30
"""After how much silence the watchdog asks the backend about a job: half a lease, so that an exit
is noticed before silence would be."""

JOB_START_S: Final = 300
"""How long a started trainer may take until it is first heard of: images are pulled and libraries
loaded. Waiting for a machine is not counted."""

DISPATCH_LEASE_S: Final = 120
"""How long one dispatcher owns a start: its function is stopped after 60 s, see functions.yaml."""

REDISPATCH_S: Final = 180
"""After how long a queued job's message counts as lost: longer than a dispatch lease, so that a
dispatcher that is merely slow is not raced."""

JOB_CLEANUP_GRACE_S: Final = 120
"""How long a trainer may take to end by itself after it reported its end; then it is stopped."""

JOB_TOKEN_GRACE_S: Final = 24 * 3600
"""How long after a job's end its token still gets the answer "stop"; it is good for nothing
else. A worker that slept that long learns nothing more."""

MAX_ARTIFACT_BYTES: Final = 100 * GIB
"""Of one stored checkpoint or model."""

VERIFY_ARTIFACT_BYTES: Final = 256 * MIB
"""Up to this size the SHA-256 of a stored artifact is computed when a callback names it: about
0.3 s of one request. Above, its size is compared, and registration reads it once anyway."""

MAX_METRICS_PER_CALLBACK: Final = 64
"""Numbers in one callback or one row of metrics."""

MAX_METRIC_ROWS_PER_REQUEST: Final = 500
"""Rows in one request: with 64 numbers each they stay under half a document."""

MAX_METRIC_ROWS: Final = 100_000
"""Rows of one job: a plot has about a thousand points across."""

MAX_LOG_CHUNK_BYTES: Final = 64 * KIB
"""Of one chunk of a trainer's log."""

MAX_LOG_BYTES: Final = 16 * MIB
"""Of one job's log. A trainer that says more keeps a file of its own."""

MAX_JOB_ERROR_CHARS: Final = 4_000
"""Of a trainer's error message: a traceback's end."""

DEFAULT_MONTHLY_BUDGET_USD: Final = 50.0
"""What an account may spend on training in a month until its owner says otherwise, in dollars."""

MAX_MONTHLY_BUDGET_USD: Final = 10_000.0
"""The most an owner may allow themselves, in US dollars; a typing mistake costs no more."""

# --- Over the air -------------------------------------------------------------------------------

OTA_LEASE_S: Final = 3600
"""How long a robot that says nothing keeps its place in a disruption budget, in seconds: the
download of a bundle over a slow link takes less between two reports."""

OTA_MAX_ATTEMPT_S: Final = 4 * 3600
"""How long reports can extend one attempt, in seconds: a robot that downloads for ever must not
keep others waiting."""

OTA_MAX_FAILURES: Final = 3
"""Failed installations in a row after which a robot rests."""

OTA_REST_S: Final = 24 * 3600
"""How long a robot rests after that, in seconds: its owner has a day to look at it."""

OTA_CHECK_INTERVAL_S: Final = 900
"""When a robot that is up to date asks again, in seconds: a halt reaches it within this time."""

OTA_BUSY_RETRY_S: Final = 300
"""When a robot whose own state is in the way asks again, in seconds."""

OTA_MAX_RETRY_S: Final = 6 * 3600
"""The longest wait that a robot is told, in seconds: a window may be changed meanwhile."""

OTA_SPACE_FACTOR: Final = 2.0
"""Free bytes that a robot needs, as a multiple of the archive: the archive, and what is in it."""

MAX_OTA_SOAK_S: Final = 30 * 24 * 3600
"""Of one stage of a rollout, in seconds: a month. Longer is a forgotten rollout."""

MAX_OTA_TASK_TRIALS: Final = 10**9
"""Tasks that one robot may report for one bundle: one a second for thirty years."""

OTA_BUDGET_PROBES: Final = 8
"""Places of a disruption budget that one check looks at, in documents read. A budget up to this
size is used to its last place; of a larger one a full look would cost more than asking again."""
