"""Jobs of a cluster, through the unmodified official client, against the API's own documents."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

pytest.importorskip(
    "kubernetes", reason="the extra `kubernetes` is not installed: make test-executors"
)

from continuon_training.executors import _kubernetes_objects as objects
from continuon_training.executors import kubernetes
from continuon_training.executors.base import (
    ExecutorQuotaError,
    ExecutorRefusedError,
    ExecutorUnavailableError,
    Resources,
    WorkState,
)
from continuon_training.executors.settings import executor_settings
from integration.executors.kubernetes_server import NAMESPACE, TOKEN, Cluster, status
from integration.executors.loopback import served
from integration.executors.works import output, python_work

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from continuon_training.executors.kubernetes import KubernetesExecutor

IMAGE = "registry.example/trainer@sha256:" + "a" * 64
SECRETS = {"CONTINUON_JOB_TOKEN": "t0ken"}


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def back_end(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[KubernetesExecutor]:
    with served(cluster.app()) as url:
        configure(tmp_path, monkeypatch, url, TOKEN)
        yield kubernetes.create()
    executor_settings.cache_clear()


def configure(folder: Path, monkeypatch: pytest.MonkeyPatch, url: str, token: str) -> None:
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "lab",
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "continuon"}}],
        "clusters": [{"name": "lab", "cluster": {"server": url}}],
        "users": [{"name": "continuon", "user": {"token": token}}],
    }
    file = folder / "kubeconfig.json"
    file.write_text(json.dumps(kubeconfig))
    monkeypatch.setenv("CONTINUON_KUBERNETES_KUBECONFIG", str(file))
    monkeypatch.setenv("CONTINUON_KUBERNETES_NAMESPACE", NAMESPACE)
    monkeypatch.setenv("CONTINUON_KUBERNETES_IMAGE", IMAGE)
    executor_settings.cache_clear()


# --- Started once -----------------------------------------------------------------------------


async def test_a_work_becomes_a_job_a_secret_and_one_pod(
    back_end: KubernetesExecutor, cluster: Cluster
) -> None:
    work = python_work("", environment={"CONTINUON_JOB_ID": "job_1"}, secrets=SECRETS)
    assert (await back_end.submit(work)).created
    assert cluster.requests == [("create", "jobs"), ("create", "secrets"), ("patch", "jobs")]
    environment = cluster.environment(work.name)
    assert environment["CONTINUON_JOB_TOKEN"] == "t0ken"
    assert environment["CONTINUON_JOB_ID"] == "job_1"
    assert "t0ken" not in json.dumps(cluster.jobs)
    spec = cluster.jobs[work.name]["spec"]
    pod = spec["template"]["spec"]
    assert (spec["backoffLimit"], pod["activeDeadlineSeconds"]) == (0, work.timeout_s)
    assert pod["automountServiceAccountToken"] is False
    assert pod["containers"][0]["image"] == IMAGE


async def test_gpus_are_asked_for_by_count_and_type(
    back_end: KubernetesExecutor, cluster: Cluster
) -> None:
    resources = Resources(cpu=3.5, memory_mib=16384, gpu_type="nvidia-l4", gpu_count=2)
    work = python_work("", resources=resources)
    await back_end.submit(work)
    pod = cluster.jobs[work.name]["spec"]["template"]["spec"]
    amounts = {"cpu": "3500m", "memory": "16384Mi", "nvidia.com/gpu": "2"}
    assert pod["containers"][0]["resources"] == {"requests": amounts, "limits": amounts}
    assert pod["nodeSelector"] == {"cloud.google.com/gke-accelerator": "nvidia-l4"}
    assert pod["tolerations"][0]["key"] == "nvidia.com/gpu"


async def test_a_name_that_exists_is_not_started_again(
    back_end: KubernetesExecutor, cluster: Cluster
) -> None:
    work = python_work("", secrets=SECRETS)
    await back_end.submit(work)
    before = json.dumps([cluster.jobs, cluster.secrets, cluster.pods])
    assert not (await back_end.submit(work)).created
    cluster.run(work.name)
    cluster.finish(work.name, 0)
    assert not (await back_end.submit(work)).created
    assert json.loads(before)[1] == cluster.secrets


async def test_two_dispatchers_at_once_make_one_job(
    back_end: KubernetesExecutor, cluster: Cluster
) -> None:
    work = python_work("", secrets=SECRETS)
    await asyncio.gather(back_end.submit(work), back_end.submit(work))
    assert (len(cluster.jobs), len(cluster.secrets), len(cluster.pods)) == (1, 1, 1)


@pytest.mark.parametrize("dies_after", ["jobs", "secrets"])
async def test_a_dispatcher_that_died_half_way_leaves_a_start_that_the_next_completes(
    back_end: KubernetesExecutor, cluster: Cluster, dies_after: str
) -> None:
    work = python_work("", secrets=SECRETS)
    step = ("create", "secrets") if dies_after == "jobs" else ("patch", "jobs")
    cluster.forbidden = {step}
    with pytest.raises(ExecutorRefusedError):
        await back_end.submit(work)
    cluster.forbidden.clear()
    assert (await back_end.poll(work.name)).state is WorkState.GONE
    successor = python_work("", name=work.name, secrets={"CONTINUON_JOB_TOKEN": "another"})
    assert (await back_end.submit(successor)).created
    assert cluster.environment(work.name)["CONTINUON_JOB_TOKEN"] == "another"
    cluster.run(work.name)
    assert (await back_end.poll(work.name)).state is WorkState.RUNNING


@pytest.mark.parametrize("lost", [1, 2, 3])
async def test_a_lost_answer_is_unknown_and_found_out_by_name(
    back_end: KubernetesExecutor, cluster: Cluster, lost: int
) -> None:
    work = python_work("", secrets=SECRETS)
    for _ in range(lost):
        cluster.lost_answers = 1
        with pytest.raises(ExecutorUnavailableError):
            await back_end.submit(work)
    await back_end.submit(work)
    cluster.run(work.name)
    assert (len(cluster.jobs), len(cluster.pods)) == (1, 1)
    assert (await back_end.poll(work.name)).state is WorkState.RUNNING


# --- Refused, full, unavailable ---------------------------------------------------------------


async def test_an_exceeded_quota_means_later(
    back_end: KubernetesExecutor, cluster: Cluster
) -> None:
    cluster.job_quota = 0
    with pytest.raises(ExecutorQuotaError, match="exceeded quota: trainers"):
        await back_end.submit(python_work(""))
    assert not cluster.jobs


@pytest.mark.parametrize("code", [500, 503, 504, 429])
async def test_a_failing_server_means_that_the_event_comes_again(
    back_end: KubernetesExecutor, cluster: Cluster, code: int
) -> None:
    work = python_work("", secrets=SECRETS)
    cluster.answers = [status(code, "ServerTimeout", "try again", **{"Retry-After": "7"})]
    with pytest.raises(ExecutorUnavailableError) as unavailable:
        await back_end.submit(work)
    assert unavailable.value.retry_after_s == 7
    assert not isinstance(unavailable.value, ExecutorQuotaError)
    assert (await back_end.submit(work)).created


async def test_a_server_that_is_not_there_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(Cluster().app()) as url:
        configure(tmp_path, monkeypatch, url, TOKEN)
        back_end = kubernetes.create()
    executor_settings.cache_clear()
    with pytest.raises(ExecutorUnavailableError):
        await back_end.poll("continuon-job-1-1")


async def test_credentials_that_are_not_accepted_may_be_again(
    back_end: KubernetesExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: Cluster
) -> None:
    del back_end
    with served(cluster.app()) as url:
        configure(tmp_path, monkeypatch, url, "expired")
        with pytest.raises(ExecutorUnavailableError, match="credentials"):
            await kubernetes.create().poll("continuon-job-1-1")


async def test_a_missing_permission_is_named(
    back_end: KubernetesExecutor, cluster: Cluster
) -> None:
    cluster.forbidden = {("create", "jobs")}
    with pytest.raises(ExecutorRefusedError, match="cannot create") as refused:
        await back_end.submit(python_work(""))
    assert refused.value.code == "executor.forbidden"


async def test_what_the_server_calls_invalid_fails_the_job(
    back_end: KubernetesExecutor, cluster: Cluster
) -> None:
    with pytest.raises(ExecutorRefusedError, match="activeDeadlineSeconds") as refused:
        await back_end.submit(python_work("", timeout_s=-(10**6)))
    assert refused.value.code == "executor.invalid"
    assert not cluster.jobs


@pytest.mark.parametrize("image", ["registry.example/trainer:latest", "trainer", ""])
async def test_an_image_by_tag_is_refused(
    back_end: KubernetesExecutor, cluster: Cluster, image: str
) -> None:
    with pytest.raises(ExecutorRefusedError) as refused:
        await back_end.submit(python_work("", image=image or "x:y"))
    assert refused.value.code == "executor.image"
    assert not cluster.requests


def test_a_kubeconfig_that_is_not_there_is_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONTINUON_KUBERNETES_KUBECONFIG", str(tmp_path / "none"))
    executor_settings.cache_clear()
    with pytest.raises(ExecutorRefusedError) as refused:
        kubernetes.create()
    executor_settings.cache_clear()
    assert refused.value.code == "executor.configuration"


# --- How it is --------------------------------------------------------------------------------


async def test_a_job_is_followed_from_waiting_to_its_end(
    back_end: KubernetesExecutor, cluster: Cluster
) -> None:
    work = python_work("", secrets=SECRETS)
    assert (await back_end.poll(work.name)).state is WorkState.GONE
    await back_end.submit(work)
    cluster.unschedulable(work.name, "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.")
    status = await back_end.poll(work.name)
    assert status.state is WorkState.PENDING
    assert "Insufficient nvidia.com/gpu" in (status.message or "")
    cluster.run(work.name)
    assert (await back_end.poll(work.name)).state is WorkState.RUNNING
    cluster.finish(work.name, 0)
    assert (await back_end.poll(work.name)).state is WorkState.SUCCEEDED


async def test_a_trainer_that_ends_badly_says_how(
    back_end: KubernetesExecutor, cluster: Cluster
) -> None:
    work = python_work("")
    await back_end.submit(work)
    cluster.run(work.name)
    cluster.finish(work.name, 137, "OOMKilled", "MemoryError: the batch")
    status = await back_end.poll(work.name)
    assert (status.state, status.exit_code, status.preempted) == (WorkState.FAILED, 137, False)
    assert status.message == "OOMKilled, exit status 137: MemoryError: the batch"


async def test_a_preempted_pod_is_not_the_trainers_fault(
    back_end: KubernetesExecutor, cluster: Cluster
) -> None:
    work = python_work("")
    await back_end.submit(work)
    cluster.run(work.name)
    cluster.preempt(work.name)
    status = await back_end.poll(work.name)
    assert (status.state, status.preempted) == (WorkState.FAILED, True)


async def test_an_evicted_pod_is_not_the_trainers_fault(
    back_end: KubernetesExecutor, cluster: Cluster
) -> None:
    work = python_work("")
    await back_end.submit(work)
    cluster.run(work.name)
    cluster.evict(work.name, "The node was low on resource: memory.")
    status = await back_end.poll(work.name)
    assert (status.preempted, status.message) == (True, "The node was low on resource: memory.")


@pytest.mark.parametrize("whose", ["pod_deadline", "job_deadline"])
async def test_either_deadline_is_a_timeout(
    back_end: KubernetesExecutor, cluster: Cluster, whose: str
) -> None:
    work = python_work("")
    await back_end.submit(work)
    cluster.run(work.name)
    getattr(cluster, whose)(work.name)
    status = await back_end.poll(work.name)
    assert (status.state, status.timed_out) == (WorkState.FAILED, True)


async def test_an_image_that_cannot_be_pulled_waits_and_says_so(
    back_end: KubernetesExecutor, cluster: Cluster
) -> None:
    work = python_work("")
    await back_end.submit(work)
    cluster.wait(work.name, "ImagePullBackOff", "Back-off pulling image")
    status = await back_end.poll(work.name)
    assert (status.state, status.message) == (
        WorkState.PENDING,
        "ImagePullBackOff: Back-off pulling image",
    )
    cluster.wait(work.name, "InvalidImageName", "couldn't parse image name")
    assert (await back_end.poll(work.name)).state is WorkState.FAILED


async def test_what_was_deleted_behind_our_back_is_gone_or_failed(
    back_end: KubernetesExecutor, cluster: Cluster
) -> None:
    work, other = python_work(""), python_work("", secrets=SECRETS)
    await back_end.submit(work)
    await back_end.submit(other)
    cluster.lose_pod(work.name)
    status = await back_end.poll(work.name)
    assert (status.state, status.exit_code) == (WorkState.FAILED, None)
    cluster.lose_job(other.name)
    assert (await back_end.poll(other.name)).state is WorkState.GONE
    assert other.name not in cluster.secrets


async def test_a_job_that_an_administrator_suspended_no_longer_runs(
    back_end: KubernetesExecutor, cluster: Cluster
) -> None:
    work = python_work("")
    await back_end.submit(work)
    cluster.jobs[work.name]["spec"]["suspend"] = True
    status = await back_end.poll(work.name)
    assert (status.state, status.preempted) == (WorkState.FAILED, True)
    assert not (await back_end.submit(work)).created


async def test_a_failing_server_says_nothing_about_the_work(
    back_end: KubernetesExecutor, cluster: Cluster
) -> None:
    work = python_work("")
    await back_end.submit(work)
    cluster.answers = [status(503, "ServiceUnavailable", "etcd leader changed")]
    with pytest.raises(ExecutorUnavailableError, match="etcd leader changed"):
        await back_end.poll(work.name)


# --- Stopped, and what it wrote ---------------------------------------------------------------


async def test_cancelling_ends_the_pod_first_and_may_be_repeated(
    back_end: KubernetesExecutor, cluster: Cluster
) -> None:
    work = python_work("", secrets=SECRETS)
    await back_end.submit(work)
    cluster.run(work.name)
    await back_end.cancel(work.name)
    assert (await back_end.poll(work.name)).state is WorkState.RUNNING
    await back_end.cancel(work.name)
    cluster.end_deletion(work.name)
    assert (await back_end.poll(work.name)).state is WorkState.GONE
    assert not cluster.secrets
    await back_end.cancel(work.name)


async def test_output_is_read_in_pieces_from_the_pod(
    back_end: KubernetesExecutor, cluster: Cluster
) -> None:
    work = python_work("")
    await back_end.submit(work)
    assert (await back_end.logs(work.name)).text == ""
    lines = "".join(f"Schritt {step} für Stück\n" for step in range(20_000))
    cluster.run(work.name, lines.encode())
    first = await back_end.logs(work.name)
    assert first.text
    assert not first.complete
    cluster.finish(work.name, 0)
    assert await output(back_end, work.name) == lines


def test_labels_reach_every_object() -> None:
    work = python_work("", labels={"continuon-job": "job-1"}, secrets=SECRETS, image=IMAGE)
    options = objects.PodOptions(labels={"team": "arm"}, run_as_user=1000, service_account="t")
    job = objects.job(work, options)
    secret = objects.secret(work, options, job_uid="u")
    for labels in (
        job["metadata"]["labels"],
        job["spec"]["template"]["metadata"]["labels"],
        secret["metadata"]["labels"],
    ):
        assert labels["team"] == "arm"
        assert labels["continuon-job"] == "job-1"
        assert labels["app.kubernetes.io/managed-by"] == "continuon"
    assert job["spec"]["template"]["spec"]["securityContext"]["runAsNonRoot"] is True


@pytest.mark.parametrize("version", ["1.31", "1.37"])
def test_our_objects_are_valid_by_kubernetes_own_schemas(version: str) -> None:
    schemas = pytest.importorskip(
        "kubernetes_validate", reason="Kubernetes' schemas are not installed: make test-executors"
    )
    resources = Resources(gpu_type="nvidia-l4", gpu_count=1)
    work = python_work("", image=IMAGE, resources=resources, secrets=SECRETS)
    options = objects.PodOptions(run_as_user=1000, service_account="trainer")
    schemas.validate(objects.job(work, options), version, strict=True)
    schemas.validate(objects.secret(work, options, job_uid="u"), version, strict=True)
