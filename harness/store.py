"""The store: artifacts by content key, shared by concurrent runs, whole or absent.

    artifacts/<stage>/<key>/     the files of one artifact; manifest.json is written last, then the folder is renamed
    series/<series>.jsonl        what was written for datasets that share it, a line each with its checksum, for
                                 resumption and larger datasets
    staging/<host>@<pid>@<id>/    where an artifact is being written; left over by a killed process, swept by `gc`
    locks/<key>.lock             held while somebody makes the artifact

A killed process loses what stands in its staging folder and nothing else. Locks are the operating system's, so they
die with the process that holds them.
"""

import errno
import hashlib
import json
import os
import shutil
import socket
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from harness.errors import HarnessError, shown
from harness.files import write_atomic, write_json

MANIFEST = "manifest.json"
MANIFEST_SCHEMA = 1
MAX_MANIFEST_BYTES = 16 << 20


def default_store() -> Path:
    """The user's cache folder, as the XDG specification names it."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "harness" / "store"


@dataclass(frozen=True)
class Artifact:
    """A whole artifact in the store."""

    key: str
    stage: str
    folder: Path
    manifest: dict[str, Any]

    @property
    def size_bytes(self) -> int:
        return sum(int(entry["bytes"]) for entry in self.manifest["files"].values())


class JournalFile:
    """Keeps entries as lines of a file; see `harness.synthesis.zerogen.Journal`. One process writes at a time.

    A line is written at once and whole, or cut off by a kill or a full disk: then it is the last one, and dropped.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] | None = None

    def entries(self) -> Iterator[dict[str, Any]]:
        """All that was kept, in order.

        Raises:
            HarnessError: a line is damaged.
        """
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.endswith(b"\n"):
                    yield self._entry(line, number)

    def _entry(self, line: bytes, number: int) -> dict[str, Any]:
        checksum, _, text = line.rstrip(b"\n").partition(b" ")
        entry = json.loads(text) if checksum == _checksum(text) else None
        if not isinstance(entry, dict):
            raise _damaged(self.path, f"line {number} is not what was written")
        return entry

    def mend(self) -> int:
        """Leave out what is damaged; bytes freed. What the lines held will be made again, and all others are kept."""
        lines = self.path.read_bytes().splitlines(keepends=True)
        good = b"".join(line for line in lines if self._is_whole(line))
        write_atomic(self.path, good)
        return sum(map(len, lines)) - len(good)

    def _is_whole(self, line: bytes) -> bool:
        try:
            self._entry(line, 0)
        except HarnessError:
            return False
        return line.endswith(b"\n")

    def append(self, entry: Mapping[str, Any]) -> None:
        """Keep an entry: from now on no kill of this process can lose it.

        Raises:
            HarnessError: it cannot be written.
        """
        text = json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode()
        try:
            if self._file is None:
                _make_folder(self.path.parent)
                self._file = self._opened()
            line = _checksum(text) + b" " + text + b"\n"
            if self._file.write(line) != len(line):  # one call of the operating system for a whole line
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self.close()
            raise _cannot_write(self.path, error) from None

    def _opened(self) -> IO[bytes]:
        """The file, without what a kill left of its last line."""
        file = self.path.open("ab", buffering=0)
        end = file.tell()
        with self.path.open("rb") as reader:
            while end and (reader.seek(end - 1) or True) and reader.read(1) != b"\n":
                end -= 1
        file.truncate(end)
        return file

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _checksum(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=8).hexdigest().encode()


