"""A Kubernetes API server, as far as Jobs, their Secrets, Pods and logs go.

It answers in the API's own documents (``Status`` for errors), refuses what a real one refuses of
what we send, and collects what belongs to a removed object. The kubelet and the Job controller are
methods that a test calls.
"""

from __future__ import annotations

import base64
import itertools
import re
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import yaml
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from conftest import REPOSITORY

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

TOKEN = "cluster-token"
NAMESPACE = "continuon-training"

_LABEL = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|Mi|Gi|k|M|G)?")
_SPEC = {
    *("suspend", "backoffLimit", "completions", "parallelism", "activeDeadlineSeconds"),
    *("ttlSecondsAfterFinished", "podReplacementPolicy", "podFailurePolicy", "template"),
}
_POD_SPEC = {
    *("restartPolicy", "activeDeadlineSeconds", "terminationGracePeriodSeconds", "nodeSelector"),
    *("automountServiceAccountToken", "enableServiceLinks", "securityContext", "containers"),
    *("volumes", "tolerations", "serviceAccountName"),
}


def documented_permissions() -> set[tuple[str, str]]:
    """The verbs and resources of the Role in docs/executors.md: nothing else is allowed here."""
    text = (REPOSITORY / "docs" / "executors.md").read_text(encoding="utf-8")
    role = yaml.safe_load(text.split("```yaml\n", 1)[1].split("```", 1)[0])
    return {
        (verb, resource)
        for rule in role["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def status(code: int, reason: str, message: str, **headers: str) -> JSONResponse:
    body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    body |= {"message": message, "reason": reason, "code": code}  # type: ignore[dict-item]
    return JSONResponse(body, code, headers=headers)


class BrokenResponse(Response):
    """The beginning of an answer; then the connection ends."""

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"application/json"), (b"content-length", b"1000")]
        await send({"type": "http.response.start", "status": 201, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"kind": "Jo', "more_body": False})


class Cluster:
    """The state of the API server, and what its controllers and nodes do."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.secrets: dict[str, dict[str, Any]] = {}
        self.pods: dict[str, dict[str, Any]] = {}
        self.output: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.job_quota: int | None = None
        self.answers: list[JSONResponse] = []
        """Given instead of doing anything, each once."""
        self.lost_answers = 0
        """So many writes are done and answered with a broken connection."""
        self.allowed = documented_permissions()
        self.forbidden: set[tuple[str, str]] = set()
        """What our role may not do, although documented: (verb, resource)."""
        self._versions = itertools.count(1)

    # --- What controllers and nodes do ----------------------------------------------------------

    def environment(self, name: str) -> dict[str, str]:
        """The container's environment, as the kubelet resolves it."""
        found: dict[str, str] = {}
        for entry in self._container(name)["env"]:
            if "value" in entry:
                found[entry["name"]] = entry["value"]
            else:
                reference = entry["valueFrom"]["secretKeyRef"]
                encoded = self.secrets[reference["name"]]["data"][reference["key"]]
                found[entry["name"]] = base64.b64decode(encoded).decode()
        return found

    def run(self, name: str, output: bytes = b"") -> None:
        """A node takes the Pod and starts it."""
        self.environment(name)
        pod = self.pods[name]
        pod["status"] = {"phase": "Running", "startTime": now()}
        self._set_container(name, {"running": {"startedAt": now()}})
        self.output[pod["metadata"]["name"]] = output
        self.jobs[name]["status"] |= {"active": 1, "ready": 1}

    def wait(self, name: str, reason: str, message: str) -> None:
        """The Pod's container waits."""
        self._set_container(name, {"waiting": {"reason": reason, "message": message}})

    def unschedulable(self, name: str, message: str) -> None:
        """No node has room."""
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
        self.pods[name]["status"]["conditions"] = [condition | {"message": message}]

    def finish(self, name: str, exit_code: int, reason: str = "Error", message: str = "") -> None:
        """The trainer ends."""
        ended = {"exitCode": exit_code, "reason": reason if exit_code else "Completed"}
        self._set_container(name, {"terminated": ended | {"message": message}})
        self.pods[name]["status"]["phase"] = "Failed" if exit_code else "Succeeded"
        if exit_code == 0:
            self._condition(name, "Complete", "CompletionsReached", "Reached expected number")
        else:
            self._condition(
                name,
                "Failed",
                "BackoffLimitExceeded",
                "Job has reached the specified backoff limit",
            )

    def preempt(self, name: str) -> None:
        """The scheduler takes the node for something more important."""
        pod = f"{NAMESPACE}/{self.pods.pop(name)['metadata']['name']}"
        message = f"Pod {pod} has condition DisruptionTarget matching FailJob rule at index 0"
        self._condition(name, "Failed", "PodFailurePolicy", message)

    def evict(self, name: str, message: str) -> None:
        """The kubelet ends the Pod for its node's sake."""
        self.pods[name]["status"] = {"phase": "Failed", "reason": "Evicted", "message": message}
        self._condition(name, "Failed", "BackoffLimitExceeded", "Job has reached its limit")

    def pod_deadline(self, name: str) -> None:
        """The Pod's activeDeadlineSeconds are over."""
        message = "Pod was active on the node longer than the specified deadline"
        failed = {"phase": "Failed", "reason": "DeadlineExceeded", "message": message}
        self.pods[name]["status"] = failed
        self._condition(name, "Failed", "BackoffLimitExceeded", "Job has reached its limit")

    def job_deadline(self, name: str) -> None:
        """The Job's activeDeadlineSeconds are over."""
        self.pods.pop(name, None)
        message = "Job was active longer than specified deadline"
        self._condition(name, "Failed", "DeadlineExceeded", message)

    def lose_pod(self, name: str) -> None:
        """Somebody deletes the Pod, or its node is gone."""
        del self.pods[name]
        self._condition(name, "Failed", "BackoffLimitExceeded", "Job has reached its limit")

    def lose_job(self, name: str) -> None:
        """Somebody deletes the Job; the collector follows."""
        self._collect(name)

    def end_deletion(self, name: str) -> None:
        """The Pod has ended; the collector finishes a foreground deletion."""
        assert "deletionTimestamp" in self.jobs[name]["metadata"]
        self._collect(name)

    def _collect(self, name: str) -> None:
        uid = self.jobs.pop(name)["metadata"]["uid"]
        self.pods.pop(name, None)
        for secret, body in list(self.secrets.items()):
            if any(owner["uid"] == uid for owner in body["metadata"]["ownerReferences"]):
                del self.secrets[secret]

    def _condition(self, name: str, kind: str, reason: str, message: str) -> None:
        condition = {"type": kind, "status": "True", "reason": reason, "message": message}
        self.jobs[name]["status"]["conditions"] = [condition]

    def _container(self, name: str) -> dict[str, Any]:
        container: dict[str, Any] = self.pods[name]["spec"]["containers"][0]
        return container

    def _set_container(self, name: str, state: dict[str, Any]) -> None:
        container = self._container(name)
        entry = {"name": container["name"], "image": container["image"], "imageID": ""}
        entry |= {"ready": "running" in state, "restartCount": 0, "state": state}
        self.pods[name]["status"]["containerStatuses"] = [entry]

    # --- Requests -------------------------------------------------------------------------------

    def app(self) -> Starlette:
        jobs, core = f"/apis/batch/v1/namespaces/{NAMESPACE}", f"/api/v1/namespaces/{NAMESPACE}"
        methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
        return Starlette(
            routes=[
                Route(jobs + "/{resource}", self._answer, methods=methods),
                Route(jobs + "/{resource}/{name}", self._answer, methods=methods),
                Route(core + "/{resource}", self._answer, methods=methods),
                Route(core + "/{resource}/{name}", self._answer, methods=methods),
                Route(core + "/{resource}/{name}/{subresource}", self._answer, methods=methods),
            ]
        )

    async def _answer(self, request: Request) -> Response:
        parts = request.path_params
        verb = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}.get(
            request.method, "get" if "name" in parts else "list"
        )
        resource = "/".join(p for p in (parts["resource"], parts.get("subresource")) if p)
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return status(401, "Unauthorized", "Unauthorized")
        if self.answers:
            return self.answers.pop(0)
        if (verb, resource) in self.forbidden or (verb, resource) not in self.allowed:
            message = f'{resource} is forbidden: User "continuon" cannot {verb} resource'
            return status(403, "Forbidden", message)
        self.requests.append((verb, resource))
        handler = getattr(self, f"_{verb}_{resource.replace('/', '_')}")
        answer: Response = await handler(request, parts.get("name"))
        if verb != "get" and self.lost_answers:
            self.lost_answers -= 1
            return BrokenResponse()
        return answer

    async def _create_jobs(self, request: Request, _name: str | None) -> Response:
        assert request.query_params["fieldValidation"] == "Strict"
        job = await request.json()
        name = job["metadata"]["name"]
        if name in self.jobs:
            return status(409, "AlreadyExists", f'jobs.batch "{name}" already exists')
        if problems := _problems(job):
            return status(422, "Invalid", f'Job.batch "{name}" is invalid: {problems}')
        if self.job_quota is not None and len(self.jobs) >= self.job_quota:
            used = f"count/jobs.batch={self.job_quota}"
            message = (
                f'jobs.batch "{name}" is forbidden: exceeded quota: trainers, requested: '
                f"count/jobs.batch=1, used: {used}, limited: {used}"
            )
            return status(403, "Forbidden", message)
        self._stamp(job)
        job["status"] = {}
        self.jobs[name] = job
        return JSONResponse(job, 201)

    async def _get_jobs(self, _request: Request, name: str) -> Response:
        job = self.jobs.get(name)
        return JSONResponse(job) if job else _not_found("jobs.batch", name)

    async def _patch_jobs(self, request: Request, name: str) -> Response:
        assert "strategic-merge-patch" in request.headers["content-type"]
        job, patch = self.jobs.get(name), await request.json()
        if job is None:
            return _not_found("jobs.batch", name)
        assert set(patch) == {"metadata", "spec"}
        assert set(patch["spec"]) == {"suspend"}, "all else of a Job's spec is immutable"
        job["metadata"].setdefault("annotations", {}).update(patch["metadata"]["annotations"])
        job["spec"]["suspend"] = patch["spec"]["suspend"]
        if not job["spec"]["suspend"] and name not in self.pods:
            self._make_pod(name, job)
        return JSONResponse(job)

    async def _delete_jobs(self, request: Request, name: str) -> Response:
        assert request.query_params["propagationPolicy"] == "Foreground"
        job = self.jobs.get(name)
        if job is None:
            return _not_found("jobs.batch", name)
        job["metadata"] |= {"deletionTimestamp": now(), "finalizers": ["foregroundDeletion"]}
        return JSONResponse(job)

    async def _create_secrets(self, request: Request, _name: str | None) -> Response:
        secret = await request.json()
        name = secret["metadata"]["name"]
        if name in self.secrets:
            return status(409, "AlreadyExists", f'secrets "{name}" already exists')
        return JSONResponse(self._store_secret(secret), 201)

    async def _update_secrets(self, request: Request, name: str) -> Response:
        if name not in self.secrets:
            return _not_found("secrets", name)
        return JSONResponse(self._store_secret(await request.json()))

    async def _list_pods(self, request: Request, _name: str | None) -> Response:
        label, _, value = request.query_params["labelSelector"].partition("=")
        found = [p for p in self.pods.values() if p["metadata"]["labels"].get(label) == value]
        body = {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": found}
        return JSONResponse(body)

    async def _get_pods_log(self, request: Request, name: str) -> Response:
        assert request.query_params["container"] == "trainer"
        if name not in self.output:
            message = f'container "trainer" in pod "{name}" is waiting to start: ContainerCreating'
            return status(400, "BadRequest", message)
        limit = int(request.query_params["limitBytes"])
        return PlainTextResponse(self.output[name][:limit])

    def _stamp(self, thing: dict[str, Any]) -> None:
        thing["metadata"] |= {
            "namespace": NAMESPACE,
            "uid": str(uuid.uuid4()),
            "creationTimestamp": now(),
            "resourceVersion": str(next(self._versions)),
        }

    def _make_pod(self, name: str, job: dict[str, Any]) -> None:
        job["status"] = {"startTime": now(), "active": 1}
        template = job["spec"]["template"]
        labels = template["metadata"]["labels"] | {"batch.kubernetes.io/job-name": name}
        pod = {"metadata": {"name": f"{name}-x7k2p", "labels": labels}, "spec": template["spec"]}
        self._stamp(pod)
        self.pods[name] = pod | {"status": {"phase": "Pending"}}

    def _store_secret(self, secret: dict[str, Any]) -> dict[str, Any]:
        plain = secret.pop("stringData")
        secret["data"] = {k: base64.b64encode(v.encode()).decode() for k, v in plain.items()}
        self._stamp(secret)
        self.secrets[secret["metadata"]["name"]] = secret
        return secret


def _not_found(resource: str, name: str) -> JSONResponse:
    return status(404, "NotFound", f'{resource} "{name}" not found')


def _problems(job: dict[str, Any]) -> list[str]:
    """What a real server would refuse of a Job like ours."""
    spec, template = job["spec"], job["spec"]["template"]
    pod = template["spec"]
    container = pod["containers"][0]
    labels = {**job["metadata"]["labels"], **template["metadata"]["labels"]}
    amounts = container["resources"]
    policy = spec.get("podFailurePolicy")
    checks = {
        f"unknown field {set(spec) - _SPEC}": set(spec) <= _SPEC,
        f"unknown field {set(pod) - _POD_SPEC}": set(pod) <= _POD_SPEC,
        "metadata.name": _NAME.fullmatch(job["metadata"]["name"]),
        "metadata.labels": all(_LABEL.fullmatch(value) for value in labels.values()),
        "restartPolicy: Never": pod["restartPolicy"] == "Never",
        "podReplacementPolicy": not policy or spec.get("podReplacementPolicy") == "Failed",
        "activeDeadlineSeconds": spec["activeDeadlineSeconds"] > 0,
        "image": container["image"].strip() == container["image"] != "",
        "env": all(set(e) in ({"name", "value"}, {"name", "valueFrom"}) for e in container["env"]),
        "resources": all(
            _QUANTITY.fullmatch(amount)
            for kind in ("requests", "limits")
            for amount in amounts[kind].values()
        ),
        "volumeMounts": {m["name"] for m in container["volumeMounts"]}
        <= {v["name"] for v in pod["volumes"]},
    }
    return [problem for problem, fine in checks.items() if not fine]
