"""The function manifest: ``functions/<codebase>/functions.yaml``, as the Firebase CLI deploys it.

The keys and their types are those of the CLI's ``v1alpha1`` manifest; what the CLI would refuse
is refused here, so that a manifest that runs on the local cloud also deploys. Triggers that the
local cloud does not emulate (callable, task queue, blocking) are refused by name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import msgspec
import yaml

from continuon_local.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["EventTrigger", "FunctionSpec", "HttpsTrigger", "ScheduleTrigger", "load_manifest"]

DEFAULT_REGION = "us-central1"
"""Where the Firebase CLI deploys an endpoint that names no region."""

DEFAULT_TIMEOUT_S = 60
"""The timeout of a second-generation function that states none, in seconds."""

DEFAULT_MEMORY_MB = 256
"""The memory of a function that states none, in MiB."""

_CPU_OF_LARGE = {4096: 2.0, 8192: 2.0, 16384: 4.0, 32768: 8.0}
"""What the Firebase CLI gives a function that states no ``cpu``, by its memory; otherwise one."""

_CPU_LIKE_GEN1 = {128: 0.0833, 256: 0.1666, 512: 0.3333, 1024: 0.5833, **_CPU_OF_LARGE}
"""The same for ``cpu: gcf_gen1``."""

_MAX_TIMEOUT_S = {"https": 3600, "event": 540, "schedule": 1800}
"""Upper bounds by trigger, in seconds, from the quota page of Cloud Functions."""

_FUNCTION_ID = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,61}[A-Za-z0-9]")
_UNSUPPORTED_TRIGGERS = (
    "callableTrigger",
    "dataConnectHttpsTrigger",
    "taskQueueTrigger",
    "blockingTrigger",
)

_T = TypeVar("_T", bound=msgspec.Struct)
_Count = Annotated[int, msgspec.Meta(ge=0)]
_MemoryMb = Literal[128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768]


class _Strict(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """Camel-case keys; an unknown one is an error."""


class HttpsTrigger(_Strict):
    """Called over HTTPS; ``invoker`` lists who may (production only)."""

    invoker: list[str] | None = None


class EventTrigger(_Strict):
    """Called with a CloudEvent whose type and attributes match.

    Attributes:
        event_type: For example ``google.cloud.storage.object.v1.finalized``.
        event_filters: Attributes that must be equal, by name.
        event_filter_path_patterns: Attributes that must match a path pattern with captures.
        retry: Whether a failed delivery is repeated, for up to 24 hours.
    """

    event_type: str
    event_filters: dict[str, str]
    retry: bool
    event_filter_path_patterns: dict[str, str] = {}
    region: str | None = None
    service_account: str | None = None
    service_account_email: str | None = None
    channel: str | None = None


class RetryConfig(_Strict):
    """How Cloud Scheduler repeats a failed call."""

    retry_count: _Count | None = None
    max_doublings: _Count | None = None
    min_backoff_seconds: _Count | None = None
    max_backoff_seconds: _Count | None = None
    max_retry_seconds: _Count | None = None


class ScheduleTrigger(_Strict):
    """Called by Cloud Scheduler, at the times of ``schedule`` in ``time_zone``."""

    schedule: str
    time_zone: str | None = None
    retry_config: RetryConfig | None = None


class _Vpc(_Strict):
    connector: str
    egress_settings: str | None = None


class _SecretVariable(_Strict):
    key: str
    secret: str | None = None
    project_id: str | None = None
    version: str | None = None


class _Endpoint(_Strict):
    platform: Literal["gcfv2"]
    entry_point: str
    region: list[str] | None = None
    available_memory_mb: _MemoryMb | None = None
    max_instances: _Count | None = None
    min_instances: _Count | None = None
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=1000)] | None = None
    timeout_seconds: Annotated[int, msgspec.Meta(ge=1)] | None = None
    cpu: float | Literal["gcf_gen1"] | None = None
    service_account: str | None = None
    service_account_email: str | None = None
    vpc: _Vpc | None = None
    labels: dict[str, str] | None = None
    ingress_settings: str | None = None
    environment_variables: dict[str, str] = {}
    secret_environment_variables: list[_SecretVariable] | None = None
    omit: bool = False
    https_trigger: HttpsTrigger | None = None
    event_trigger: EventTrigger | None = None
    schedule_trigger: ScheduleTrigger | None = None


class _RequiredApi(_Strict):
    api: str
    reason: str | None = None


class _Manifest(_Strict):
    spec_version: Literal["v1alpha1"]
    endpoints: dict[str, Any]
    required_apis: list[_RequiredApi] = msgspec.field(name="requiredAPIs", default_factory=list)


@dataclass(frozen=True, kw_only=True)
class FunctionSpec:
    """One function as the manifest declares it, defaults filled in.

    Attributes:
        id: The name it is deployed under.
        codebase: The name of its codebase in ``firebase.json``.
        source: The codebase folder, absolute.
        entry_point: The name of the function in ``main.py``.
        timeout_s: How long one request may take, in seconds.
        memory_mb: What an instance has, in MiB.
        cpu: How many vCPUs an instance has.
    """

    id: str
    codebase: str
    source: Path
    entry_point: str
    region: str
    trigger: HttpsTrigger | EventTrigger | ScheduleTrigger
    timeout_s: int = DEFAULT_TIMEOUT_S
    memory_mb: int = DEFAULT_MEMORY_MB
    cpu: float = 1.0
    environment: Mapping[str, str]

    @property
    def signature_type(self) -> str:
        """``cloudevent`` for event triggers, ``http`` for the others."""
        return "cloudevent" if isinstance(self.trigger, EventTrigger) else "http"

    @property
    def trigger_key(self) -> str:
        """The key that the Firebase CLI's functions emulator gives a background trigger."""
        return f"{self.region}-{self.id}-0"


