"""CPU time of POST /api/rlds/signed-url on a warm instance, against a do-nothing function.

Goal: at most 6 times the do-nothing synchronous function of the same framework.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx

from continuon.auth.signatures import SignedRequest, verify_request
from harness import ROOT, cpu_per_request_ms, local_cloud, median, serve_function
from robot import Robot, claim_robot

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness import Served

__all__ = ["GOAL", "run"]

GOAL = 6.0
_PATH = "/api/rlds/signed-url"


def _body(number: int) -> dict[str, Any]:
    return {
        "episode_id": f"ep_{number:013d}",
        "metadata": {"duration_ms": 30_000, "step_count": 300},
        "size_bytes": 1_000_000,
    }


def _loop_ms(call: Callable[[], object], times: int) -> float:
    started = time.process_time()
    for _ in range(times):
        call()
    return (time.process_time() - started) / times * 1000


def _verification_ms(robot: Robot) -> float:
    request = robot.request("POST", "http://x", _PATH, _body(0))
    signed = SignedRequest("POST", _PATH, dict(request.headers), request.content)
    now, key = datetime.now(UTC), robot.key.public_key()
    return _loop_ms(lambda: verify_request(signed, key_id=robot.robot_id, key=key, now=now), 200)


def _signing_ms(cloud: dict[str, Any]) -> float:
    from google.cloud.storage import Client  # noqa: PLC0415 - heavy, used here only
    from google.oauth2 import service_account  # noqa: PLC0415 - same

    from continuon.platform.storage import UrlSigner  # noqa: PLC0415 - same

    key_file = cloud["env"]["GOOGLE_APPLICATION_CREDENTIALS"]
    credentials = service_account.Credentials.from_service_account_file(key_file)  # type: ignore[no-untyped-call]
    client = Client(project="demo-continuon", credentials=credentials)
    signer = UrlSigner(client.bucket("continuon-rlds"), "http://127.0.0.1", credentials)
    headers = {"content-type": "application/gzip", "x-goog-if-generation-match": "0"}
    lifetime = timedelta(hours=1)
    return _loop_ms(
        lambda: signer.sign("a/b", method="PUT", lifetime=lifetime, headers=headers), 200
    )


def _warm(served: Served, robot: Robot, count: int) -> None:
    requests = [robot.request("POST", served.url, _PATH, _body(n)) for n in range(count)]
    cpu_per_request_ms(served, requests)


def run(*, quick: bool) -> dict[str, Any]:
    """Measure both functions in turn and return the figures."""
    rounds, count = (3, 200) if quick else (5, 500)
    with local_cloud() as cloud:
        robot = claim_robot(cloud, "bench0001")
        # One robot asks for thousands of URLs a minute here.
        environment = {**cloud["env"], "CONTINUON_REQUESTS_PER_MINUTE": "1000000"}
        signed_source, idle_source = ROOT / "functions/rlds/main.py", ROOT / "benchmarks/nothing.py"
        with (
            serve_function(idle_source, "nothing") as idle,
            serve_function(signed_source, "signed_url", env=environment) as signed,
        ):
            _warm(signed, robot, 50)
            idle_ms, signed_ms = [], []
            for turn in range(rounds):
                first = 1000 + turn * count
                idle_ms.append(
                    cpu_per_request_ms(
                        idle, [httpx.Request("POST", idle.url) for _ in range(count)]
                    )
                )
                requests = [
                    robot.request("POST", signed.url, _PATH, _body(first + n)) for n in range(count)
                ]
                signed_ms.append(cpu_per_request_ms(signed, requests))
        verification, signing = _verification_ms(robot), _signing_ms(cloud)
    ratios = [a / b for a, b in zip(signed_ms, idle_ms, strict=True)]
    total = median(signed_ms)
    return {
        "name": "signed-url, CPU per request against a do-nothing sync function",
        "ratio": median(ratios),
        "goal": f"<= {GOAL:g}",
        "met": median(ratios) <= GOAL,
        "figures": {
            "do_nothing_ms": median(idle_ms),
            "signed_url_ms": total,
            "of which verifying the request signature (RFC 9421, Ed25519)": round(verification, 3),
            "of which signing the URL (V4, RSA 2048)": round(signing, 3),
            "of which the rest: framework, contracts, two Firestore calls": round(
                total - verification - signing, 3
            ),
        },
    }
