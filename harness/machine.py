"""What machine this is: for the keys of timings, for provenance, and for choosing a dtype. Imports nothing heavy."""

import os
import platform
import shutil
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

_NATIVE_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}


@cache
def _processor() -> tuple[str, frozenset[str]]:
    """Name and feature flags of the processor, where Linux tells them."""
    name, flags = platform.processor() or platform.machine(), frozenset[str]()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            field, _, value = line.partition(":")
            if field.strip() == "model name":
                name = value.strip()
            if field.strip() in ("flags", "Features"):
                flags = frozenset(value.split())
    return name, flags


@cache
def gpus() -> tuple[str, ...]:
    """Names of the NVIDIA GPUs that PyTorch may use, as `nvidia-smi` tells them."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "" or shutil.which("nvidia-smi") is None:
        return ()
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return tuple(answer.stdout.strip().splitlines()) if answer.returncode == 0 else ()


def automatic_dtype() -> str:
    """bfloat16 where processor or GPU computes in it natively, float32 otherwise."""
    return "bfloat16" if gpus() or _NATIVE_BFLOAT16 & _processor()[1] else "float32"


def usable_cores() -> int:
    """Cores this process may use; fewer than the machine has inside a container or a batch job."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def library_versions() -> dict[str, str]:
    """Versions of the libraries that numbers depend on."""
    names = ("torch", "transformers", "datasets", "scikit-learn", "numpy", "scipy", "tokenizers")
    return {name: metadata.version(name) for name in names}


def fingerprint() -> dict[str, Any]:
    """What timings depend on: they are only reused on a machine with the same fingerprint."""
    return {
        "processor": _processor()[0],
        "cores": usable_cores(),
        "gpus": list(gpus()),
        "system": platform.system(),
        "architecture": platform.machine(),
        "torch": metadata.version("torch"),
    }


def describe() -> dict[str, Any]:
    """The fingerprint and the library versions, for the record of an artifact."""
    return {**fingerprint(), "python": platform.python_version(), "libraries": library_versions()}
