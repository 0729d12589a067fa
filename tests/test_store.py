"""The store: artifacts appear whole or not at all, damage is found, and nobody can write or read outside of it."""

import errno
import hashlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest

from harness import files
from harness.errors import HarnessError
from harness.store import MANIFEST, MAX_MANIFEST_BYTES, Artifact, Store, default_store

KEY, OTHER = "a" * 64, "b" * 64
CONTENT = {"data.bin": b"\x00\x01rows", "README.md": b"# Card\n"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def commit(store: Store, key: str = KEY, content: dict[str, bytes] = CONTENT) -> Artifact:
    with store.staging() as staged:
        for name, data in content.items():
            (staged / name).write_bytes(data)
        return store.commit(staged, "train", key, {"seconds": 1.0})


def found(store: Store, key: str = KEY) -> Artifact:
    artifact = store.find("train", key)
    assert artifact is not None
    return artifact


def run_python(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)


# --- committing


def test_opening_a_store_and_looking_into_it_creates_nothing(store: Store) -> None:
    assert store.find("train", KEY) is None
    assert list(store.artifacts()) == []
    assert list(store.verify()) == []
    assert list(store.journal("series").entries()) == []
    assert store.collect_garbage(older_than_days=0) == (0, 0)
    assert not store.root.exists()


def test_a_committed_artifact_is_found_with_what_was_written(store: Store) -> None:
    made = commit(store)
    artifact = found(store)
    assert artifact == made
    assert artifact.folder == store.root / "artifacts" / "train" / KEY
    assert {name: (artifact.folder / name).read_bytes() for name in CONTENT} == CONTENT
    assert artifact.manifest["files"] == {
        name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in CONTENT.items()
    }
    assert artifact.manifest["record"] == {"seconds": 1.0}
    assert artifact.size_bytes == sum(map(len, CONTENT.values()))
    assert list((store.root / "staging").iterdir()) == []


KILLED_WHILE_COMMITTING = """
import os, pathlib, sys
from pathlib import Path
import harness.store
from harness.store import Store

def die(*_):
    os._exit(9)

moment, root, key = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
write_json, rename = harness.store.write_json, Path.rename
if moment == "before the manifest":
    harness.store.write_json = die
elif moment == "after the manifest":
    harness.store.write_json = lambda *given: die(write_json(*given))
elif moment == "before the rename":
    pathlib.Path.rename = die
else:
    pathlib.Path.rename = lambda *given: die(rename(*given))
store = Store(root)
with store.staging() as staged:
    (staged / "data.bin").write_bytes(b"rows")
    store.commit(staged, "train", key, {})
"""


@pytest.mark.parametrize(
    ("moment", "there"),
    [
        ("before the manifest", False),
        ("after the manifest", False),
        ("before the rename", False),
        ("after the rename", True),
    ],
)
def test_a_process_that_dies_while_committing_leaves_all_or_nothing(moment: str, there: bool, store: Store) -> None:
    assert run_python(KILLED_WHILE_COMMITTING, moment, str(store.root), KEY).returncode == 9
    assert (store.find("train", KEY) is not None) is there
    assert list(store.verify()) == []
    leftovers = list((store.root / "staging").iterdir())
    assert len(leftovers) == (0 if there else 1)
    assert store.collect_garbage(None)[0] == len(leftovers)
    assert list((store.root / "staging").iterdir()) == []
    assert commit(store, content={"data.bin": b"rows"}).folder == found(store).folder


COMMIT_WHEN_BOTH_ARE_READY = """
import sys, time
from pathlib import Path
from harness.store import Store
root, key, me, meeting = Path(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4])
store = Store(root)
deadline = time.monotonic() + 60
for number in range(20):
    with store.staging() as staged:
        (staged / "data.bin").write_bytes(b"rows")
        (staged / "who").write_text(me)
        (meeting / f"{number}-{me}").touch()
        while len(list(meeting.glob(f"{number}-*"))) < 2:
            assert time.monotonic() < deadline, "the other did not come"
        made = store.commit(staged, "train", f"{number:02}{key[2:]}", {"who": me})
        assert (made.folder / "who").read_text() == made.manifest["record"]["who"], "not the artifact that stands"
"""


def test_two_processes_that_commit_the_same_key_at_once_leave_one_whole_artifact(store: Store, tmp_path: Path) -> None:
    (tmp_path / "meeting").mkdir()
    both = [
        subprocess.Popen(
            [sys.executable, "-c", COMMIT_WHEN_BOTH_ARE_READY, str(store.root), KEY, who, str(tmp_path / "meeting")],
            stderr=subprocess.PIPE,
            text=True,
        )
        for who in ("one", "two")
    ]
    for process in both:
        _, errors = process.communicate(timeout=90)
        assert process.returncode == 0, errors
    assert len(list(store.artifacts())) == 20
    assert list(store.verify()) == []
    assert list((store.root / "staging").iterdir()) == []


# --- damage


def break_manifest(folder: Path, **changes: Any) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**manifest, **changes}))


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda folder: (folder / "data.bin").unlink(), "data.bin: expected 6 bytes, found no such file"),
        (lambda folder: (folder / "data.bin").write_bytes(b"longer than it was"), "expected 6 bytes, found 18 bytes"),
        (lambda folder: (folder / MANIFEST).unlink(), "manifest.json cannot be read"),
        (lambda folder: (folder / MANIFEST).write_text('{"schema": 1, "key'), "manifest.json cannot be read"),
        (lambda folder: (folder / MANIFEST).write_text("[" * 100_000), "manifest.json cannot be read"),
        (lambda folder: (folder / MANIFEST).write_bytes(b"\xff\xfe\x00"), "manifest.json cannot be read"),
        (lambda folder: (folder / MANIFEST).write_text("[]"), "expected a JSON object, found list"),
        (lambda folder: (folder / MANIFEST).write_text("{}"), "expected manifest schema 1, found None"),
        (lambda folder: break_manifest(folder, schema=2), "expected manifest schema 1, found 2"),
        (lambda folder: break_manifest(folder, key=OTHER), "its manifest is of train/bbbb"),
        (lambda folder: break_manifest(folder, stage="score"), "its manifest is of score/aaaa"),
        (lambda folder: break_manifest(folder, key=7), "its manifest lacks"),
        (lambda folder: break_manifest(folder, files=[]), "its manifest lacks"),
        (lambda folder: break_manifest(folder, record=None), "its manifest lacks"),
        (lambda folder: break_manifest(folder, files={"data.bin": 6}), "no size for 'data.bin'"),
        (lambda folder: os.truncate(folder / MANIFEST, MAX_MANIFEST_BYTES + 1), "larger than 16 MiB"),
    ],
)
def test_damage_is_named_and_collected_and_the_artifact_can_be_made_again(
    damage: Any, expected: str, store: Store
) -> None:
    commit(store, OTHER)
    damage(commit(store).folder)
    with pytest.raises(HarnessError, match=r"is damaged: .*store gc") as caught:
        store.find("train", KEY)
    assert expected in str(caught.value)
    assert [folder for folder, _ in store.verify()] == [store.folder("train", KEY)]
    assert store.collect_garbage(None)[0] == 1
    assert store.find("train", KEY) is None
    assert commit(store) == found(store)
    assert found(store, OTHER)


