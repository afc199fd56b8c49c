"""Cold start to first answer of each function, against the do-nothing function of the framework.

Wall time from starting the process to its first HTTP answer, the stores being up. The first answer
of an HTTP function is a problem (no credentials), of the event function an acknowledgement: both
come after everything that the entry point imports.
"""

from __future__ import annotations

from typing import Any

from harness import ROOT, import_time_ms, local_cloud, median, serve_function

__all__ = ["run"]

FUNCTIONS = {
    "signed_url": "functions/rlds/main.py",
    "ingest": "functions/rlds/main.py",
    "episodes_api": "functions/rlds/main.py",
    "ingest_finalized": "functions/rlds/main.py",
    "fleet_api": "functions/fleet/main.py",
}
_EVENT = {"bucket": "continuon-rlds", "name": "elsewhere/file"}

IMPORTS = {
    "rlds": ("continuon_rlds.api.uploads", "continuon_rlds.api.episodes", "continuon_rlds.ingest"),
    "fleet": ("continuon_fleet.api",),
}


def run(*, quick: bool) -> dict[str, Any]:
    """Start every function several times in turn with the do-nothing function."""
    rounds = 2 if quick else 5
    idle: list[float] = []
    seconds: dict[str, list[float]] = {name: [] for name in FUNCTIONS}
    with local_cloud() as cloud:
        for _ in range(rounds):
            with serve_function(ROOT / "benchmarks/nothing.py", "nothing") as served:
                idle.append(served.first_answer_s)
            for name, source in FUNCTIONS.items():
                event = _EVENT if name == "ingest_finalized" else None
                with serve_function(ROOT / source, name, env=cloud["env"], event=event) as served:
                    seconds[name].append(served.first_answer_s)
    ratios = {
        name: median([value / base for value, base in zip(values, idle, strict=True)])
        for name, values in seconds.items()
    }
    imports = {
        f"import {module}, ms": round(import_time_ms(f"import {module}", ROOT / "functions" / base))
        for base, modules in IMPORTS.items()
        for module in modules
    }
    return {
        "name": "cold start to first answer, against a do-nothing sync function",
        "ratio": max(ratios.values()),
        "goal": "reported; the slowest function",
        "met": None,
        "figures": {
            "do_nothing_s": median(idle),
            **{f"{name}, ratio": ratio for name, ratio in ratios.items()},
            **imports,
        },
    }
