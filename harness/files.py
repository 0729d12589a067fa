"""Writing files so that a reader, or a killed writer, never meets half of one."""

import json
import os
import uuid
from pathlib import Path
from typing import Any

from harness.errors import HarnessError


def write_atomic(path: Path, data: bytes) -> None:
    """Write beside the place, flush to disk, rename. The folder must exist.

    Raises:
        HarnessError: the disk is full or the place cannot be written; what stood there before still stands.
    """
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise HarnessError(f"{path} cannot be written: {error}; nothing that was there is lost") from None


def write_json(path: Path, data: Any) -> None:
    """Write JSON, sorted and indented, atomically."""
    write_atomic(path, (json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode())


def canonical_json(data: Any) -> bytes:
    """The one spelling of a value that is hashed into a key.

    Raises:
        ValueError: NaN or infinity, which JSON has no spelling for.
    """
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