@pytest.mark.parametrize("name", ["../secret", "sub/../../secret", "/etc/hostname", "sub/data.bin", "..", ".", ""])
def test_a_manifest_cannot_name_a_file_outside_its_folder(name: str, store: Store) -> None:
    folder = commit(store).folder
    (folder.parent / "secret").write_bytes(b"secret")
    break_manifest(folder, files={name: {"bytes": 6, "sha256": hashlib.sha256(b"secret").hexdigest()}})
    with pytest.raises(HarnessError, match="is damaged"):
        store.find("train", KEY)


@pytest.mark.parametrize("name", list(CONTENT))
def test_verify_finds_one_flipped_bit_that_names_and_sizes_do_not_show(name: str, store: Store) -> None:
    commit(store, OTHER)
    path = commit(store).folder / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert found(store)
    assert list(store.verify()) == [(path.parent, f"{name}: the content is not what was written")]


def test_an_artifact_damaged_in_two_files_is_one_damaged_artifact(store: Store) -> None:
    folder = commit(store).folder
    for name, data in CONTENT.items():
        (folder / name).write_bytes(bytes(len(data)))
    (damaged,) = store.verify()
    assert damaged[0] == folder
    assert all(name in damaged[1] for name in CONTENT)


# --- journals

ENTRIES: list[dict[str, Any]] = [
    {"stream": "positive", "number": 0, "try": {"text": 'naïve "quoted"\n', "log_probability": -1.2345678901234567}},
    {"stream": "positive", "number": 1, "try": {"text": None, "dropped": "no end", "log_probability": None}},
    {"spent": {"seconds": 0.25, "joules": None}},
]


def journal(store: Store, entries: Sequence[dict[str, Any]] = ENTRIES, series: str = "series") -> Path:
    with closing(store.journal(series)) as kept:
        for entry in entries:
            kept.append(entry)
    return kept.path


def entries_of(store: Store, series: str = "series") -> list[dict[str, Any]]:
    return list(store.journal(series).entries())


def test_what_is_kept_in_a_journal_is_read_as_it_was_in_its_order(store: Store) -> None:
    kept = store.journal("series")
    for number, entry in enumerate(ENTRIES):
        kept.append(entry)
        assert entries_of(store) == ENTRIES[: number + 1], "there at once, whoever reads it"
    kept.close()
    kept.append({"more": 1})
    kept.close()
    assert entries_of(store) == [*ENTRIES, {"more": 1}]
    assert entries_of(store, "other") == []
    assert list(store.verify()) == []


