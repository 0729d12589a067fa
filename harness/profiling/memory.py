"""The most memory that this process had over a time."""

import resource
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROCESS = Path("/proc/self")


@dataclass(frozen=True)
class Peak:
    """Bytes. `resident`: of this process, without others that it started; `since_process_start` where the machine does
    not let the peak be reset. `cuda`: what PyTorch had on each GPU in this process, None where it used none."""

    resident: int
    since_process_start: bool
    cuda: tuple[int, ...] | None


class PeakMemory:
    """Measures a `with` block; `peak` holds it afterwards.

    The kernel and PyTorch keep one peak for the whole process: blocks must not stand within each other, nor at the
    same time in several threads.
    """

    peak: Peak

    def __enter__(self) -> "PeakMemory":
        self._is_reset = _reset_resident()
        cuda = _cuda()
        for device in range(cuda.device_count() if cuda else 0):
            cuda.reset_peak_memory_stats(device)
        return self

    def __exit__(self, *_: object) -> None:
        cuda = _cuda()  # also where the block was the first to use it
        peaks = tuple(int(cuda.max_memory_allocated(device)) for device in range(cuda.device_count())) if cuda else None
        self.peak = Peak(_resident_peak() if self._is_reset else _resident_ever(), not self._is_reset, peaks)


def _reset_resident() -> bool:
    """Make the kernel's peak the present size (proc(5), clear_refs); False where that cannot be done."""
    try:
        (PROCESS / "clear_refs").write_text("5")
        return _resident_peak() > 0
    except (OSError, LookupError):
        return False


def _resident_peak() -> int:
    lines = (PROCESS / "status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return int(fields["VmHWM"].split()[0]) * 1024


def _resident_ever() -> int:
    """In kibibytes, but on macOS in bytes (getrusage(2))."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _cuda() -> Any:
    """`torch.cuda` where it is in use; never loads PyTorch, nor starts CUDA."""
    torch: Any = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_initialized() else None
