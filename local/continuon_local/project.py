"""The project as the Firebase CLI sees it: ``firebase.json`` and what it refers to.

Beside it, ``continuon-local.toml`` names what exists in production before anything is deployed.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from continuon_local.errors import ConfigurationError
from continuon_local.events.manifest import ScheduleTrigger, load_manifest
from continuon_local.events.schedules import parse_schedule
from continuon_local.events.triggers import check_trigger
from continuon_local.hosting.config import HostingConfig, parse_hosting

if TYPE_CHECKING:
    from pathlib import Path

    from continuon_local.events.manifest import FunctionSpec

__all__ = ["Project", "load_project"]

_DEFAULT_CODEBASE = "default"


class _Codebase(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    source: str
    codebase: str = _DEFAULT_CODEBASE
    runtime: str | None = None
    ignore: list[str] = []
    predeploy: list[str] | str = []
    postdeploy: list[str] | str = []
    prefix: str | None = None
    disallow_legacy_runtime_config: bool | None = None


class _FirebaseJson(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Sections that other services read are kept as they are."""

    schema: str | None = msgspec.field(name="$schema", default=None)
    functions: list[_Codebase] | _Codebase = []
    hosting: Any = None
    firestore: Any = None
    storage: Any = None
    emulators: Any = None


class _LocalToml(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    buckets: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Project:
    """What a project folder declares.

    Attributes:
        root: The folder with ``firebase.json``.
        hosting: None where the file has no ``hosting`` section.
        firestore: The ``firestore`` section as it stands (``rules``, ``indexes``), or None.
        storage: The ``storage`` section as it stands (``rules``), or None.
        buckets: To be created at the start where missing.
        topics: The same, beside those of the event triggers.
    """

    root: Path
    functions: tuple[FunctionSpec, ...] = ()
    hosting: HostingConfig | None = None
    firestore: Any = None
    storage: Any = None
    buckets: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()


def load_project(root: Path) -> Project:
    """Read ``firebase.json`` in ``root`` and every manifest it names.

    A folder without ``firebase.json`` is a project without functions and hosting.

    Raises:
        ConfigurationError: A file breaks its schema, or two functions share a name.
    """
    path = root / "firebase.json"
    local = _read_local(root / "continuon-local.toml")
    if not path.exists():
        return Project(root=root, buckets=local.buckets, topics=local.topics)
    document = _read(path)
    codebases = document.functions
    if isinstance(codebases, _Codebase):
        codebases = [codebases]
    functions = tuple(
        spec for codebase in codebases for spec in _codebase_functions(root, path, codebase)
    )
    _refuse_repeated(path, functions)
    for spec in functions:
        check_trigger(spec)
        if isinstance(spec.trigger, ScheduleTrigger):
            parse_schedule(spec)
    return Project(
        root=root,
        functions=functions,
        hosting=None if document.hosting is None else parse_hosting(document.hosting, path),
        firestore=document.firestore,
        storage=document.storage,
        buckets=local.buckets,
        topics=local.topics,
    )


def _read(path: Path) -> _FirebaseJson:
    try:
        return msgspec.convert(json.loads(path.read_bytes()), _FirebaseJson)
    except (OSError, ValueError) as error:
        # msgspec.ValidationError and json.JSONDecodeError are both ValueErrors.
        raise ConfigurationError(f"{path}: {error}") from error


def _read_local(path: Path) -> _LocalToml:
    if not path.exists():
        return _LocalToml()
    try:
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), _LocalToml)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path}: {error}") from error


def _codebase_functions(root: Path, path: Path, codebase: _Codebase) -> tuple[FunctionSpec, ...]:
    source = (root / codebase.source).resolve()
    if not source.is_relative_to(root.resolve()):
        raise ConfigurationError(f"{path}: functions.source {codebase.source!r} leaves the project")
    return load_manifest(source / "functions.yaml", codebase=codebase.codebase)


def _refuse_repeated(path: Path, functions: tuple[FunctionSpec, ...]) -> None:
    seen: dict[tuple[str, str], str] = {}
    for spec in functions:
        other = seen.setdefault((spec.region, spec.id), spec.codebase)
        if other != spec.codebase:
            raise ConfigurationError(
                f"{path}: function {spec.id!r} is in codebases {other!r} and {spec.codebase!r}"
            )
