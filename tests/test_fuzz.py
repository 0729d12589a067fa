"""Hundreds of damaged files, each given to the command line: every one ends in one error message and harms nothing.

Boards, tasks, datasets and stores come from strangers. The files here are small valid ones, damaged in one way each
(see `tests.damage`), with a random stream of its own for every case: a case that fails comes out the same again.
"""

import contextlib
import functools
import io
import random
import shutil
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest

from harness.cli import main
from tests.damage import BOARD, LS, PLAN, RUN, VALIDATE, VALIDATE_TASK, VERIFY, Kind, write_valid_files, write_yaml
from tests.damage_data import replay_kinds, split_kinds
from tests.damage_store import store_kinds
from tests.damage_yaml import board_kinds, task_kinds

DECKS: dict[str, Callable[[], list[Kind]]] = {
    "boards": board_kinds,
    "tasks": task_kinds,
    "real data": split_kinds,
    "replayed JSON lines": lambda: replay_kinds("replay.jsonl"),
    "replayed CSV": lambda: replay_kinds("replay.csv"),
    "replayed Parquet": lambda: replay_kinds("replay.parquet"),
    "replayed folders": lambda: replay_kinds("saved"),
    "stores": store_kinds,
}
MOST_STDERR_CHARACTERS = 20_000  # a message never repeats the whole of what it complains about

Tree = dict[str, bytes]


@dataclass(frozen=True)
class Ground:
    """A folder of valid files, among them the store of the board's finished run, and what it all looked like."""

    folder: Path
    files: Tree

    @property
    def artifacts(self) -> Path:
        return self.folder / "store" / "artifacts"

    def restore(self) -> None:
        """Make the folder what it was, touching only what is not."""
        shutil.rmtree(self.folder / "out", ignore_errors=True)
        for folder in self.artifacts.glob("*/*"):
            if str((folder / "manifest.json").relative_to(self.folder)) not in self.files:
                shutil.rmtree(folder)
        found = snapshot(self.folder)
        for name in found.keys() - self.files.keys():
            (self.folder / name).unlink()
        for name, content in self.files.items():
            if found.get(name) != content:
                (self.folder / name).write_bytes(content)


def snapshot(folder: Path) -> Tree:
    """The content of every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def call(command: str, folder: Path) -> tuple[int | str, str]:
    """Exit status (or the traceback of what got out) and standard error; the streams are as strict as a terminal's."""
    board, store = str(folder / "board.yaml"), ["--store", str(folder / "store")]
    arguments = {
        VALIDATE: ["validate", board],
        VALIDATE_TASK: ["validate", str(folder / "task.yaml")],
        PLAN: ["run", board, "--dry-run", *store],
        RUN: ["run", board, *store, "--out", str(folder / "out"), "--workers", "1", "--quiet"],
        LS: ["store", "ls", *store],
        VERIFY: ["store", "verify", *store],
    }[command]
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="strict", write_through=True)
    err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace", write_through=True)
    status: int | str
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(arguments)
        except (Exception, SystemExit):  # noqa: BLE001  (whatever gets out is what this looks for)
            status = traceback.format_exc(limit=-3)
    err.seek(0)
    return status, err.read()


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    folder = tmp_path_factory.mktemp("fuzz") / "files"
    folder.mkdir()
    with contextlib.redirect_stderr(io.StringIO()):  # the progress bar of `datasets`
        write_valid_files(folder)
    status, messages = call(RUN, folder)
    assert status == 0, messages
    shutil.rmtree(folder / "out")
    return Ground(folder, snapshot(folder))


def complaints(status: int | str, stderr: str, certain: bool) -> Iterator[str]:
    """What is wrong with the way a command ended."""
    if isinstance(status, str):
        yield f"an exception got out:\n{status}"
        return
    told = sum(line.startswith("harness: error:") for line in stderr.splitlines())
    if status not in (0, 2):
        yield f"status {status}"
    if certain and status == 0:
        yield "status 0, though the file is invalid"
    if told != (status == 2):
        yield f"status {status} with {told} error messages: {stderr[:2000]}"
    if "Traceback" in stderr:
        yield f"a traceback: {stderr[-2000:]}"
    if len(stderr) > MOST_STDERR_CHARACTERS:
        yield f"{len(stderr):,} characters on standard error: {stderr[:300]}"


def changes(before: Tree, after: Tree, may_add: bool) -> Iterator[str]:
    """What became of the artifacts. A run may add some, and touches none that is there."""
    yield from (f"{name} was changed" for name, content in before.items() if after.get(name) != content)
    if not may_add and after.keys() > before.keys():
        yield f"something was added to the store: {sorted(after.keys() - before.keys())}"


def play(ground: Ground, kind: Kind, number: int) -> tuple[int | str, list[str]]:
    """One case: damage the files, run a command, look at the store. Returns its status and what is wrong with it."""
    command = kind.commands[number % len(kind.commands)]
    try:
        kind.damages[number](ground.folder, random.Random(f"{kind.name}/{number}"))
        before = snapshot(ground.artifacts)
        status, stderr = call(command, ground.folder)
        wrong = [
            *complaints(status, stderr, kind.certain),
            *changes(before, snapshot(ground.artifacts), command == RUN),
        ]
        if any((ground.folder / "store" / "staging").glob("*")):
            wrong.append("something was left in the staging folder")
    finally:
        ground.restore()
    return status, [f"{kind.name}/{number} ({command}): {one}" for one in wrong]


@pytest.mark.parametrize("deck", DECKS)
def test_damage_ends_in_one_error_message_and_never_in_a_traceback_or_a_changed_store(
    ground: Ground, deck: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HARNESS_MIRROR", raising=False)
    # What is installed does not change meanwhile, and looking takes as long as all else.
    monkeypatch.setattr(metadata, "entry_points", functools.cache(metadata.entry_points))
    outcomes = [play(ground, kind, number) for kind in DECKS[deck]() for number in range(len(kind.damages))]
    wrong = [complaint for _, found in outcomes for complaint in found]
    assert not wrong, f"{len(wrong)} complaints in {len(outcomes)} cases:\n" + "\n".join(wrong)
    harmless = sum(status == 0 for status, _ in outcomes)
    assert harmless < len(outcomes) / 4, "most damage must be noticed, or this test looks at nothing"


def test_the_decks_hold_enough_cases_to_mean_something() -> None:
    cases = [(kind.certain, len(kind.damages)) for deck in DECKS.values() for kind in deck()]
    assert sum(number for _, number in cases) >= 500
    assert sum(number for certain, number in cases if certain) >= 400


def test_several_jobs_that_fail_are_told_in_one_message_for_a_script_looks_for_one(ground: Ground) -> None:
    nothing_to_learn = {**BOARD, "seeds": [13, 21], "students": [{"student": "linear", "min_rows": 17}]}
    write_yaml(ground.folder / "board.yaml", nothing_to_learn)
    status, stderr = call(RUN, ground.folder)
    ground.restore()
    assert status == 2
    assert stderr.startswith("harness: error: 2 jobs failed:\n  ")
    assert stderr.count("harness: error:") == 1
    assert [line.partition(": expected")[0] for line in stderr.splitlines()[1:]] == [
        f"  train linear on stranger/tiny/16/{seed}" for seed in (13, 21)
    ]


def test_the_valid_files_are_accepted_so_that_it_is_the_damage_that_is_refused(ground: Ground) -> None:
    for command in (VALIDATE, VALIDATE_TASK, PLAN, RUN, LS, VERIFY):
        assert call(command, ground.folder) == (0, "")
    ground.restore()
