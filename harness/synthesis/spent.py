"""What the tries of a series took: time, energy, memory."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from harness.profiling.energy import EnergyMeter
from harness.profiling.memory import PeakMemory


@dataclass
class Spent:
    """Of some tries: wall time of generation in seconds; joules by source, or why there are none; the most memory in
    bytes, of this process and of each GPU, None where the PLM runs in another; how the PLM was run."""

    seconds: float = 0.0
    joules: Mapping[str, float] | None = None
    unavailable: Mapping[str, str] | None = None
    peak_memory_bytes: int | None = None
    peak_gpu_memory_bytes: int | None = None
    provenance: Mapping[str, str | int] | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@contextmanager
def measured() -> Iterator[Spent]:
    """Measure a block: what is yielded is filled in when it ends, however it ends."""
    spent, begin = Spent(), time.perf_counter()
    meter, memory = EnergyMeter(), PeakMemory()
    try:
        with meter, memory:
            yield spent
    finally:
        spent.seconds = time.perf_counter() - begin
        spent.joules, spent.unavailable = meter.energy.joules, meter.energy.unavailable
        spent.peak_memory_bytes = memory.peak.resident
        spent.peak_gpu_memory_bytes = max(memory.peak.cuda) if memory.peak.cuda else None


def forget_this_process(spent: Spent, where: str) -> None:
    """Where a PLM does not run in this process, what this one used is not what the PLM did."""
    spent.peak_memory_bytes = spent.peak_gpu_memory_bytes = None
    if where == "a server":
        spent.joules, spent.unavailable = None, dict.fromkeys(("nvml", "rapl"), "the PLM runs behind a server")


def total(parts: list[Spent]) -> Spent:
    """Of all parts together. Joules of a source only where every part has them: some would be taken for all."""
    sources = set.intersection(*(set(part.joules or ()) for part in parts)) if parts else set()
    memory = [part.peak_memory_bytes for part in parts if part.peak_memory_bytes is not None]
    gpu = [part.peak_gpu_memory_bytes for part in parts if part.peak_gpu_memory_bytes is not None]
    reasons = {source: why for part in parts for source, why in (part.unavailable or {}).items()}
    return Spent(
        seconds=sum(part.seconds for part in parts),
        joules={source: sum((part.joules or {})[source] for part in parts) for source in sorted(sources)} or None,
        unavailable={source: why for source, why in reasons.items() if source not in sources},
        peak_memory_bytes=max(memory, default=None),
        peak_gpu_memory_bytes=max(gpu, default=None),
        provenance=parts[-1].provenance if parts else None,
    )