class Store:
    """A folder of artifacts. Opening it creates nothing; the first write does."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, stage: str, key: str) -> Path:
        return self.root / "artifacts" / stage / key

    def find(self, stage: str, key: str) -> Artifact | None:
        """The artifact if it is there and whole, as far as names and sizes tell (`verify` reads every byte).

        Raises:
            HarnessError: it is damaged.
        """
        folder = self.folder(stage, key)
        if not folder.is_dir():
            return None
        manifest = read_manifest(folder)
        if manifest["key"] != key or manifest["stage"] != stage:
            raise _damaged(folder, f"its manifest is of {manifest['stage'][:40]}/{manifest['key'][:12]}")
        for name, entry in manifest["files"].items():
            path = folder / name
            if not path.is_file() or path.stat().st_size != entry["bytes"]:
                found = f"{path.stat().st_size} bytes" if path.is_file() else "no such file"
                raise _damaged(folder, f"{name}: expected {entry['bytes']} bytes, found {found}")
        return Artifact(key, stage, folder, manifest)

    def checked(self, stage: str, key: str, *names: str) -> Path:
        """The folder of an artifact, after reading every byte of the named files in it (none named: of all).

        Raises:
            HarnessError: it is not there, or is damaged.
        """
        found = self.find(stage, key)
        if found is None:
            raise HarnessError(f"{self.folder(stage, key)} is no longer there; run the same command again")
        for name in names or found.manifest["files"]:
            if name not in found.manifest["files"] or _file_entry(found.folder / name) != found.manifest["files"][name]:
                raise _damaged(found.folder, f"{name}: its content is not what was written")
        return found.folder

    @contextmanager
    def lock(self, name: str, wait: bool) -> Iterator[bool]:
        """Hold the lock of that name; yields False at once if somebody else has it and `wait` is off."""
        _make_folder(self.root / "locks")
        lock = FileLock(self.root / "locks" / f"{name}.lock")
        try:
            lock.acquire(timeout=-1 if wait else 0)
        except Timeout:
            yield False
            return
        except OSError as error:
            raise _cannot_write(self.root, error) from None
        try:
            yield True
        finally:
            lock.release()

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A fresh folder on the store's own file system, removed afterwards unless it was committed."""
        folder = self.root / "staging" / f"{socket.gethostname()}@{os.getpid()}@{uuid.uuid4().hex[:12]}"
        _make_folder(folder)
        try:
            yield folder
        except OSError as error:
            raise _cannot_write(self.root, error) from None
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def commit(self, staged: Path, stage: str, key: str, record: dict[str, Any]) -> Artifact:
        """Make a staged folder the artifact of its key: manifest last, flushed, then one rename.

        Where somebody else was first, theirs stays: it has the same key, so it is the same work.
        """
        files = {path.name: _file_entry(path) for path in sorted(staged.iterdir())}
        manifest = {"schema": MANIFEST_SCHEMA, "key": key, "stage": stage, "files": files, "record": record}
        write_json(staged / MANIFEST, manifest)
        target = self.folder(stage, key)
        _make_folder(target.parent)
        for path in staged.iterdir():
            _flush(path)
        try:
            staged.rename(target)
        except OSError:
            if (first := self.find(stage, key)) is None:
                raise
            return first
        _flush(target.parent)
        return Artifact(key, stage, target, manifest)

    def journal(self, series: str) -> JournalFile:
        return JournalFile(self.root / "series" / f"{series}.jsonl")

    def artifacts(self) -> Iterator[tuple[Path, Artifact | HarnessError]]:
        """Every artifact folder, with the artifact or what is wrong with it."""
        for folder in sorted((self.root / "artifacts").glob("*/*")):
            if folder.is_dir():
                try:
                    found = self.find(folder.parent.name, folder.name)
                except HarnessError as error:
                    yield folder, error
                else:
                    if found is not None:
                        yield folder, found

    def verify(self) -> Iterator[tuple[Path, str]]:
        """Read every byte of every artifact and series; yields what is damaged (a folder or a file) and why."""
        for folder, found in self.artifacts():
            if isinstance(found, HarnessError):
                yield folder, str(found)
                continue
            changed = [name for name, entry in found.manifest["files"].items() if _file_entry(folder / name) != entry]
            if changed:
                yield folder, f"{', '.join(changed)}: the content is not what was written"
        for path in sorted((self.root / "series").glob("*.jsonl")):
            try:
                for _ in JournalFile(path).entries():
                    pass
            except HarnessError as error:
                yield path, str(error)

    def collect_garbage(self, older_than_days: float | None) -> tuple[int, int]:
        """Remove what killed processes left, what is damaged and, if asked, what was not touched for days.

        Returns:
            folders and single files removed, bytes freed.
        """
        removed = {folder for folder in (self.root / "staging").glob("*") if not _alive(folder)}
        damaged = {path for path, _ in self.verify()}
        journals = {path for path in damaged if path.suffix == ".jsonl"}
        removed |= damaged - journals
        if older_than_days is not None:
            kept = [folder for pattern in ("artifacts/*/*", "series/*") for folder in self.root.glob(pattern)]
            removed |= {folder for folder in kept if _older_than(folder, older_than_days)}
        freed = 0
        for path in journals - removed:
            with self.lock(path.stem, wait=True):  # nobody appends to it meanwhile
                freed += JournalFile(path).mend()
        return len(removed | journals), freed + sum(_remove(path) for path in removed)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of an artifact folder, checked.

    Raises:
        HarnessError: it is missing, too large, no JSON, of another schema, or names files outside the folder.
    """
    manifest = _read_json(folder / MANIFEST)
    if manifest.get("schema") != MANIFEST_SCHEMA:
        raise _damaged(folder, f"expected manifest schema {MANIFEST_SCHEMA}, found {shown(manifest.get('schema'))}")
    files = manifest.get("files")
    texts = all(isinstance(manifest.get(field), str) for field in ("key", "stage"))
    if not texts or not isinstance(files, dict) or not isinstance(manifest.get("record"), dict):
        raise _damaged(folder, "its manifest lacks 'key', 'stage', 'files' or 'record'")
    for name, entry in files.items():
        if Path(name).name != name or name in ("", ".", "..") or not name.isprintable() or len(name.encode()) > 255:
            raise _damaged(folder, f"its manifest names a file outside the folder: {shown(name)}")
        if not isinstance(entry, dict) or not isinstance(entry.get("bytes"), int):
            raise _damaged(folder, f"its manifest has no size for {shown(name)}")
    return manifest


def _read_json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise _damaged(path.parent, f"{path.name} is larger than {MAX_MANIFEST_BYTES >> 20} MiB")
        data = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path.parent, f"{path.name} cannot be read ({str(error)[:100]})") from None
    if not isinstance(data, dict):
        raise _damaged(path.parent, f"{path.name}: expected a JSON object, found {type(data).__name__}")
    return data


def _damaged(path: Path, why: str) -> HarnessError:
    return HarnessError(
        f"{path} is damaged: {why}; run `harness store gc` to remove what is damaged, then the same command again"
    )


def _cannot_write(root: Path, error: OSError) -> HarnessError:
    return HarnessError(
        f"cannot write into the store {root}: {error}; finished artifacts are safe, free some space "
        "or name another store with --store, then run the same command again"
    )


def _file_entry(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HarnessError(f"cannot create {folder}: {error}; name a store you can write to with --store") from None


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _older_than(path: Path, days: float) -> bool:
    try:
        return time.time() - path.stat().st_mtime > days * 86_400
    except FileNotFoundError:  # its owner has just removed or renamed it
        return False


def _remove(path: Path) -> int:
    """Remove a folder or a file; the bytes that it held."""
    inside = path.rglob("*") if path.is_dir() else [path]
    size = sum(one.stat().st_size for one in inside if one.is_file())
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    return size


def _alive(staging: Path) -> bool:
    """Whether the process that made a staging folder may still run. Another machine's is given a day."""
    host, _, rest = staging.name.partition("@")
    if host != socket.gethostname():
        return not _older_than(staging, days=1)
    try:
        os.kill(int(rest.split("@")[0]), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True
