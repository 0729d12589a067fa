"""The peak of a block is of that block, where the kernel lets it be reset."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import psutil
import pytest

from harness.profiling import memory
from harness.profiling.memory import PeakMemory

BIG = 200_000_000


def resident() -> int:
    return int(psutil.Process().memory_info().rss)


def test_what_a_block_had_and_gave_back_is_in_its_peak_and_not_in_the_next_ones() -> None:
    if not memory._reset_resident():
        pytest.skip("this kernel does not let the peak be reset")
    before = resident()
    with PeakMemory() as large:
        data = b"x" * BIG
        del data
    assert large.peak.resident - before == pytest.approx(BIG, rel=0.1)
    assert large.peak.since_process_start is False
    with PeakMemory() as small:
        pass
    assert small.peak.resident == pytest.approx(resident(), abs=0.1 * BIG)
    assert small.peak.resident < large.peak.resident - 0.8 * BIG


def test_where_the_peak_cannot_be_reset_it_is_that_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = b"x" * BIG
    before = resident()
    del data
    monkeypatch.setattr(memory, "PROCESS", tmp_path)  # without a `status`
    with PeakMemory() as meter:
        pass
    assert meter.peak.since_process_start is True
    assert meter.peak.resident > 0.9 * before
    assert meter.peak.resident < 64 * 2**30  # not bytes taken for kibibytes


class Cuda:
    """`torch.cuda` with two GPUs."""

    def __init__(self) -> None:
        self.started = True
        self.most = [7000, 9000]

    def is_initialized(self) -> bool:
        return self.started

    def device_count(self) -> int:
        assert self.started  # or it would start CUDA
        return 2

    def reset_peak_memory_stats(self, device: int) -> None:
        self.most[device] = 0

    def max_memory_allocated(self, device: int) -> int:
        return self.most[device]


def use(monkeypatch: pytest.MonkeyPatch, cuda: Cuda) -> None:
    torch = ModuleType("torch")
    vars(torch)["cuda"] = cuda
    monkeypatch.setitem(sys.modules, "torch", torch)


def test_the_peaks_of_gpus_are_of_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = Cuda()
    use(monkeypatch, cuda)
    with PeakMemory() as meter:
        cuda.most[1] = 400
    assert meter.peak.cuda == (0, 400)


def test_gpus_that_only_the_block_uses_count_and_unused_ones_stay_unused(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = Cuda()
    cuda.started = False
    use(monkeypatch, cuda)
    with PeakMemory() as unused:
        pass
    assert unused.peak.cuda is None
    with PeakMemory() as first:
        cuda.started, cuda.most = True, [5, 6]
    assert first.peak.cuda == (5, 6)


def test_pytorch_is_not_loaded_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(sys, "meta_path", [SimpleNamespace(find_spec=lambda *_: pytest.fail("an import"))])
    with PeakMemory() as meter:
        pass
    assert meter.peak.cuda is None
