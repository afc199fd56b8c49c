"""The way of one episode through the CLI's emulators, step by step."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx

from conftest import LocalCloudProcess
from emulators import cli
from product import BUCKET, Product
from small_episodes import SmallEpisode

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["prove"]

_EPISODE = "ep_emulators"
_EVENT_TYPE = "google.cloud.storage.object.v1.finalized"
_FUNCTIONS = {"signed_url", "ingest", "episodes_api", "ingest_finalized", "fleet_api"}


def prove(up: cli.Running) -> Iterator[str]:
    """Upload one episode; yield a line for each step that went well.

    Raises:
        AssertionError: A step did not.
    """
    names = {
        trigger["entryPoint"]
        for backend in cli.backends(up)
        for trigger in backend["functionTriggers"]
    }
    assert names >= _FUNCTIONS, f"the CLI runs only {sorted(names)}"
    yield f"the CLI runs {', '.join(sorted(names))}"
    with contextlib.closing(_product(up)) as product:
        account = product.account()
        robot = account.robot()
        yield "an account was made in the CLI's Auth, a robot claimed through its Hosting"
        episode = SmallEpisode(_EPISODE, robot.id)
        robot.upload_archive(episode.archive(), episode_id=_EPISODE)
        (name,) = product.contents(_EPISODE)
        yield f"a signed URL stored {name}"
        _deliver(up, product, name)
        data = product.settled(_EPISODE)
        assert data["status"] == "validated", f"the episode is {data['status']}: {data}"
        yield "the finalize event reached ingest_finalized; the episode is validated"
        stored = set(product.contents(_EPISODE))
        folder = f"episodes/validated/{robot.id}/{_EPISODE}"
        assert stored >= {f"{folder}/episode.tar.gz", f"{folder}/report.json"}, f"stored: {stored}"
        shown = account.call("GET", f"/api/v1/episodes/{_EPISODE}").json()
        assert shown["status"] == "validated", f"the API says {shown}"
        yield "its owner reads the verdict through the CLI's Hosting"


def _product(up: cli.Running) -> Product:
    product = Product(LocalCloudProcess(pid=up.pid, urls=up.urls, env=up.env))
    product.storage.create_bucket(BUCKET)
    return product


def _deliver(up: cli.Running, product: Product, name: str) -> None:
    """Post the event to the CLI, which dispatches it by type and bucket."""
    blob = product.storage.bucket(BUCKET).get_blob(name)
    resource: dict[str, Any] = blob._properties
    event = {
        "specversion": "1.0",
        "id": f"{name}#{blob.generation}",
        "type": _EVENT_TYPE,
        "source": f"//storage.googleapis.com/projects/_/buckets/{BUCKET}",
        "subject": f"objects/{name}",
        "time": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        "bucket": BUCKET,
        "datacontenttype": "application/json",
        "data": resource,
    }
    headers = {"content-type": "application/cloudevents+json; charset=UTF-8"}
    url = f"{up.urls['functions']}/functions/projects/{cli.PROJECT}/trigger_multicast"
    httpx.post(url, json=event, headers=headers, timeout=120).raise_for_status()
