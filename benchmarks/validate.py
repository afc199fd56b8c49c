"""Speed and memory of the episode validator, as ratios within one run.

The yardstick is `orjson.loads` line by
line over the same bytes in the same process; the validator hashes and checks them in one pass. The
requirement: at least 0.6 of the yardstick's speed, 1.0 as the aim, and under 32 MiB more memory for
an episode of 1 GB than for one of 10 MB.
"""

from __future__ import annotations

import hashlib
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from continuon.limits import DEFAULT_LIMITS
from continuon.rlds import EpisodeMember, _fast, validate_members
from continuon.rlds.segment import BATCH_BYTES, Segment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EXAMPLES: Final = Path(__file__).resolve().parent.parent / "examples" / "episodes"
CHUNK_BYTES: Final = 256 * 1024
PERIOD_NS: Final = 50_000_000
FLOOR: Final = 0.6
AIM: Final = 1.0
MEMORY_LIMIT_MIB: Final = 32
MB: Final = 1_000_000
TIMED_BYTES: Final = 30 * MB
QUICK_BYTES: Final = 10 * MB
SOURCES: Final = {
    "reacher": "recorded/valid/reacher/steps.jsonl",
    "bridge": "fetched/bridge/bridge_03/steps.jsonl",
}


def grow(source: str, size: int) -> Iterator[bytes]:
    """Yield lines of about `size` bytes: a recording, repeated with rising times."""
    lines = (EXAMPLES / SOURCES[source]).read_bytes().splitlines()
    templates = [json.loads(line) for line in lines]
    written = index = 0
    while written < size:
        line = _line(templates[index % len(templates)], index)
        written += len(line)
        index += 1
        yield line


def _line(step: dict[str, Any], index: int) -> bytes:
    now = 1_000_000_000_000 + index * PERIOD_NS
    state = step["observation"]["robot_state"]
    picture = step["observation"]["media"]["rgb"]
    picture["timestamp_ns"] += now - state["timestamp_nanos"]
    state["timestamp_nanos"] = step["timestamp_ns"] = now
    step.update(step_index=index, is_first=index == 0, is_last=False)
    return json.dumps(step, separators=(",", ":")).encode() + b"\n"


def parse_lines(data: bytes) -> None:
    """Do the yardstick's work."""
    loads = orjson.loads
    for line in data.split(b"\n"):
        if line:
            loads(line)


def check_and_hash(data: bytes) -> Segment:
    """Do the validator's work on a steps file: split, decode, check, hash."""
    digest = hashlib.sha256()
    segment = Segment("steps.jsonl", DEFAULT_LIMITS, step_budget=DEFAULT_LIMITS.steps)
    for start in range(0, len(data), CHUNK_BYTES):
        chunk = data[start : start + CHUNK_BYTES]
        digest.update(chunk)
        segment.feed(chunk)
    segment.finish()
    digest.hexdigest()
    return segment


def _seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def measure_speed(source: str, size: int, rounds: int) -> dict[str, Any]:
    """Compare with the yardstick in interleaved rounds; report medians."""
    data = b"".join(grow(source, size))
    segment = check_and_hash(data)
    if segment.findings.listed:
        raise RuntimeError(f"the generated episode is not sound: {segment.findings.listed[:3]}")
    pairs = [
        (_seconds(lambda: parse_lines(data)), _seconds(lambda: check_and_hash(data)))
        for _ in range(rounds)
    ]
    ours = statistics.median(pair[1] for pair in pairs)
    ratios = sorted(pair[0] / pair[1] for pair in pairs)
    return {
        "bytes": len(data),
        "step_bytes": round(len(data) / segment.steps),
        "ratio": round(statistics.median(ratios), 3),
        "ratio_lowest": round(ratios[0], 3),
        "ratio_highest": round(ratios[-1], 3),
        "orjson_mb_per_s": round(len(data) / MB / statistics.median(p[0] for p in pairs)),
        "validate_mb_per_s": round(len(data) / MB / ours),
        "shares": _shares(data, segment, ours),
    }


def _shares(data: bytes, segment: Segment, whole: float) -> dict[str, float]:
    """Time each part alone, as a share of the whole; the rest is the rules and bookkeeping."""
    batches = list(_batches(data))
    rules = segment._batches  # noqa: SLF001 - the benchmark looks inside on purpose
    if rules is None or (decoder := rules._schema.closed) is None:  # noqa: SLF001
        raise RuntimeError("the generated episode does not take the batch path")

    def decode() -> None:
        for batch in batches:
            decoder.decode_lines(batch)

    parts = {
        "read_and_split": _best(lambda: [_fast.line_starts(b) for b in _batches(data)]),
        "utf8": _best(lambda: [batch.isascii() or batch.decode() for batch in batches]),
        "decode_and_depth": _best(decode),
        "sha256": _best(lambda: hashlib.sha256(data).hexdigest()),
    }
    shares = {name: round(seconds / whole, 3) for name, seconds in parts.items()}
    return {**shares, "rules": round(max(0.0, 1 - sum(shares.values())), 3)}


