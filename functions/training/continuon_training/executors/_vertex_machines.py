"""Which machine of Vertex AI is the smallest that holds what a job asks for. Pure.

Machine types and their accelerators as in "Configure compute resources for training" and the
machine families' pages of Compute Engine. A new family is one more line here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from continuon_training.executors.base import ExecutorRefusedError

if TYPE_CHECKING:
    from continuon_training.executors.base import Resources

__all__ = ["Machine", "machine_for"]


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine type with its accelerators: name, vCPUs, memory in GiB, GPU type and count."""

    name: str
    cpu: int
    memory_gib: int
    gpu_type: str = ""
    gpu_count: int = 0


_CPU: Final = (
    *(Machine(f"e2-standard-{n}", n, 4 * n) for n in (4, 8, 16, 32)),
    *(Machine(f"e2-highmem-{n}", n, 8 * n) for n in (2, 4, 8, 16)),
    *(Machine(f"n2-standard-{n}", n, 4 * n) for n in (48, 64, 80)),
    *(Machine(f"n2-highmem-{n}", n, 8 * n) for n in (32, 48, 64, 80)),
)
_N1: Final = tuple(
    Machine(f"n1-standard-{n}", n, int(3.75 * n), gpu_type, count)
    for gpu_type in ("NVIDIA_TESLA_T4", "NVIDIA_TESLA_P4", "NVIDIA_TESLA_P100", "NVIDIA_TESLA_V100")
    for count in (1, 2, 4, 8)
    for n in (4, 8, 16, 32, 64, 96)
    # Eight only of V100; each GPU allows some more processors (T4 and P100: 24, 16 a piece).
    if (count < 8 or gpu_type.endswith("V100")) and n <= 24 * count  # noqa: PLR2004 - see above
)
_G2: Final = tuple(
    Machine(f"g2-standard-{n}", n, 4 * n, "NVIDIA_L4", count)
    for n, count in ((4, 1), (8, 1), (12, 1), (16, 1), (32, 1), (24, 2), (48, 4), (96, 8))
)
_A2: Final = (
    *(Machine(f"a2-highgpu-{n}g", 12 * n, 85 * n, "NVIDIA_TESLA_A100", n) for n in (1, 2, 4, 8)),
    Machine("a2-megagpu-16g", 96, 1360, "NVIDIA_TESLA_A100", 16),
    *(Machine(f"a2-ultragpu-{n}g", 12 * n, 170 * n, "NVIDIA_A100_80GB", n) for n in (1, 2, 4, 8)),
)
_A3: Final = tuple(
    Machine(f"a3-highgpu-{n}g", 26 * n, 234 * n, "NVIDIA_H100_80GB", n) for n in (1, 2, 4, 8)
)
_MACHINES: Final = (*_CPU, *_N1, *_G2, *_A2, *_A3)

_MIB_PER_GIB: Final = 1024


def machine_for(resources: Resources) -> Machine:
    """Return the smallest machine with at least these resources and exactly these GPUs.

    Raises:
        ExecutorRefusedError: ``executor.resources``.
    """
    wanted = _gpu_type(resources)
    fitting = [
        machine
        for machine in _MACHINES
        if (machine.gpu_type, machine.gpu_count) == (wanted, resources.gpu_count)
        and machine.cpu >= resources.cpu
        and machine.memory_gib * _MIB_PER_GIB >= resources.memory_mib
    ]
    if not fitting:
        gpus = f" and {resources.gpu_count} x {wanted}" if wanted else ""
        asked = f"{resources.cpu:g} vCPUs, {resources.memory_mib} MiB{gpus}"
        message = f"No machine of Vertex AI has {asked}."
        raise ExecutorRefusedError("executor.resources", message)
    return min(fitting, key=lambda machine: (machine.cpu, machine.memory_gib))


def _gpu_type(resources: Resources) -> str:
    """Return Vertex AI's name of a GPU: ``nvidia-l4``, ``L4`` and ``NVIDIA_L4`` are the same."""
    if not resources.gpu_count:
        return ""
    name = (resources.gpu_type or "").upper().replace("-", "_")
    known = {machine.gpu_type for machine in _MACHINES} - {""}
    for candidate in (
        name,
        f"NVIDIA_{name}",
        name.replace("NVIDIA_", "NVIDIA_TESLA_"),
        f"NVIDIA_TESLA_{name}",
    ):
        if candidate in known:
            return candidate
    listed = ", ".join(sorted(known))
    message = f"Vertex AI has no GPU {resources.gpu_type!r} for training here: {listed}."
    raise ExecutorRefusedError("executor.resources", message)
