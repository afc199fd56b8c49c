"""The variables that point Google's clients, and the functions, at the local cloud."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dotenv import dotenv_values

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from continuon_local.events.manifest import FunctionSpec

__all__ = [
    "FORK_SUPPORT",
    "Endpoints",
    "client_environment",
    "function_environment",
    "site_configuration",
]

FORK_SUPPORT = "GRPC_ENABLE_FORK_SUPPORT"
"""gRPC's switch for programs that go on using it after a fork. This process only starts others,
and with the switch on gRPC remarks on each of them on standard error. No other program gets it."""

_NOT_INHERITED = (
    "GOOGLE_",
    "GCLOUD_",
    "CLOUDSDK_",
    "FIREBASE_",
    "FIRESTORE_",
    "STORAGE_",
    "PUBSUB_",
    "FUNCTION_",
    "K_",
    "PORT",
    "PYTHONSAFEPATH",
    FORK_SUPPORT,
)
"""Prefixes of variables that a function gets from the platform or not at all: a developer's own
credentials and project must never reach a function that runs locally."""


@dataclass(frozen=True, kw_only=True)
class Endpoints:
    """Where the services of one running local cloud listen.

    Attributes:
        ports: By service name: auth, firestore, functions, hosting, hub, pubsub, storage.
        service_account_file: The key file that signs URLs which the local store accepts.
    """

    project_id: str
    host: str
    ports: Mapping[str, int]
    service_account_file: Path | None

    def address(self, name: str) -> str:
        """Return ``host:port`` of a service."""
        return f"{self.host}:{self.ports[name]}"

    def url(self, name: str) -> str:
        """Return the base URL of a service, without a slash at the end."""
        return f"http://{self.address(name)}"


def client_environment(endpoints: Endpoints) -> dict[str, str]:
    """Return what a program needs so that unmodified Google clients reach the local cloud."""
    variables = {
        "GOOGLE_CLOUD_PROJECT": endpoints.project_id,
        "GCLOUD_PROJECT": endpoints.project_id,
    }
    addresses = {
        "FIRESTORE_EMULATOR_HOST": ("firestore", ""),
        "PUBSUB_EMULATOR_HOST": ("pubsub", ""),
        "FIREBASE_AUTH_EMULATOR_HOST": ("auth", ""),
        "STORAGE_EMULATOR_HOST": ("storage", "http://"),
        "FIREBASE_EMULATOR_HUB": ("hub", ""),
        "CONTINUON_URL": ("hosting", "http://"),
        "CONTINUON_HUB_URL": ("hub", "http://"),
    }
    for variable, (service, scheme) in addresses.items():
        if service in endpoints.ports:
            variables[variable] = scheme + endpoints.address(service)
    if endpoints.service_account_file is not None:
        variables["GOOGLE_APPLICATION_CREDENTIALS"] = str(endpoints.service_account_file)
    return variables


def site_configuration(endpoints: Endpoints) -> dict[str, str]:
    """Return what Hosting's ``/__/firebase/init.json`` says about this project.

    Production names the project's keys and domains. ``authEmulatorHost`` is the local cloud's own
    addition: where a client signs in instead of at Google.
    """
    return {
        "apiKey": "local",
        "projectId": endpoints.project_id,
        "authEmulatorHost": endpoints.address("auth"),
    }


def function_environment(spec: FunctionSpec, endpoints: Endpoints) -> dict[str, str]:
    """Return the whole environment of one function's process.

    In rising precedence: this process's own (without cloud settings), the manifest's, the
    codebase's ``.env``, ``.env.<project>`` and ``.env.local``, the platform's.
    """
    variables = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_NOT_INHERITED) and not name.endswith("_EMULATOR_HOST")
    }
    variables.update(spec.environment)
    for name in (".env", f".env.{endpoints.project_id}", ".env.local"):
        variables.update(_dotenv(spec.source / name))
    variables.update(client_environment(endpoints))
    variables.update(_platform_variables(spec))
    if "hosting" in endpoints.ports:
        variables["CONTINUON_PUBLIC_URL"] = endpoints.url("hosting")
    return variables


def _platform_variables(spec: FunctionSpec) -> dict[str, str]:
    return {
        "FUNCTION_TARGET": spec.entry_point,
        "FUNCTION_SOURCE": str(spec.source / "main.py"),
        "FUNCTION_SIGNATURE_TYPE": spec.signature_type,
        "FUNCTIONS_EMULATOR": "true",
        "K_SERVICE": spec.id,
        "K_REVISION": f"{spec.id}-local",
        "K_CONFIGURATION": spec.id,
        "PYTHONUNBUFFERED": "1",
    }


def _dotenv(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    values = dotenv_values(path, interpolate=False)
    return {name: value for name, value in values.items() if value is not None}