def load_manifest(path: Path, *, codebase: str) -> tuple[FunctionSpec, ...]:
    """Read one ``functions.yaml``.

    Raises:
        ConfigurationError: The file is missing, is no YAML, or breaks the schema; the message
            names the file and the key.
    """
    manifest = _convert(_read_yaml(path), _Manifest, where=str(path))
    return tuple(
        spec
        for name, raw in manifest.endpoints.items()
        if (spec := _endpoint(name, raw, path, codebase)) is not None
    )


def _read_yaml(path: Path) -> Any:
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)  # noqa: S506 - a SafeLoader
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{path}: {error}") from error


class _UniqueKeyLoader(yaml.SafeLoader):
    """A safe loader that refuses a repeated key, where plain YAML silently keeps the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - PyYAML's signature
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = key_node.value
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"repeated key {key!r}", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def _convert(raw: Any, kind: type[_T], *, where: str) -> _T:
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"{where}: {error}") from error


def _endpoint(name: str, raw: Any, path: Path, codebase: str) -> FunctionSpec | None:
    where = f"{path}: endpoints.{name}"
    if _FUNCTION_ID.fullmatch(name) is None:
        raise ConfigurationError(f"{where}: not a function name (letters, digits, '-' and '_')")
    if isinstance(raw, dict):
        for key in _UNSUPPORTED_TRIGGERS:
            if key in raw:
                raise ConfigurationError(f"{where}.{key}: the local cloud does not emulate it")
    endpoint = _convert(raw, _Endpoint, where=where)
    if endpoint.omit:
        return None
    trigger = _only_trigger(endpoint, where)
    regions = endpoint.region or [DEFAULT_REGION]
    if len(regions) != 1:
        raise ConfigurationError(f"{where}.region: the local cloud runs one region per function")
    return FunctionSpec(
        id=name,
        codebase=codebase,
        source=path.parent.resolve(),
        entry_point=endpoint.entry_point,
        region=regions[0],
        trigger=trigger,
        timeout_s=_timeout(endpoint, trigger, where),
        memory_mb=endpoint.available_memory_mb or DEFAULT_MEMORY_MB,
        cpu=_cpu(endpoint),
        environment=endpoint.environment_variables,
    )


def _cpu(endpoint: _Endpoint) -> float:
    if isinstance(endpoint.cpu, float):
        return endpoint.cpu
    chosen = _CPU_LIKE_GEN1 if endpoint.cpu == "gcf_gen1" else _CPU_OF_LARGE
    return chosen.get(endpoint.available_memory_mb or DEFAULT_MEMORY_MB, 1.0)


def _only_trigger(endpoint: _Endpoint, where: str) -> HttpsTrigger | EventTrigger | ScheduleTrigger:
    triggers = [
        trigger
        for trigger in (endpoint.https_trigger, endpoint.event_trigger, endpoint.schedule_trigger)
        if trigger is not None
    ]
    if len(triggers) != 1:
        raise ConfigurationError(
            f"{where}: exactly one of httpsTrigger, eventTrigger and scheduleTrigger is needed,"
            f" found {len(triggers)}"
        )
    return triggers[0]


def _timeout(endpoint: _Endpoint, trigger: msgspec.Struct, where: str) -> int:
    timeout = endpoint.timeout_seconds or DEFAULT_TIMEOUT_S
    kind = {EventTrigger: "event", ScheduleTrigger: "schedule"}.get(type(trigger), "https")
    if timeout > _MAX_TIMEOUT_S[kind]:
        raise ConfigurationError(
            f"{where}.timeoutSeconds: at most {_MAX_TIMEOUT_S[kind]} for this trigger"
        )
    return timeout
