"""The whole local cloud in one process: every service, the functions, the gateway, the hub."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from continuon_local.bridges import connect
from continuon_local.environment import Endpoints, client_environment, site_configuration
from continuon_local.events.manifest import EventTrigger
from continuon_local.events.retry import RetryPolicy
from continuon_local.events.router import EventRouter
from continuon_local.faults import FaultInjector
from continuon_local.functions.host import FunctionsHost
from continuon_local.functions.surface import FunctionsSurface
from continuon_local.hosting.gateway import HostingGateway
from continuon_local.hub.service import Hub
from continuon_local.lock import DataFolderLock
from continuon_local.ports import check_ports
from continuon_local.project import load_project
from continuon_local.serve import create
from continuon_local.service import ServiceContext

if TYPE_CHECKING:
    from collections.abc import Callable

    from continuon_local.project import Project
    from continuon_local.service import Service
    from continuon_local.settings import Settings

__all__ = ["LocalCloud"]

_EVENT_SOURCES = ("firestore", "storage", "pubsub")
_GOOGLE_SERVICES = ("auth", "firestore", "storage", "pubsub")
"""Started in this order, stopped in the reverse one."""


class LocalCloud:
    """Starts everything in order, and stops it in the reverse order.

    Args:
        echo: Called with a function's name and a line of its output when settings say verbose.

    Raises:
        ConfigurationError: The project's files are wrong.
    """

    def __init__(
        self, settings: Settings, *, echo: Callable[[str, str], None] | None = None
    ) -> None:
        self.settings = settings
        self.project: Project = load_project(settings.root)
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._running = contextlib.AsyncExitStack()
        self._services: dict[str, Any] = {}
        self._echo = echo if settings.verbose else None
        self.context = ServiceContext(
            data_dir=settings.data_dir, project_id=settings.project_id, host=settings.host
        )
        if settings.faults is not None:
            self.context.faults.replace(settings.faults.seed, settings.faults.service_rules)

    @property
    def endpoints(self) -> Endpoints:
        """Where the services listen; complete once :meth:`start` has returned."""
        storage = self._services.get("storage")
        return Endpoints(
            project_id=self.settings.project_id,
            host=self.settings.host,
            ports={name: service.port for name, service in self._services.items()},
            service_account_file=None if storage is None else storage.service_account_file,
        )

    @property
    def environment(self) -> dict[str, str]:
        """The variables that point a program at this local cloud."""
        return client_environment(self.endpoints)

    @property
    def log_dir(self) -> Path:
        """Where the functions' output is kept."""
        if self.settings.data_dir is not None:
            return self.settings.data_dir / "logs"
        assert self._temporary is not None  # noqa: S101 - start makes it
        return Path(self._temporary.name)

    async def start(self) -> None:
        """Start everything; on failure stop what had started.

        Raises:
            AlreadyRunningError: Another local cloud uses the data folder.
            PortTakenError: A port is taken; the message names it and the option.
        """
        try:
            # In this order: who starts a cloud twice wants to hear that it already runs.
            self._prepare_data()
            check_ports(self.settings.host, self.settings.ports)
            self._running.push_async_callback(self._stop_google_services)
            for name in _GOOGLE_SERVICES:
                options = self._options(name)
                port = self.settings.ports[name]
                await self._start(create(name, self.context, port, **options))
            connect(self._services)
            await self._prepare_resources()
            await self._start_functions()
        except BaseException:
            await self.stop()
            raise

    def _options(self, service: str) -> dict[str, Any]:
        """Return what a service takes from the project's files."""
        if service == "storage" and isinstance(self.project.storage, dict):
            rules = self.project.storage.get("rules")
            return {} if rules is None else {"rules_file": self.settings.root / rules}
        if service != "firestore":
            return {}
        named = self.project.firestore or {}
        files = {"indexes_file": named.get("indexes"), "rules_file": named.get("rules")}
        return {key: self.settings.root / file for key, file in files.items() if file is not None}

    async def stop(self) -> None:
        """Stop everything, the last started first. Safe to call twice."""
        await self._running.aclose()
        self._services.clear()

    def _prepare_data(self) -> None:
        if self.settings.data_dir is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="continuon-local-")
            self._running.callback(self._temporary.cleanup)
        else:
            lock = DataFolderLock(self.settings.data_dir)
            lock.acquire()
            self._running.callback(lock.release)

    async def _start(self, service: Service) -> None:
        await service.start()
        self._services[service.name] = service
        if service.name not in _GOOGLE_SERVICES:
            self._running.push_async_callback(service.stop)

    async def _stop_google_services(self) -> None:
        # They do not know each other; each spends most of its stop waiting for connections.
        await asyncio.gather(
            *(
                service.stop()
                for name, service in self._services.items()
                if name in _GOOGLE_SERVICES
            )
        )

    async def _prepare_resources(self) -> None:
        for bucket in self.project.buckets:
            await _finished(self._services["storage"].ensure_bucket(bucket))
        for topic in dict.fromkeys([*_topics(self.project), *self.project.topics]):
            await _finished(self._services["pubsub"].ensure_topic(topic))

    async def _start_functions(self) -> None:
        ports = self.settings.ports
        host = FunctionsHost(
            self.context,
            self.project.functions,
            endpoints=lambda: self.endpoints,
            log_dir=self.log_dir,
            echo=self._echo,
        )
        router = self._create_router(host)
        await self._start(
            FunctionsSurface(self.context, port=ports["functions"], functions=host, door=router)
        )
        await self._start(
            HostingGateway(
                self.context,
                port=ports["hosting"],
                config=self.project.hosting,
                functions=host,
                site=lambda: site_configuration(self.endpoints),
            )
        )
        await self._start(
            Hub(self.context, port=ports["hub"], endpoints=lambda: self.endpoints, router=router)
        )
        # Only now: a function that an old event starts needs every address.
        await router.start()
        self._running.push_async_callback(router.stop)

    def _create_router(self, host: FunctionsHost) -> EventRouter:
        settings = self.settings
        router = EventRouter(
            self.context,
            host,
            retry=RetryPolicy(base_s=settings.retry_base_s, cap_s=settings.retry_cap_s),
            faults=FaultInjector(settings.faults),
        )
        self._services["firestore"].watch_events(_filters(self.project, "document"))
        self._services["pubsub"].watch_topics.update(_topics(self.project))
        for name in _EVENT_SOURCES:
            router.attach(self._services[name].outbox)
        return router


def _filters(project: Project, name: str) -> list[str]:
    """Return what the event triggers of a project say about one attribute, without repeats."""
    found = []
    for spec in project.functions:
        if isinstance(spec.trigger, EventTrigger):
            both = (spec.trigger.event_filters, spec.trigger.event_filter_path_patterns)
            found += [filters[name] for filters in both if name in filters]
    return list(dict.fromkeys(found))


def _topics(project: Project) -> list[str]:
    return [topic.rpartition("/")[2] for topic in _filters(project, "topic")]


async def _finished(result: Any) -> None:
    """Await ``result`` where it can be awaited: a service may create a resource either way."""
    if asyncio.iscoroutine(result):
        await result