def _batches(data: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(data):
        end = data.rfind(b"\n", start, start + BATCH_BYTES) + 1
        yield data[start:end]
        start = end


def _best(work: Callable[[], object]) -> float:
    return min(_seconds(work) for _ in range(3))


def validate_generated(size: int) -> dict[str, Any]:
    """Validate an episode of `size` bytes that is made while it is read; report peak memory."""
    blobs = sorted((EXAMPLES / "recorded/valid/reacher/blobs").iterdir())
    members = [EpisodeMember(f"blobs/{path.name}", None, [path.read_bytes()]) for path in blobs]
    members.append(EpisodeMember("metadata.json", None, [b"{}"]))
    members.append(EpisodeMember("steps.jsonl", None, _chunks(size)))
    report = validate_members(members)
    if not report.is_valid:
        raise RuntimeError(f"the generated episode is not sound: {report.problems[:3]}")
    return {"steps": report.counts.steps, "bytes": report.bytes, "peak_mib": round(_peak(), 1)}


def _peak() -> float:
    """Return the peak resident memory of this process in MiB.

    `getrusage` is only the second choice: on Linux a child starts with its parent's peak there.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    import resource  # noqa: PLC0415 - not on every platform

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024**2 if sys.platform == "darwin" else peak / 1024


def _chunks(size: int) -> Iterator[bytes]:
    """Repeat a block of numbered steps: writing a gigabyte of JSON anew would take minutes."""
    pending: list[bytes] = []
    waiting = 0
    for line in _renumbered(size):
        pending.append(line)
        waiting += len(line)
        if waiting >= CHUNK_BYTES:
            yield b"".join(pending)
            pending, waiting = [], 0
    yield b"".join(pending)


def _renumbered(size: int) -> Iterator[bytes]:
    """Yield steps whose index and times rise, by formatting a prepared line."""
    template = json.loads((EXAMPLES / SOURCES["reacher"]).read_bytes().splitlines()[1])
    template.update(step_index=1_111_111, timestamp_ns=2_222_222)
    del template["is_first"], template["is_last"]  # then they are derived
    template["observation"]["robot_state"]["timestamp_nanos"] = 2_222_222
    template["observation"]["media"]["rgb"]["timestamp_ns"] = 2_222_222
    text = json.dumps(template, separators=(",", ":")) + "\n"
    form = text.replace("%", "%%").replace("1111111", "%d", 1)
    form = form.replace("2222222", "%d")
    written = index = 0
    while written < size:
        now = index * PERIOD_NS
        line = (form % (index, now, now, now)).encode()
        written += len(line)
        index += 1
        yield line


def measure_memory(small: int, large: int) -> dict[str, Any]:
    """Compare the peak memory of two processes that validate a small and a large episode."""
    results = [_in_process(size) for size in (small, large)]
    growth = results[1]["peak_mib"] - results[0]["peak_mib"]
    return {"small": results[0], "large": results[1], "growth_mib": round(growth, 1)}


def _in_process(size: int) -> dict[str, Any]:
    command = [sys.executable, __file__, str(size)]
    done = subprocess.run(command, check=True, capture_output=True, timeout=600)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def run(*, quick: bool) -> dict[str, Any]:
    """Measure speed and memory, in the common form of the benchmarks.

    Args:
        quick: Smaller files and fewer rounds, under 20 s; the memory is compared at 100 MB.
    """
    size, rounds = (QUICK_BYTES, 5) if quick else (TIMED_BYTES, 9)
    speed = {source: measure_speed(source, size, rounds) for source in SOURCES}
    memory = measure_memory(10 * MB, 100 * MB if quick else 1000 * MB)
    ratio = min(figures["ratio"] for figures in speed.values())
    growth = memory["growth_mib"]
    figures: dict[str, Any] = {}
    for source, measured in speed.items():
        lowest, highest = measured["ratio_lowest"], measured["ratio_highest"]
        figures[f"{source}, ratio (lowest to highest round)"] = (
            f"{measured['ratio']} ({lowest} to {highest})"
        )
        figures[f"{source}, orjson MB/s"] = measured["orjson_mb_per_s"]
        figures[f"{source}, validate and SHA-256 MB/s"] = measured["validate_mb_per_s"]
        for part, share in measured["shares"].items():
            figures[f"{source}, of which {part.replace('_', ' ')}"] = f"{share:.0%}"
    large_mb = memory["large"]["bytes"] // MB
    figures[f"memory growth, 10 MB to {large_mb} MB, MiB (limit {MEMORY_LIMIT_MIB})"] = growth
    return {
        "name": "validate + SHA-256 of a steps file, against orjson.loads line by line",
        "ratio": ratio,
        "goal": f">= {FLOOR} (aim {AIM})",
        "met": ratio >= FLOOR and growth < MEMORY_LIMIT_MIB,
        "figures": figures,
    }


if __name__ == "__main__":
    # The memory is compared between fresh processes: this is what one of them does.
    print(json.dumps(validate_generated(int(sys.argv[1]))))
