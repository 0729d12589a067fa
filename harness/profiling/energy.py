"""Energy, read where the machine counts it: GPUs by NVML, processors by RAPL. Without a counter there is no figure."""

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

POWERCAP = Path("/sys/class/powercap")
SAMPLE_SECONDS = 30.0
"""RAPL counters start again after minutes of full load: read often enough, none does so twice unseen."""


@dataclass(frozen=True)
class Energy:
    """Joules by source, `nvml` and `rapl`; None where no source could be read, and why each could not.

    Always `shared`: the counters are of whole GPUs and processor packages, with all that other processes did
    meanwhile, and with what the machine uses at rest.
    """

    joules: Mapping[str, float] | None
    unavailable: Mapping[str, str]
    shared: bool = True


class _UnavailableError(Exception):
    """Why a source tells nothing."""


@dataclass(frozen=True)
class _Source:
    """Counters of one kind: how to read them all, and after which count each starts again."""

    read: Callable[[], list[int]]
    ranges: Sequence[int]
    counts_per_joule: float


class EnergyMeter:
    """Measures the energy of a `with` block; `energy` holds it afterwards."""

    energy: Energy

    def __enter__(self) -> "EnergyMeter":
        self._sources: dict[str, _Source] = {}
        self._unavailable: dict[str, str] = {}
        self._last: dict[str, list[int]] = {}
        self._joules: dict[str, float] = {}
        for name, find in (("nvml", _nvml), ("rapl", _rapl)):
            try:
                self._sources[name] = source = find()
                self._last[name], self._joules[name] = source.read(), 0.0
            except _UnavailableError as error:
                self._fail(name, error)
        self._ended = threading.Event()
        self._sampler = threading.Thread(target=self._sample_on, daemon=True)
        self._sampler.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._sampler.join()
        self._sample()
        self.energy = Energy(self._joules or None, self._unavailable)

    def _sample_on(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            self._sample()

    def _sample(self) -> None:
        for name, source in list(self._sources.items()):
            try:
                counts = source.read()
            except _UnavailableError as error:
                self._fail(name, error)
                continue
            used = sum(
                count - last if count >= last else count - last + span
                for count, last, span in zip(counts, self._last[name], source.ranges, strict=True)
            )
            self._joules[name] += used / source.counts_per_joule
            self._last[name] = counts

    def _fail(self, name: str, error: _UnavailableError) -> None:
        """A part of the energy would be taken for the whole: what was read of a source goes with it."""
        self._unavailable[name] = str(error)
        self._sources.pop(name, None)
        self._joules.pop(name, None)


def _rapl() -> _Source:
    """The packages among the power zones; their parts, and `psys` around them, would count twice."""
    zones = [zone for zone in sorted(POWERCAP.glob("intel-rapl:*")) if _text(zone / "name").startswith("package")]
    if not zones:
        raise _UnavailableError(f"no RAPL package in {POWERCAP}")
    ranges = [int(_text(zone / "max_energy_range_uj")) for zone in zones]
    return _Source(lambda: [int(_text(zone / "energy_uj")) for zone in zones], ranges, 1e6)


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        raise _UnavailableError(f"{path}: {error.strerror}") from None


def _nvml() -> _Source:
    """The GPUs that CUDA_VISIBLE_DEVICES leaves, counted in the order of their PCI buses."""
    try:
        import pynvml
    except ModuleNotFoundError:
        raise _UnavailableError("pynvml is not installed: pip install 'plm-data-harness[nvml]'") from None
    nvml: Any = pynvml
    try:
        nvml.nvmlInit()  # NVML counts who uses it; this process does until it ends
        gpus = _visible_gpus(nvml)
    except nvml.NVMLError as error:
        raise _UnavailableError(f"NVML: {error}") from None
    if not gpus:
        raise _UnavailableError("no GPU is visible")

    def read() -> list[int]:
        try:
            return [int(nvml.nvmlDeviceGetTotalEnergyConsumption(gpu)) for gpu in gpus]
        except nvml.NVMLError as error:
            raise _UnavailableError(f"NVML: {error}") from None

    return _Source(read, [1 << 64] * len(gpus), 1e3)


def _visible_gpus(nvml: Any) -> list[Any]:
    """Handles, by CUDA's rules: numbers or UUIDs; what follows one that does not exist is not visible."""
    count = int(nvml.nvmlDeviceGetCount())
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [str(index) for index in range(count)] if listed is None else listed.split(",")
    handles = []
    for name in map(str.strip, names):
        if name.startswith("MIG-"):
            raise _UnavailableError("NVML: no energy counter of a part of a GPU (MIG)")
        if name.startswith("GPU-"):
            handles.append(nvml.nvmlDeviceGetHandleByUUID(name))
        elif name.isdecimal() and int(name) < count:
            handles.append(nvml.nvmlDeviceGetHandleByIndex(int(name)))
        else:
            break
    return handles