def test_every_flipped_byte_of_a_journal_is_found_and_its_line_alone_collected(store: Store) -> None:
    path = journal(store)
    whole = path.read_bytes()
    ends = [place for place, byte in enumerate(whole) if byte == ord("\n")]
    for place in range(len(whole)):
        for bit in (0x01, 0x80):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
            if place == ends[-1]:  # as a kill leaves it
                assert entries_of(store) == ENTRIES[:-1]
                continue
            with pytest.raises(HarnessError, match=r"is damaged: line \d+ is not what was written.*store gc") as caught:
                entries_of(store)
            line = 1 + sum(end < place for end in ends)
            assert f"line {line} is" in str(caught.value)
    path.write_bytes(b"x" + whole[1:])
    journal(store, series="whole")
    assert [place for place, _ in store.verify()] == [path]
    assert store.collect_garbage(None) == (1, ends[0] + 1)  # the damaged line alone: the others were paid for
    assert entries_of(store) == ENTRIES[1:]
    assert entries_of(store, "whole") == ENTRIES


@pytest.mark.parametrize("text", ["[]", "7", "null"])
def test_a_line_that_holds_no_entry_is_damage_though_its_checksum_fits(text: str, store: Store) -> None:
    path = journal(store, [])
    path.parent.mkdir(parents=True)
    checksum = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    path.write_text(f"{checksum} {text}\n")
    with pytest.raises(HarnessError, match="line 1 is not what was written"):
        entries_of(store)


def test_what_a_kill_left_of_the_last_line_is_dropped_and_written_over(store: Store) -> None:
    path = journal(store)
    whole = path.read_bytes()
    start = whole[:-1].rindex(b"\n") + 1
    for end in range(start, len(whole)):
        path.write_bytes(whole[:end])
        assert entries_of(store) == ENTRIES[:-1]
        assert list(store.verify()) == []
        journal(store, [{"again": end}])
        assert entries_of(store) == [*ENTRIES[:-1], {"again": end}]
    for end in range(whole.index(b"\n")):
        path.write_bytes(whole[:end])
        journal(store, [{"again": end}])
        assert entries_of(store) == [{"again": end}]


KEEP = """
import os, sys
from pathlib import Path
from harness.store import Store
kept = Store(Path(sys.argv[1])).journal("series")
for number in range(1000):
    kept.append({"number": number})
    if number == 500:
        os._exit(9)
"""


def test_a_process_that_dies_has_lost_nothing_that_it_kept(store: Store) -> None:
    assert run_python(KEEP, str(store.root)).returncode == 9
    assert entries_of(store) == [{"number": number} for number in range(501)]


# --- garbage


def ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_garbage_is_what_dead_processes_staged_and_not_what_live_ones_do(store: Store) -> None:
    commit(store)
    dead = store.root / "staging" / f"{socket.gethostname()}@{ended_process()}@0123456789ab"
    dead.mkdir()
    (dead / "half.parquet").write_bytes(b"x" * 1000)
    elsewhere, old_elsewhere = (store.root / "staging" / f"another-host@1@{number}" for number in "12")
    for folder in (elsewhere, old_elsewhere):
        folder.mkdir()
    os.utime(old_elsewhere, (0, time.time() - 2 * 86_400))
    with store.staging() as alive:
        assert store.collect_garbage(None) == (2, 1000)
        assert alive.is_dir()
        assert elsewhere.is_dir()
        assert not dead.exists()
        assert not old_elsewhere.exists()
    assert found(store)


def test_a_journal_that_a_killed_process_left_is_no_garbage(store: Store) -> None:
    path = journal(store)
    os.truncate(path, path.stat().st_size - 3)
    assert store.collect_garbage(None) == (0, 0)
    assert entries_of(store) == ENTRIES[:-1]


def test_only_what_is_older_than_asked_is_removed_beside_the_garbage(store: Store) -> None:
    old, new = commit(store).folder, commit(store, OTHER).folder
    old_journal = journal(store, series="old")
    journal(store, series="new")
    ten_days_ago = time.time() - 10 * 86_400
    for folder in (old, old_journal):
        os.utime(folder, (ten_days_ago, ten_days_ago))
    assert store.collect_garbage(older_than_days=11)[0] == 0
    assert store.collect_garbage(older_than_days=9)[0] == 2
    assert not old.exists()
    assert new.exists()
    assert entries_of(store, "old") == []
    assert entries_of(store, "new") == ENTRIES


# --- locks


HOLD = """
import sys, time
from pathlib import Path
from harness.store import Store
with Store(Path(sys.argv[1])).lock("work", wait=True) as held:
    print(held, flush=True)
    time.sleep(60)
"""


