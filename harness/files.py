"""Paths that people name, and writing files so that a reader, or a killed writer, never meets half of one."""

import json
import os
import uuid
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, shown


def named_path(name: str, folder: Path = Path()) -> Path:
    """The path that a person named: `~` is a home, and what is relative starts at `folder`. It need not exist.

    Raises:
        HarnessError: no path can have that name, or what it names may not be looked at.
    """
    try:
        path = folder / Path(name).expanduser()
        path.lstat()
    except FileNotFoundError:
        pass
    except (OSError, ValueError, RuntimeError) as error:
        raise HarnessError(f"{shown(name)} cannot be used as a path: {error}") from None
    return path


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
