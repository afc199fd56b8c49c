"""From a model to a signed bundle: built, uploaded, listed."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import tempfile
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from continuon.contracts.episodes import SignedUpload
from continuon.contracts.ota import Archive, CreateBundleRequest, PublishMetadataRequest
from continuon.contracts.rollouts import RolloutStatus
from continuon.ota.bundle import BundleSize, write_bundle
from continuon.ota.manifest import (
    BundleFile,
    BundleManifest,
    Dependency,
    FileRole,
    Provenance,
    new_manifest,
    target_path,
)
from continuon.ota.trust import ceremony
from continuon.ota.trust.bundles import claims_of, new_target
from continuon.ota.trust.metadata import file_name, read_targets
from continuon.ota.versions import is_lower, parse_version
from continuon_cloud.errors import ApiProblem
from continuon_cloud.files import private_folder, replace_private
from continuon_cloud.ota.clock import TrustedClock
from continuon_cloud.ota.errors import UpdateError
from continuon_cloud.ota.fetcher import CappedFetcher
from continuon_cloud.ota.state import AgentState
from continuon_cloud.ota.verification import Verifier
from continuon_cloud.training.uploads import file_sha256, store_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tuf.api.metadata import TargetFile

    from continuon.contracts.models import ModelVersion
    from continuon_cloud.client import ContinuonClient
    from continuon_cloud.ota.key_folder import KeyFolder

__all__ = [
    "BundlePlan",
    "build_bundle",
    "publish_bundle",
    "read_dependencies",
    "upload_metadata",
    "withdraw_bundle",
]

CARD_FILE: Final = "README.md"
_PINNED: Final = re.compile(r"^\s*([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9][A-Za-z0-9._+!-]*)")
_CONFLICT: Final = 409
_PROVEN: Final = frozenset({RolloutStatus.PRODUCTION, RolloutStatus.SUPERSEDED})
_WAYS_BACK: Final = 3
"""Versions that are signed as a way back, when the publisher names none: the one before may turn
out to be bad as well."""

_ATTEMPTS: Final = 3
"""Publications of others, for the same robot model at the same time, that one gives way to."""


@dataclass(frozen=True, slots=True)
class BundlePlan:
    """What goes into a bundle.

    Attributes:
        files: Of the model.
        card: The model card; made from what the registry knows when None.
    """

    version: str
    robot_model: str
    requires_version: str
    files: tuple[Path, ...]
    card: Path | None = None
    model: ModelVersion | None = None
    code_digest: str | None = None
    dependencies: tuple[Dependency, ...] = ()


def build_bundle(plan: BundlePlan, out: Path) -> tuple[BundleManifest, BundleSize]:
    """Write the bundle to ``out``: the same plan gives the same bytes.

    Raises:
        BundleError: A name, a version or a size is not acceptable.
        OSError: A file cannot be read.
    """
    with tempfile.TemporaryDirectory() as folder:
        sources = {path.name: (path, FileRole.MODEL) for path in plan.files}
        card = plan.card
        if card is None:
            card = Path(folder) / CARD_FILE
            card.write_text(_card(plan), encoding="utf-8")
        sources[CARD_FILE] = (card, FileRole.CARD)
        if len(sources) != len(plan.files) + 1:
            raise UpdateError("two files of the bundle have the same name", code="usage")
        manifest = _manifest(plan, sources)
        with out.open("wb") as archive:
            size = write_bundle(manifest, lambda path: sources[path][0].open("rb"), archive)
    return manifest, size


def _manifest(plan: BundlePlan, sources: dict[str, tuple[Path, FileRole]]) -> BundleManifest:
    files = [
        BundleFile(path=name, size_bytes=path.stat().st_size, sha256=file_sha256(path), role=role)
        for name, (path, role) in sources.items()
    ]
    needs = plan.model.requirements if plan.model else {}
    needed = [Dependency(name=name, version=version) for name, version in needs.items()]
    return new_manifest(
        version=plan.version,
        robot_model=plan.robot_model,
        files=files,
        requires_version=plan.requires_version,
        provenance=_provenance(plan),
        dependencies=[*plan.dependencies, *needed],
    )


def _provenance(plan: BundlePlan) -> Provenance:
    model = plan.model
    if model is None:
        return Provenance(code_digest=plan.code_digest)
    return Provenance(
        model_id=model.model_id,
        model_version=str(model.version),
        training_job_id=model.training_job_id,
        episodes_digest=model.lineage.episodes_digest or _episodes_digest(model),
        code_digest=plan.code_digest,
    )


def _episodes_digest(model: ModelVersion) -> str | None:
    """Return a digest of the set of episodes, when the registry has the set and no digest."""
    if not model.lineage.episode_ids:
        return None
    lines = "".join(f"{one}\n" for one in sorted(model.lineage.episode_ids))
    return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"


def _card(plan: BundlePlan) -> str:
    lines = [f"# {plan.robot_model} {plan.version}", ""]
    if plan.model is not None:
        lines.append(f"Version {plan.model.version} of the model {plan.model.model_id}.")
        lines += [f"- {name}: {value:g}" for name, value in sorted(plan.model.metrics.items())]
        lines += ["", plan.model.release_notes] if plan.model.release_notes else []
    else:
        lines.append("Built from files; no registry knows this model.")
    return "\n".join(lines).rstrip() + "\n"


def read_dependencies(path: Path) -> list[Dependency]:
    """Read pinned requirements (``name==version`` a line), such as ``pip freeze`` writes.

    Raises:
        UpdateError: A line names a package without an exact version.
    """
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        text = line.split("#")[0].strip()
        if not text or text.startswith("-"):
            continue
        pinned = _PINNED.match(text)
        if pinned is None:
            raise UpdateError(f"{path}:{number}: {text[:80]!r} is not NAME==VERSION", code="usage")
        name, version = pinned[1], pinned[2]
        purl = f"pkg:pypi/{re.sub('[-_.]+', '-', name).lower()}@{version}"
        found.append(Dependency(name=name, version=version, purl=purl))
    return found


# --- Publishing ---------------------------------------------------------------------------------


async def publish_bundle(
    client: ContinuonClient,
    keys: KeyFolder,
    folder: Path,
    archive: Path,
    built: tuple[BundleManifest, BundleSize],
    *,
    fallback: Sequence[str] | None = None,
) -> tuple[str, ...]:
    """Upload a bundle and list it in its model's role; repeating it changes nothing.

    Args:
        client: Signed in as an operator.
        keys: Hold the key of the robot model.
        folder: Of the keys; what this publisher has verified of the cloud is kept in it.
        archive: The file.
        built: Its manifest, length and hash.
        fallback: Versions that robots may go back to from this one. None chooses the three highest
            lower ones that reached production and were not taken back.

    Returns:
        The versions that robots may go back to.

    Raises:
        ApiProblem: The cloud refused.
        UpdateError: The cloud's metadata is not what the keys say.
    """
    manifest, size = built
    # Before anything is sent: a bundle that nobody can sign for helps nobody.
    await _current_role(client, keys, folder, manifest.robot_model)
    request = CreateBundleRequest(
        manifest=manifest, archive=Archive(size_bytes=size.size_bytes, sha256=size.sha256)
    )
    created = await client.rollouts.create_bundle(request)
    if created.upload is not None:
        upload = SignedUpload.model_validate(
            {
                **created.upload.model_dump(),
                "path": archive.name,
                "resumable": created.upload.method == "POST",
            }
        )
        await store_file(client.http, upload, archive)
    proven = await _proven(client, manifest.robot_model)
    signed: list[tuple[str, ...]] = []

    def listed(role: bytes, now: datetime) -> bytes | None:
        known = read_targets(role).signed.targets
        path = target_path(manifest.robot_model, manifest.version)
        if path in known and known[path].hashes == {"sha256": size.sha256}:
            signed.append(claims_of(known[path]).fallback)
            return None
        back = fallback if fallback is not None else _way_back(manifest, known, proven)
        target = new_target(
            manifest.robot_model,
            manifest.version,
            manifest.requires_version,
            size_bytes=size.size_bytes,
            sha256=size.sha256,
            fallback=back,
        )
        signed.append(tuple(back))
        return ceremony.add_bundle(role, target, now)

    await _change_role(client, keys, folder, manifest.robot_model, listed)
    return signed[-1]


async def _proven(client: ContinuonClient, robot_model: str) -> list[str]:
    """Return the versions that the cloud says reached production and stayed; a suggestion."""
    return [
        bundle.version
        async for bundle in client.rollouts.bundles(robot_model=robot_model)
        if bundle.rollout.status in _PROVEN
    ]


def _way_back(
    manifest: BundleManifest, known: Mapping[str, TargetFile], proven: list[str]
) -> list[str]:
    versions = [claims_of(target).version for target in known.values()]
    lower = [one for one in versions if is_lower(one, manifest.version) and one in proven]
    return sorted(lower, key=parse_version, reverse=True)[:_WAYS_BACK]


async def withdraw_bundle(
    client: ContinuonClient, keys: KeyFolder, folder: Path, robot_model: str, version: str
) -> None:
    """Take a bundle out of its model's role: nobody installs it, who runs it may go lower."""

    def withdrawn(role: bytes, now: datetime) -> bytes:
        return ceremony.withdraw_bundle(role, robot_model, version, now)

    await _change_role(client, keys, folder, robot_model, withdrawn)