def test_a_lock_keeps_others_out_and_dies_with_the_process_that_holds_it(store: Store) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(store.root)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        with store.lock("work", wait=False) as held:
            assert not held
        with store.lock("other work", wait=False) as held:
            assert held
        holder.send_signal(signal.SIGKILL)
    with store.lock("work", wait=True) as held:
        assert held
    with store.lock("work", wait=False) as held:
        assert held


# --- disks that are full, places that cannot be written


def no_space(*_: object) -> NoReturn:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def assert_nothing_is_lost(store: Store) -> None:
    assert found(store, OTHER)
    assert store.find("train", KEY) is None
    assert list(store.verify()) == []
    assert list((store.root / "staging").iterdir()) == []


def test_a_disk_that_is_full_when_a_stage_writes_is_one_clear_error(store: Store) -> None:
    commit(store, OTHER)
    with pytest.raises(HarnessError, match=r"No space left.*finished artifacts are safe.*--store"), store.staging():
        no_space()
    assert_nothing_is_lost(store)


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_is_full_when_the_manifest_is_written_leaves_no_artifact(
    call: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(store, OTHER)
    if call == "fsync":
        monkeypatch.setattr(os, "fsync", no_space)
    else:
        monkeypatch.setattr(Path, "replace", no_space)
    with pytest.raises(HarnessError, match="No space left"):
        commit(store)
    monkeypatch.undo()
    assert_nothing_is_lost(store)


def test_a_disk_too_full_for_a_lock_is_one_clear_error(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(store)
    (store.root / "locks").mkdir()
    monkeypatch.setattr(os, "open", no_space)
    with pytest.raises(HarnessError, match=r"No space left.*--store"), store.lock("work", wait=False):
        pytest.fail("nobody may hold a lock that is not there")


@contextmanager
def small_files_only(most_bytes: int) -> Iterator[None]:
    """A disk that is really full, as far as this process can tell: the kernel refuses to write more to any file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_is_full_when_an_entry_is_kept_leaves_the_earlier_ones_whole(store: Store) -> None:
    path = journal(store)
    size = path.stat().st_size
    kept = store.journal("series")
    for most in (size, size + 1, size + 20, size + 40):
        with (
            small_files_only(most),
            pytest.raises(HarnessError, match=r"cannot write into the store .*series.*finished artifacts are safe"),
        ):
            kept.append({"text": "x" * 100})
        assert entries_of(store) == ENTRIES
        assert list(store.verify()) == []
    kept.append({"text": "there is room again"})
    kept.close()
    assert entries_of(store) == [*ENTRIES, {"text": "there is room again"}]


@pytest.mark.parametrize("name", ["linear", "bilstm"])
def test_a_student_too_large_for_the_disk_is_one_clear_error_and_no_traceback(name: str, store: Store) -> None:
    from harness.students import student_module
    from students.protocol import Examples, Target

    module = student_module(name)
    settings = {"epochs": 1, "hidden": 8} if name == "bilstm" else {"min_rows": 1}
    student = module.Student(module.Settings(**settings), Target("text-classification", ("bad", "good")))
    student.fit(Examples(["a good film", "a bad film"] * 10, ["good", "bad"] * 10), 1, lambda *_: None)
    commit(store, OTHER)
    with (
        pytest.raises(HarnessError, match=r"File too large.*finished artifacts are safe"),
        store.staging() as staged,
        small_files_only(64),
    ):
        student.save(staged)
    assert_nothing_is_lost(store)


@pytest.mark.parametrize("use", ["stage", "journal", "lock"])
def test_a_store_that_cannot_be_created_says_so(use: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    store = Store(tmp_path / "file" / "store")
    with pytest.raises(HarnessError, match=r"cannot create .*--store"):
        if use == "stage":
            with store.staging():
                pytest.fail("there is nothing to write into")
        elif use == "journal":
            store.journal("series").append({})
        else:
            with store.lock("work", wait=False):
                pytest.fail("there is nothing to lock")


def test_a_file_that_is_replaced_is_never_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "results.csv"
    files.write_atomic(path, b"before")
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(HarnessError, match="nothing that was there is lost"):
        files.write_atomic(path, b"after")
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("results.csv", b"before")]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_key_is_never_taken_from_a_number_that_json_cannot_spell(value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        files.canonical_json({"rate": value})


def test_equal_values_have_one_spelling_and_different_ones_have_two() -> None:
    assert files.canonical_json({"b": 1, "a": [True, None, "é"]}) == '{"a":[true,null,"é"],"b":1}'.encode()
    assert files.canonical_json({"n": 1}) != files.canonical_json({"n": "1"})


def test_the_default_store_is_in_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_store() == tmp_path / "harness" / "store"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_store() == tmp_path / ".cache" / "harness" / "store"
