"""A disk that is full: writes are refused with an error that may be retried, nothing is lost.

A limit on the size of the process's files stands for the disk. Storage's own cases are among its
tests.
"""

from __future__ import annotations

import resource
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from google.api_core import exceptions
from google.cloud import firestore
from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient

from conftest import local_services, service_process

if TYPE_CHECKING:
    from pathlib import Path

PROJECT = "demo-full"


def fill(pid: int, folder: Path) -> None:
    """Let no file grow beyond what the largest one is now."""
    largest = max(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))


def empty(pid: int) -> None:
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)


def assert_intact(file: Path) -> None:
    connection = sqlite3.connect(file)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


def test_firestore_refuses_writes_and_keeps_what_it_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with service_process("firestore", data_dir=tmp_path) as (pid, ports):
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", f"127.0.0.1:{ports['firestore']}")
        client: Any = firestore.Client(project=PROJECT)
        client.document("a/kept").set({"n": 1})
        fill(pid, tmp_path)
        with pytest.raises(exceptions.ServiceUnavailable, match="database failed"):
            client.document("a/refused").set({"text": "x" * 500_000}, retry=None)
        assert client.document("a/kept").get().to_dict() == {"n": 1}
        assert not client.document("a/refused").get().exists
        empty(pid)
        client.document("a/later").set({"n": 2})
        assert client.document("a/later").get().to_dict() == {"n": 2}
        client.close()
    assert_intact(tmp_path / "firestore.db")


def test_pubsub_refuses_messages_and_keeps_what_it_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic, name = f"projects/{PROJECT}/topics/full", f"projects/{PROJECT}/subscriptions/full"
    with service_process("pubsub", data_dir=tmp_path) as (pid, ports):
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{ports['pubsub']}")
        publisher, subscriber = PublisherClient(), SubscriberClient()
        publisher.create_topic(name=topic)
        subscriber.create_subscription(name=name, topic=topic)
        publisher.publish(topic, b"kept").result(timeout=30)
        fill(pid, tmp_path)
        with pytest.raises(exceptions.ServiceUnavailable, match="database failed"):
            publisher.publish(topic, bytes(2_000_000), retry=None).result(timeout=30)
        empty(pid)
        publisher.publish(topic, b"later").result(timeout=30)
        received = subscriber.pull(subscription=name, max_messages=10).received_messages
        assert sorted(one.message.data for one in received) == [b"kept", b"later"]
        publisher.stop()
        publisher.transport.close()
        subscriber.close()
    assert_intact(tmp_path / "pubsub.db")


def test_auth_refuses_accounts_and_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    account = {"password": "correct horse", "returnSecureToken": True}
    with service_process("auth", data_dir=tmp_path) as (pid, ports):
        base = f"http://127.0.0.1:{ports['auth']}/identitytoolkit.googleapis.com/v1/accounts"

        def call(verb: str, email: str) -> httpx.Response:
            return httpx.post(f"{base}:{verb}?key=k", json={**account, "email": email})

        assert call("signUp", "kept@example.com").status_code == 200
        fill(pid, tmp_path)
        answers = [call("signUp", f"{number}@example.com") for number in range(8)]
        refused = [answer for answer in answers if answer.status_code != 200]
        assert {answer.status_code for answer in refused} == {503}
        assert refused[0].json()["error"]["status"] == "UNAVAILABLE"
        empty(pid)
        assert call("signInWithPassword", "kept@example.com").status_code == 200
        assert call("signUp", "later@example.com").status_code == 200
        for number, answer in enumerate(answers):
            known = call("signInWithPassword", f"{number}@example.com").status_code == 200
            assert known == (answer.status_code == 200)
    assert_intact(tmp_path / "auth.db")


@pytest.mark.parametrize("service", ["firestore", "storage", "pubsub", "auth"])
def test_a_second_instance_on_one_data_folder_is_refused(service: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "continuon_local.serve", service, "--data-dir", str(tmp_path)]
    with local_services("auth" if service == "firestore" else service, data_dir=tmp_path):
        second = subprocess.run(  # noqa: S603 - this project's own program
            command, capture_output=True, text=True, timeout=30, check=False
        )
    assert second.returncode == 1
    assert (second.stdout, second.stderr.count("\n")) == ("", 1)
    assert second.stderr.startswith(f"another local cloud uses {tmp_path}")
