"""The meter: who caused what, what it costs, for how long an instance is billed."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from continuon_local.cli_meter import cost_document
from continuon_local.events.manifest import FunctionSpec, HttpsTrigger, load_manifest
from continuon_local.functions._attribution import _change_grpc, _change_grpc_aio, request_id
from continuon_local.functions.billing import BilledTime
from continuon_local.meter import MAX_REQUESTS, Meter, Operation, split_caller
from continuon_local.prices import PRICES, bill

GIB = 1024**3
TRACE = "0af7651916cd43dd8448eb211c80319c"


class StepClock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def function(**more: object) -> FunctionSpec:
    spec = {
        "id": "ingest",
        "codebase": "demo",
        "source": Path("demo"),
        "entry_point": "ingest",
        "region": "us-central1",
        "trigger": HttpsTrigger(),
        "environment": {},
        **more,
    }
    return FunctionSpec(**spec)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("caller", "expected"),
    [
        ("", ("", "")),
        ("ingest", ("ingest", "")),
        ("ingest;trace=0af7", ("ingest", "0af7")),
        (";trace=0af7", ("", "0af7")),
    ],
)
def test_a_caller_is_a_function_and_its_request(caller: str, expected: tuple[str, str]) -> None:
    assert split_caller(caller) == expected


def test_operations_count_in_all_by_function_and_by_request() -> None:
    meter = Meter()
    meter.record(Operation.FIRESTORE_READ, 3, caller="ingest;trace=a")
    meter.record(Operation.FIRESTORE_READ, 2, caller="ingest;trace=b")
    meter.record(Operation.FIRESTORE_READ, 1, caller="ingest")
    meter.record(Operation.FIRESTORE_READ, 5)
    meter.record(Operation.FIRESTORE_WRITE, 0, caller="ingest;trace=c")
    assert meter.totals() == {Operation.FIRESTORE_READ: 11}
    assert meter.by_caller() == {
        (Operation.FIRESTORE_READ, "ingest"): 6,
        (Operation.FIRESTORE_READ, ""): 5,
    }
    assert list(meter.by_request()) == [
        ("ingest", "a", {Operation.FIRESTORE_READ: 3}),
        ("ingest", "b", {Operation.FIRESTORE_READ: 2}),
    ]
    meter.reset()
    assert (meter.totals(), list(meter.by_request())) == ({}, [])


def test_endless_requests_are_forgotten_one_by_one_but_stay_counted() -> None:
    meter = Meter()
    for number in range(MAX_REQUESTS + 5):
        meter.record(Operation.FIRESTORE_READ, caller=f"ingest;trace={number}")
    kept = [request for _, request, _ in meter.by_request()]
    assert (len(kept), kept[0]) == (MAX_REQUESTS, "5")
    assert meter.totals() == {Operation.FIRESTORE_READ: MAX_REQUESTS + 5}


def test_every_operation_has_a_price_and_its_source() -> None:
    assert set(PRICES) == set(Operation)
    assert all(price.source.startswith("https://cloud.google.com/") for price in PRICES.values())


def test_a_bill_is_units_times_list_price() -> None:
    counts = {
        (Operation.FIRESTORE_READ, "ingest"): 60_000,
        (Operation.FIRESTORE_READ, ""): 40_000,
        (Operation.FUNCTION_MIB_MS, "ingest"): 1024 * 1000,
        (Operation.FUNCTION_VCPU_US, "ingest"): 1_000_000,
    }
    dollars = {line.operation: line.dollars for line in bill(counts)}
    assert dollars == {
        Operation.FIRESTORE_READ: pytest.approx(0.06),
        Operation.FUNCTION_MIB_MS: pytest.approx(0.0000025),
        Operation.FUNCTION_VCPU_US: pytest.approx(0.000024),
    }


def test_a_function_reads_from_storage_without_egress_and_a_device_does_not() -> None:
    counts = {
        (Operation.STORAGE_EGRESS_BYTES, "ingest"): 7 * GIB,
        (Operation.STORAGE_EGRESS_BYTES, ""): 2 * GIB,
    }
    [line] = bill(counts)
    assert (line.units, line.free_units) == (9 * GIB, 7 * GIB)
    assert line.dollars == pytest.approx(0.24)


def test_a_projection_takes_the_free_tier_off_once() -> None:
    counts = {(Operation.FIRESTORE_WRITE, "ingest"): 2, (Operation.PUBSUB_BYTES, ""): 1000}
    writes, messages = bill(counts, times=1_000_000, free_tier=True)
    assert (writes.units, writes.free_units) == (2_000_000, 600_000)
    assert writes.dollars == pytest.approx(1_400_000 * 0.18 / 100_000)
    assert (messages.units, messages.dollars) == (1_000_000_000, 0)
    document = cost_document([writes, messages], 1_000_000)
    assert document["total"] == pytest.approx(2.52)
    assert document["free_tier_deducted"] is True


def test_an_instance_is_billed_once_for_requests_that_overlap() -> None:
    meter, clock = Meter(), StepClock()
    billed = BilledTime(meter, function(memory_mb=512, cpu=2.0), clock)
    with billed.request("a"):
        clock.now_s += 0.150
        with billed.request("b"):
            clock.now_s += 0.100
    # 250 ms in steps of 100.
    assert meter.totals() == {
        Operation.FUNCTION_INVOCATION: 2,
        Operation.FUNCTION_MIB_MS: 512 * 300,
        Operation.FUNCTION_VCPU_US: 2 * 300 * 1000,
    }
    assert [counts for _, _, counts in meter.by_request()] == [
        {Operation.FUNCTION_INVOCATION: 1}
    ] * 2


def test_a_request_alone_is_billed_to_itself_and_for_one_step_at_least() -> None:
    meter = Meter()
    with pytest.raises(ConnectionError), BilledTime(meter, function(), StepClock()).request("a"):
        raise ConnectionError
    [(name, request, counts)] = meter.by_request()
    assert (name, request) == ("ingest", "a")
    assert counts[Operation.FUNCTION_MIB_MS] == 256 * 100


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([(b"traceparent", f"00-{TRACE}-b7ad6b7169203331-01".encode())], TRACE),
        ([(b"x-cloud-trace-context", f"{TRACE}/1;o=1".encode())], TRACE),
        ([(b"ce-id", b"event-1")], "event-1"),
        ([(b"traceparent", b"nonsense"), (b"ce-id", b"two words")], ""),
        ([(b"ce-id", b"x" * 101)], ""),
        ([], ""),
    ],
)
def test_a_request_is_known_by_its_trace_else_by_its_event(
    headers: list[tuple[bytes, bytes]], expected: str
) -> None:
    assert request_id(headers) == expected


def test_an_unknown_version_of_grpc_costs_the_attribution_and_not_the_function() -> None:
    module = ModuleType("grpc_of_the_future")
    _change_grpc(module)
    _change_grpc_aio(module)
    assert not {name for name in vars(module) if not name.startswith("__")}


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("", 1.0),
        ("availableMemoryMb: 4096", 2.0),
        ("cpu: 4", 4.0),
        ("cpu: gcf_gen1", 0.1666),
        ("cpu: gcf_gen1\n    availableMemoryMb: 2048", 1.0),
        ("availableMemoryMb: 32768\n    cpu: gcf_gen1", 8.0),
    ],
)
def test_a_function_has_the_cpu_that_the_firebase_cli_gives_it(
    tmp_path: Path, lines: str, expected: float
) -> None:
    manifest = tmp_path / "functions.yaml"
    manifest.write_text(
        "specVersion: v1alpha1\nrequiredAPIs: []\nendpoints:\n  web:\n    platform: gcfv2\n"
        f"    entryPoint: web\n    httpsTrigger: {{}}\n    {lines}\n"
    )
    [spec] = load_manifest(manifest, codebase="demo")
    assert spec.cpu == expected
