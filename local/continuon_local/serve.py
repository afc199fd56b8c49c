"""Run chosen services in this process until it is told to stop.

``python -m continuon_local.serve firestore storage`` binds free ports, prints one JSON line
``{"ports": {"firestore": 40001, ...}}`` when everything is ready, and stops cleanly on SIGTERM or
SIGINT. A data folder that another instance uses is refused with exit status 1. Tests use this to
put a single service beside the unmodified Google client.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from continuon_local.bridges import connect
from continuon_local.collector import settle_collector
from continuon_local.errors import LocalCloudError
from continuon_local.faults import read_faults
from continuon_local.lock import DataFolderLock
from continuon_local.service import ServiceContext

if TYPE_CHECKING:
    from collections.abc import Sequence

    from continuon_local.service import Service

__all__ = ["create", "main", "serve"]

_FACTORIES = {
    "firestore": "continuon_local.firestore.service:FirestoreService",
    "storage": "continuon_local.storage.service:StorageService",
    "pubsub": "continuon_local.pubsub.service:PubSubService",
    "auth": "continuon_local.auth.service:AuthService",
}


def create(name: str, context: ServiceContext, port: int, **options: Any) -> Service:
    """Construct the service called ``name``; its module is imported only now."""
    module_name, _, class_name = _FACTORIES[name].partition(":")
    factory = getattr(importlib.import_module(module_name), class_name)
    service: Service = factory(context, port=port, **options)
    return service


async def serve(services: Sequence[Service]) -> None:
    """Start ``services``, announce their ports on standard output, wait for a signal, stop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    started: list[Service] = []
    try:
        for service in services:
            await service.start()
            started.append(service)
        connect({service.name: service for service in services})
        settle_collector()
        ports = {service.name: service.port for service in services}
        sys.stdout.write(json.dumps({"ports": ports}) + "\n")
        sys.stdout.flush()
        await stop.wait()
    finally:
        for service in reversed(started):
            await service.stop()


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m continuon_local.serve", description=__doc__)
    parser.add_argument("services", nargs="+", choices=sorted(_FACTORIES))
    parser.add_argument("--data-dir", type=Path, default=None, help="keep data here")
    parser.add_argument("--faults", type=Path, default=None, help="a fault plan, JSON")
    parser.add_argument("--port", type=int, default=0, help="port of the first service")
    parser.add_argument(
        "--functions-emulator", metavar="HOST:PORT", help="where Firestore's triggers go"
    )
    options = parser.parse_args(arguments)
    try:
        with contextlib.ExitStack() as held:
            _run(options, held)
    except LocalCloudError as error:
        sys.exit(str(error))


def _run(options: argparse.Namespace, held: contextlib.ExitStack) -> None:
    context = ServiceContext(data_dir=options.data_dir)
    if options.data_dir is not None:
        lock = DataFolderLock(options.data_dir)
        lock.acquire()
        held.callback(lock.release)
    plan = read_faults(options.faults)
    if plan is not None:
        context.faults.replace(plan.seed, plan.service_rules)
    ports = [options.port, *[0] * (len(options.services) - 1)]
    extras = {"firestore": {"functions_emulator": options.functions_emulator}}
    services = [
        create(name, context, port, **extras.get(name, {}))
        for name, port in zip(options.services, ports, strict=True)
    ]
    asyncio.run(serve(services))


if __name__ == "__main__":
    main()
