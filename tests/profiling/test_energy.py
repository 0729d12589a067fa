"""Energy is what the counters of a made-up machine say, once each, or a reason why there is none."""

import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from harness.profiling import energy
from harness.profiling.energy import EnergyMeter


class Zones:
    """A powercap folder: zones by name of folder, with a name, a count and the last count before 0, in microjoules."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def add(self, folder: str, name: str, microjoules: int, last: int = 10**12) -> None:
        (self.root / folder).mkdir(parents=True)
        (self.root / folder / "name").write_text(name + "\n")
        (self.root / folder / "max_energy_range_uj").write_text(f"{last}\n")
        self.set(folder, microjoules)

    def set(self, folder: str, microjoules: int) -> None:
        (self.root / folder / "energy_uj").write_text(f"{microjoules}\n")


class Gpus:
    """A `pynvml` with one millijoule counter per GPU."""

    def __init__(self, millijoules: list[int]) -> None:
        self.millijoules: list[int | None] = [*millijoules]
        self.module = ModuleType("pynvml")

        class NVMLError(Exception):
            pass

        def by_uuid(uuid: str) -> int:
            if uuid not in ("GPU-0aa", "GPU-1bb", "GPU-2cc"):
                raise NVMLError("Not Found")
            return int(uuid[4])

        def total(handle: int) -> int:
            count = self.millijoules[handle]
            if count is None:
                raise NVMLError("Not Supported")
            return count

        vars(self.module).update(
            NVMLError=NVMLError,
            nvmlInit=lambda: None,
            nvmlDeviceGetCount=lambda: len(self.millijoules),
            nvmlDeviceGetHandleByIndex=lambda index: index,
            nvmlDeviceGetHandleByUUID=by_uuid,
            nvmlDeviceGetTotalEnergyConsumption=total,
        )


@pytest.fixture
def zones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Zones:
    """A machine without GPUs, and without zones as yet."""
    monkeypatch.setattr(energy, "POWERCAP", tmp_path / "powercap")
    monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return Zones(tmp_path / "powercap")


@pytest.fixture
def gpus(zones: Zones, monkeypatch: pytest.MonkeyPatch) -> Gpus:
    """Three of them."""
    three = Gpus([1000, 5000, 90_000])
    monkeypatch.setitem(sys.modules, "pynvml", three.module)
    return three


def test_packages_are_counted_once_and_their_parts_not_at_all(zones: Zones) -> None:
    for folder, name in (
        ("intel-rapl:0", "package-0"),
        ("intel-rapl:0:0", "core"),
        ("intel-rapl:1", "package-1"),
        ("intel-rapl:2", "psys"),
        ("intel-rapl-mmio:0", "package-0"),
    ):
        zones.add(folder, name, 5_000_000)
    with EnergyMeter() as meter:
        zones.set("intel-rapl:0", 7_500_000)
        zones.set("intel-rapl:1", 5_250_000)
        for other in ("intel-rapl:0:0", "intel-rapl:2", "intel-rapl-mmio:0"):
            zones.set(other, 900_000_000)
    assert meter.energy.joules == pytest.approx({"rapl": 2.75})
    assert meter.energy.shared is True
    assert list(meter.energy.unavailable) == ["nvml"]


def test_a_counter_that_starts_again_goes_on(zones: Zones) -> None:
    zones.add("intel-rapl:0", "package-0", 999_000_000, last=1_000_000_000)
    zones.add("intel-rapl:1", "package-1", 10, last=1_000_000_000)
    with EnergyMeter() as meter:
        zones.set("intel-rapl:0", 2_000_000)
        zones.set("intel-rapl:1", 500_010)
    assert meter.energy.joules == pytest.approx({"rapl": 1.0 + 2.0 + 0.5})


def test_counters_are_read_in_between_so_that_they_may_start_again_more_than_once(
    zones: Zones, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(energy, "SAMPLE_SECONDS", 0.001)
    zones.add("intel-rapl:0", "package-0", 0, last=1_000_000)
    reads: list[int] = []
    read_text = Path.read_text

    def counted(path: Path, *args: Any) -> str:
        text = read_text(path, *args)
        if path.name == "energy_uj":
            reads.append(int(text))
        return text

    monkeypatch.setattr(Path, "read_text", counted)
    # Written whole: a reader never finds the file empty.
    with EnergyMeter() as meter:
        for microjoules in (600_000, 200_000, 800_000, 400_000):
            (zones.root / "new").write_text(str(microjoules))
            (zones.root / "new").replace(zones.root / "intel-rapl:0" / "energy_uj")
            until = time.monotonic() + 10
            while microjoules not in reads[-1:] and time.monotonic() < until:
                time.sleep(0.001)
    assert meter.energy.joules == pytest.approx({"rapl": 0.6 + 0.6 + 0.6 + 0.6})


def test_a_machine_without_counters_has_reasons_and_no_figure(zones: Zones) -> None:
    with EnergyMeter() as meter:
        pass
    assert meter.energy.joules is None
    assert meter.energy.unavailable == {
        "nvml": "pynvml is not installed: pip install 'plm-data-harness[nvml]'",
        "rapl": f"no RAPL package in {zones.root}",
    }


def test_a_counter_that_may_not_be_read_is_a_reason(zones: Zones, monkeypatch: pytest.MonkeyPatch) -> None:
    zones.add("intel-rapl:0", "package-0", 0)
    read_text = Path.read_text

    def refused(path: Path, *args: Any) -> str:
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied", str(path))
        return read_text(path, *args)

    monkeypatch.setattr(Path, "read_text", refused)
    with EnergyMeter() as meter:
        pass
    assert meter.energy.joules is None
    assert meter.energy.unavailable["rapl"] == f"{zones.root}/intel-rapl:0/energy_uj: Permission denied"


def test_a_counter_that_goes_away_takes_its_source_with_it(zones: Zones, gpus: Gpus) -> None:
    zones.add("intel-rapl:0", "package-0", 0)
    with EnergyMeter() as meter:
        gpus.millijoules[1] = None
        zones.set("intel-rapl:0", 4_000_000)
    assert meter.energy.joules == pytest.approx({"rapl": 4.0})
    assert meter.energy.unavailable == {"nvml": "NVML: Not Supported"}


@pytest.mark.parametrize(
    ("visible", "joules"),
    [
        (None, 0.007 + 0.02 + 1.0),
        ("1", 0.02),
        ("2, 0", 0.007 + 1.0),
        ("GPU-1bb,2", 0.02 + 1.0),
        ("0,7,2", 0.007),  # CUDA sees none behind the one that does not exist
    ],
)
def test_the_visible_gpus_are_summed(
    gpus: Gpus, monkeypatch: pytest.MonkeyPatch, visible: str | None, joules: float
) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with EnergyMeter() as meter:
        gpus.millijoules = [1007, 5020, 91_000]
    assert meter.energy.joules == pytest.approx({"nvml": joules})
    assert list(meter.energy.unavailable) == ["rapl"]


@pytest.mark.parametrize(
    ("visible", "reason"),
    [
        ("", "no GPU is visible"),
        ("-1", "no GPU is visible"),
        ("MIG-0aa", "NVML: no energy counter of a part of a GPU (MIG)"),
        ("GPU-9zz", "NVML: Not Found"),
    ],
)
def test_what_is_not_visible_or_not_counted_is_a_reason(
    gpus: Gpus, monkeypatch: pytest.MonkeyPatch, visible: str, reason: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with EnergyMeter() as meter:
        pass
    assert meter.energy.joules is None
    assert meter.energy.unavailable["nvml"] == reason


def test_a_machine_with_pynvml_and_no_driver_says_so(gpus: Gpus, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_driver() -> None:
        raise vars(gpus.module)["NVMLError"]("NVML Shared Library Not Found")

    monkeypatch.setattr(gpus.module, "nvmlInit", no_driver)
    with EnergyMeter() as meter:
        pass
    assert meter.energy.unavailable["nvml"] == "NVML: NVML Shared Library Not Found"


def test_the_meter_leaves_no_thread_behind_when_the_block_fails(zones: Zones) -> None:
    import threading

    before = threading.active_count()
    meter = EnergyMeter()
    with pytest.raises(ZeroDivisionError), meter:
        assert threading.active_count() == before + 1
        raise ZeroDivisionError
    assert threading.active_count() == before
    assert meter.energy.joules is None
