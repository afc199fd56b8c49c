"""What a robot model's role says of its bundles, and what it may never say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import Field, ValidationError
from tuf.api.metadata import TargetFile, Targets

from continuon.contracts.base import Contract
from continuon.ota.errors import TrustError
from continuon.ota.manifest import RobotModel, target_path
from continuon.ota.versions import BundleVersion, Requirement, is_lower

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["BundleClaims", "bundle_id_of", "check_bundles", "claims_of", "new_target"]

MAX_BUNDLES: Final = 2_000
"""Listed by one role; its file stays under 1 MiB. Withdraw old ones before."""

MAX_FALLBACKS: Final = 8
"""Versions that one bundle may name to go back to; one is usual."""

_SHA256_CHARS: Final = 64


class BundleClaims(Contract):
    """The custom part of a target: what the publisher signs beside length and hash.

    Attributes:
        bundle_id: As the cloud names it.
        version: Of the bundle.
        robot_model: For which it was made.
        requires_version: What the robot's software must be.
        fallback: Lower versions that a robot which ran this one may go back to. It is signed
            before anything went wrong, so that a rollout that halts by night needs no publisher;
            and it is short, so that whoever takes the cloud over can send robots nowhere else.
    """

    bundle_id: str
    version: BundleVersion
    robot_model: RobotModel
    requires_version: Requirement = ""
    fallback: Annotated[tuple[BundleVersion, ...], Field(max_length=MAX_FALLBACKS)] = ()


def bundle_id_of(robot_model: str, version: str) -> str:
    """Return the id of the one bundle of a robot model and a version."""
    return f"{robot_model}-{version}"


def new_target(
    robot_model: str,
    version: str,
    requires_version: str,
    *,
    size_bytes: int,
    sha256: str,
    fallback: Sequence[str] = (),
) -> TargetFile:
    """Return the entry of a bundle; see `BundleClaims` for what its parts mean.

    Raises:
        TrustError: A part of it is not acceptable.
    """
    claims = {
        "bundle_id": bundle_id_of(robot_model, version),
        "version": version,
        "robot_model": robot_model,
        "requires_version": requires_version,
        "fallback": list(fallback),
    }
    path = target_path(robot_model, version)
    target = TargetFile(size_bytes, {"sha256": sha256}, path, {"custom": claims})
    claims_of(target)
    return target


def claims_of(target: TargetFile) -> BundleClaims:
    """Return what is signed of a bundle.

    Raises:
        TrustError: The entry contradicts itself.
    """
    custom: Any = target.custom
    try:
        claims = BundleClaims.model_validate(custom)
    except ValidationError as error:
        raise TrustError(f"{target.path}: custom fields are missing", code="trust.scope") from error
    expected = target_path(claims.robot_model, claims.version)
    named = claims.bundle_id == bundle_id_of(claims.robot_model, claims.version)
    if target.path != expected or not named:
        raise TrustError(f"{target.path}: custom fields are of another bundle", code="trust.scope")
    if not all(is_lower(one, claims.version) for one in claims.fallback):
        raise TrustError(f"{target.path}: a fallback is a lower version", code="trust.scope")
    if set(target.hashes) != {"sha256"} or len(target.hashes["sha256"]) != _SHA256_CHARS:
        raise TrustError(f"{target.path}: one SHA-256 is expected", code="trust.scope")
    return claims


def check_bundles(robot_model: str, new: Targets, before: Targets | None) -> None:
    """Check the entries of a role against its robot model and against what it said before.

    Raises:
        TrustError: An entry is of another model, delegates further, or changes a published bundle.
    """
    if new.delegations is not None:
        raise TrustError(f"{robot_model}: a model's role delegates no further", code="trust.scope")
    if len(new.targets) > MAX_BUNDLES:
        raise TrustError(f"{robot_model}: more than {MAX_BUNDLES} bundles", code="trust.scope")
    for path, target in new.targets.items():
        if claims_of(target).robot_model != robot_model:
            raise TrustError(f"{path} is not of {robot_model}", code="trust.scope")
        known = before.targets.get(path) if before else None
        if known is not None and (known.length, known.hashes) != (target.length, target.hashes):
            raise TrustError(
                f"{path} was published with other content; give it a new version",
                code="trust.immutable",
            )