async def upload_metadata(
    client: ContinuonClient, keys: KeyFolder, names: Sequence[str]
) -> list[str]:
    """Send signed metadata to the cloud; return what is written there now."""
    files = {name: base64.b64encode(keys.read(name)).decode() for name in names}
    return (await client.rollouts.publish_metadata(PublishMetadataRequest(files=files))).files


async def _change_role(
    client: ContinuonClient,
    keys: KeyFolder,
    folder: Path,
    robot_model: str,
    change: Callable[[bytes, datetime], bytes | None],
) -> None:
    taken = 0
    for attempt in range(1, _ATTEMPTS + 1):
        current = await _current_role(client, keys, folder, robot_model)
        following = change(current, datetime.now(UTC))
        if following is None:
            return
        # A number that a broken upload of somebody else took is passed over.
        following, taken = ceremony.numbered(following, taken + 1)
        name = keys.put_model(robot_model, following)
        try:
            await upload_metadata(client, keys, [name])
        except ApiProblem as error:
            if error.status != _CONFLICT or attempt == _ATTEMPTS:
                raise
        else:
            return


async def _current_role(
    client: ContinuonClient, keys: KeyFolder, folder: Path, robot_model: str
) -> bytes:
    """Return the model's role as it is in the cloud, verified as a robot verifies it.

    A publisher who signed whatever the cloud says is current would sign a thief's list.
    """
    keys.require(robot_model)
    own = private_folder(folder / "client")
    replace_private(own / "root.json", keys.read(file_name("root", 1)))
    clock = TrustedClock()
    with closing(AgentState(own / "state.db")) as state:
        verifier = Verifier(
            own,
            client.settings.base_url + "/api/ota/metadata/",
            clock=clock,
            state=state,
            robot_model=robot_model,
        )
        fetcher = CappedFetcher(client.http, asyncio.get_running_loop(), clock)
        catalogue = await verifier.catalogue(fetcher)
    if not catalogue.has_role:
        raise UpdateError(
            f"the cloud does not know who signs for {robot_model}",
            code="trust.not_delegated",
            hint="Tell it: continuon ota keys upload",
        )
    current = (own / "metadata" / f"{robot_model}.json").read_bytes()
    keys.adopt(robot_model, current)
    return current
