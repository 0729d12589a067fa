"""Whole runs by the command line: resumable at any instant, shared by concurrent runs, equal whoever makes what."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest
import yaml
from filelock import FileLock

from harness import __version__
from harness.plan import Selection, make_plan
from harness.resolve import resolve_board
from harness.store import Store

BOARD: dict[str, Any] = {
    "name": "tiny",
    "tasks": [{"task": "film-reviews", "test_rows": 40}],
    "generators": [
        # Strict: the same bits whatever a kill left. Beside others, a text can differ by rounding.
        {
            "name": "tiny-plm",
            "model": "embedded:review-gpt-06m",
            "prompts": "continuation",
            "strict": True,
            "block_rows": 8,
        }
    ],
    "students": [
        {"student": "linear", "min_rows": 1},
        {"student": "bilstm", "embedding": 4, "hidden": 4, "epochs": 1},
    ],
    "sizes": [24],
    "seeds": [1, 2],
    "baselines": ["majority", "prompting"],
    "profile": False,
}
JOBS = 14
"""Two datasets and their measures, four students trained and scored, PROMPTING and majority."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """Where a run reads its board, keeps its store and writes its results."""

    folder: Path

    @property
    def store(self) -> Store:
        return Store(self.folder / "store")

    def command(self, *options: str) -> list[str]:
        folders = ["--store", str(self.folder / "store"), "--out", str(self.folder / "out")]
        return [sys.executable, "-m", "harness.cli", "run", str(self.folder / "board.yaml"), *folders, *options]

    def start(self, *options: str, **variables: str) -> subprocess.Popen[str]:
        """The run in a process group of its own, with further environment variables."""
        return subprocess.Popen(
            self.command("--json", *options),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment() | variables,
            start_new_session=True,
            # A shell that runs the tests in the background has them ignore the interrupt, and their children with them.
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )

    def run(self, *options: str, status: int = 0) -> tuple[dict[str, Any], str]:
        """The summary on the last line of standard output, and what was written to standard error."""
        return finish(self.start(*options), status)

    def table(self) -> list[Row]:
        rows: list[Row] = pq.read_table(self.folder / "out" / "results.parquet").to_pylist()
        return rows

    def timeless(self) -> list[Row]:
        """The results but for those that depend on the machine."""
        return [row for row in self.table() if row["tier"] != "machine"]


def environment() -> dict[str, str]:
    """What a user has: no settings of ours, and the number of threads left to the harness."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("HARNESS_", "OMP_"))}


def finish(process: subprocess.Popen[str], status: int = 0) -> tuple[dict[str, Any], str]:
    out, errors = process.communicate(timeout=300)
    assert process.returncode == status, errors
    assert "Traceback" not in errors
    return json.loads(out.splitlines()[-1]), errors


def place(folder: Path, **changes: Any) -> Place:
    folder.mkdir(exist_ok=True)
    (folder / "board.yaml").write_text(yaml.safe_dump({**BOARD, **changes}))
    return Place(folder)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A run by one process that nothing disturbs; shared by the processes of pytest-xdist."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with FileLock(base / "undisturbed.lock"):
        ran = place(base / "undisturbed")
        ran.run("--workers", "1", "--quiet")
    return ran


@pytest.fixture
def here(tmp_path: Path) -> Place:
    return place(tmp_path / "run")


def damage(store: Store) -> list[tuple[Path, str]]:
    return list(store.verify())


# --- an undisturbed run


def test_the_results_are_a_tidy_table_with_the_columns_that_others_rely_on(undisturbed: Place) -> None:
    columns = (
        *("board", "task", "generator", "size", "student", "seed", "stage", "measure", "tier"),
        *("value", "low", "high", "unit", "signature", "artifact", "note"),
    )
    rows = undisturbed.table()
    assert {tuple(row) for row in rows} == {columns}
    header = (undisturbed.folder / "out" / "results.csv").read_text().splitlines()[0]
    assert header.replace('"', "") == ",".join(columns)
    assert {row["board"] for row in rows} == {"tiny"}
    assert {row["tier"] for row in rows} == {"unreferenced", "real-text", "real-label", "machine", "accounting"}
    assert {row["stage"] for row in rows} == {"synthesize", "measure", "train", "score", "prompt"}
    cells = Counter((row["generator"], row["student"], row["seed"]) for row in rows if row["measure"] == "accuracy")
    assert cells == {
        **{("tiny-plm", student, seed): 1 for student in ("linear", "bilstm") for seed in ("1", "2", "all")},
        **{("tiny-plm", "PROMPTING", seed): 1 for seed in ("", "all")},
        **{("majority", "majority", seed): 1 for seed in ("", "all")},
    }
    numbers = [(row["task"], row["generator"], row["size"], row["student"], row["seed"], row["stage"], row["measure"])
               for row in rows]  # fmt: skip
    assert len(set(numbers)) == len(numbers)


def test_every_number_has_a_signature_that_names_all_it_depends_on(undisturbed: Place) -> None:
    rows = {(row["student"], row["seed"], row["stage"]): row for row in undisturbed.table()}
    data = {seed: rows["", seed, "synthesize"]["artifact"].partition("/")[2][:8] for seed in ("1", "2")}
    task, plm, end = "task:film-reviews@[0-9a-f]{8}/40", "gen:tiny-plm@[0-9a-f]{8}", f"harness:{__version__}"
    linear = r"student:linear\.v\d+\+[0-9a-f]{6}"
    expected = {
        ("linear", "1", "score"): rf"{task}\|{plm}\|n:24\|{linear}\|seed:1\|data:{data['1']}\|{end}",
        ("linear", "2", "train"): rf"{task}\|{plm}\|n:24\|{linear}\|seed:2\|data:{data['2']}\|{end}",
        ("", "1", "measure"): rf"{task}\|{plm}\|n:24\|seed:1\|data:{data['1']}\|measures:[0-9a-f]{{8}}\|{end}",
        ("linear", "all", "score"): rf"{task}\|{plm}\|n:24\|{linear}\|seeds:1,2\|{end}",
        ("PROMPTING", "", "prompt"): rf"{task}\|{plm}\|student:PROMPTING\|{end}",
        ("majority", "", "score"): rf"{task}\|student:majority\|{end}",
    }
    for cell, pattern in expected.items():
        assert re.fullmatch(pattern, rows[cell]["signature"]), (rows[cell]["signature"], pattern)


def test_every_number_names_the_artifact_it_stands_in(undisturbed: Place) -> None:
    for row in undisturbed.table():
        if row["seed"] == "all":
            assert row["artifact"] == ""
            continue
        stage, _, key = row["artifact"].partition("/")
        assert stage == row["stage"]
        values = json.loads((undisturbed.store.folder(stage, key) / "values.json").read_text())
        assert {"value": row["value"], "low": row["low"], "high": row["high"], "unit": row["unit"]}.items() <= next(
            value for value in values if value["measure"] == row["measure"]
        ).items()


def test_the_record_says_what_was_made_and_which_gold_data_each_stage_touched(undisturbed: Place) -> None:
    record = json.loads((undisturbed.folder / "out" / "run.json").read_text())
    assert len(record["jobs"]) == JOBS
    assert {job["state"] for job in record["jobs"]} <= {"made", "found"}
    gold = {job["stage"]: job["gold"] for job in record["jobs"]}
    assert gold == {
        "synthesize": [],
        "train": [],
        "measure": ["film-reviews/test: texts without labels, for leakage"],
        "score": ["film-reviews/test: labels, to score"],
        "prompt": ["film-reviews/test: labels, to score"],
    }


def test_the_same_command_again_makes_nothing_and_says_the_same(undisturbed: Place, tmp_path: Path) -> None:
    again = Place(tmp_path)
    shutil.copy(undisturbed.folder / "board.yaml", tmp_path)
    summary, _ = again.run("--store", str(undisturbed.folder / "store"))
    assert (summary["jobs"], summary["made"], summary["found"], summary["failed"]) == (JOBS, 0, JOBS, 0)
    assert again.table() == undisturbed.table()
    assert not (tmp_path / "store").exists()


# --- several processes


def test_helpers_share_the_work_and_what_they_make_counts_as_made(undisturbed: Place, here: Place) -> None:
    summary, _ = here.run("--workers", "2")
    assert (summary["made"], summary["found"], summary["failed"]) == (JOBS, 0, 0)
    assert here.timeless() == undisturbed.timeless()
    assert damage(here.store) == []


def test_two_runs_at_once_on_an_empty_store_both_succeed_and_make_each_artifact_once(
    undisturbed: Place, here: Place, tmp_path: Path
) -> None:
    other = place(tmp_path / "other")
    processes = [
        here.start("--workers", "1"),
        other.start("--workers", "1", "--store", str(here.folder / "store")),
    ]
    summaries = [finish(process)[0] for process in processes]
    assert [summary["made"] + summary["found"] for summary in summaries] == [JOBS, JOBS]
    assert sum(summary["made"] for summary in summaries) == JOBS
    assert min(summary["made"] for summary in summaries) > 0
    assert len(list(here.store.artifacts())) == JOBS
    assert here.table() == other.table()
    assert here.timeless() == undisturbed.timeless()
    assert damage(here.store) == []


# --- what goes wrong


def test_a_job_that_fails_takes_only_those_that_read_it_with_it(undisturbed: Place, tmp_path: Path) -> None:
    hopeless = {"student": "linear", "name": "hopeless", "min_rows": 1000}
    changes = {"students": [hopeless, *BOARD["students"]], "baselines": ["majority"], "profile": True}
    failing = place(tmp_path / "failing", **changes)
    shutil.copytree(undisturbed.folder / "store", failing.folder / "store")
    summary, errors = failing.run("--workers", "1", status=2)
    assert (summary["made"], summary["found"], summary["failed"]) == (2, JOBS - 1, 5)
    message = errors[errors.index("harness: error: ") :]
    assert message.count("train hopeless on tiny-plm/film-reviews/24/") == 2  # one a seed
    assert "score hopeless" not in message
    others = [row for row in failing.timeless() if row["stage"] != "profile"]
    assert others == [row for row in undisturbed.timeless() if row["student"] != "PROMPTING"]
    assert {row["student"] for row in failing.table() if row["stage"] == "profile"} == {"linear", "bilstm"}
    record = json.loads((failing.folder / "out" / "run.json").read_text())
    assert Counter(job["state"] for job in record["jobs"]) == {"found": JOBS - 1, "failed": 5, "made": 2}
    board = json.loads((failing.folder / "out" / "leaderboard.json").read_text())
    assert [entry["mean"] for entry in board["entries"] if entry["student"] == "hopeless"] == [None]
    assert len(board["notes"]) == 2


def test_a_damaged_artifact_is_named_before_anything_is_made(undisturbed: Place, tmp_path: Path) -> None:
    damaged = place(tmp_path / "damaged")
    shutil.copytree(undisturbed.folder / "store", damaged.folder / "store")
    victim = next(damaged.store.root.glob("artifacts/train/*/*.safetensors"))
    os.truncate(victim, 10)
    process = damaged.start()
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 2
    assert errors.startswith("harness: error: ") and "store gc" in errors and victim.name in errors
    assert len(errors.splitlines()) == 1
    damaged.store.collect_garbage(None)
    summary, _ = damaged.run("--workers", "1")
    assert (summary["made"], summary["found"]) == (1, JOBS - 1)
    assert damaged.timeless() == undisturbed.timeless()


# --- kills


def descendants(process: subprocess.Popen[str]) -> list[psutil.Process]:
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def wait_for_helper_at_work(process: subprocess.Popen[str], store: Store) -> list[psutil.Process]:
    """Until a helper writes into a staging folder of its own; all processes that the run has started."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        children = descendants(process)
        staging = {int(folder.name.split("@")[1]) for folder in (store.root / "staging").glob("*")}
        if staging & {child.pid for child in children}:
            return children
        time.sleep(0.02)
    raise AssertionError("no helper started to work")


@dataclass(frozen=True)
class Running:
    """A run of two processes that would take many minutes, both of them at work."""

    process: subprocess.Popen[str]
    helpers: list[psutil.Process]
    store: Store


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    long = place(tmp_path / "long", sizes=[100_000])
    process = long.start("--workers", "2")
    children: list[psutil.Process] = []
    try:
        children = wait_for_helper_at_work(process, long.store)
        yield Running(process, children, long.store)
    finally:
        for child in children:
            if child.is_running():
                child.kill()
        process.kill()
        process.communicate()


def test_helpers_end_when_the_run_that_started_them_is_killed(running: Running) -> None:
    os.kill(running.process.pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(running.helpers, timeout=20)
    assert alive == []
    assert damage(running.store) == []


def test_an_interrupted_run_says_how_to_carry_on_and_leaves_no_process(running: Running) -> None:
    os.killpg(running.process.pid, signal.SIGINT)  # as a terminal does
    out, errors = running.process.communicate(timeout=60)
    assert running.process.returncode == 130
    assert "run the same command to carry on" in errors
    assert "Traceback" not in errors
    assert out == ""
    _, alive = psutil.wait_procs(running.helpers, timeout=20)
    assert alive == []
    assert damage(running.store) == []


def kill_again_and_again(at: Place, undisturbed: Place, kills: int, seconds: float, seed: int) -> Counter[str]:
    """Kill the whole process group of a run at random instants of its duration, start it again, let the last one end.

    The instants are drawn from equal parts of the duration, in a random order. A run that ends before it is killed is
    compared like the last one, and the store is emptied. Returns how many kills hit which stage.
    """
    stream = random.Random(seed)
    hit: Counter[str] = Counter()
    parts = stream.sample(range(kills), kills)
    plan = make_plan(resolve_board(str(at.folder / "board.yaml"), None), Selection())
    while hit.total() < kills:
        whole_run = not at.store.root.exists()
        begin = time.monotonic()
        process = at.start("--workers", str(1 + hit.total() % 2))
        try:
            process.communicate(timeout=seconds * (parts[hit.total()] + stream.random()) / kills)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            working = list((at.store.root / "staging").glob(f"*@{process.pid}@*"))
            missing = (job.stage.name for job in plan.jobs.values() if at.store.find(job.stage.name, job.key) is None)
            hit[next(missing, "results") if working else "between"] += 1
            assert damage(at.store) == []
        else:
            assert process.returncode == 0
            assert at.timeless() == undisturbed.timeless()
            shutil.rmtree(at.store.root)
            if whole_run:  # the machine is less busy than it was: later instants would never come
                seconds = time.monotonic() - begin
    at.run("--workers", "1")
    assert at.timeless() == undisturbed.timeless()
    assert damage(at.store) == []
    at.store.collect_garbage(None)
    assert list((at.store.root / "staging").iterdir()) == []
    return hit


def duration(ran: Place) -> float:
    """Seconds of all jobs of a run, and of starting Python with what it imports."""
    record = json.loads((ran.folder / "out" / "run.json").read_text())
    return 1.5 + float(sum(job["seconds"] for job in record["jobs"]))


def test_a_run_killed_three_times_ends_with_the_results_of_an_undisturbed_one(undisturbed: Place, here: Place) -> None:
    kill_again_and_again(here, undisturbed, kills=3, seconds=duration(undisturbed), seed=1)


@pytest.mark.slow
def test_a_run_killed_at_many_instants_ends_with_the_results_of_an_undisturbed_one(
    tmp_path: Path, record_property: Any
) -> None:
    quiet, killed = place(tmp_path / "quiet", profile=True), place(tmp_path / "killed", profile=True)
    quiet.run("--workers", "1")
    hit = kill_again_and_again(killed, quiet, kills=24, seconds=duration(quiet), seed=2)
    record_property("kills_by_stage", dict(hit))
    print("kills by stage:", dict(hit))
    assert hit.total() - hit["between"] >= 8


KILL_AT_A_WRITE = """
import os, signal, sys

left, store, stage = int(os.environ["KILL_AT"]), os.environ["KILL_STORE"], os.environ.get("KILL_STAGE")

def watch(event, arguments):
    global left
    path = arguments[0] if arguments and isinstance(arguments[0], (str, os.PathLike)) else ""
    if not os.fspath(path).startswith(store):
        return
    flags = arguments[2] if event == "open" and isinstance(arguments[2], int) else 0
    if stage:
        writes = event == "os.rename" and f"/{stage}/" in os.fspath(arguments[1])
    else:
        writes = event in ("os.rename", "os.mkdir", "os.rmdir") or flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if writes:
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(watch)
"""


@pytest.mark.slow
def test_a_run_killed_in_the_midst_of_its_writes_ends_with_the_results_of_an_undisturbed_one(tmp_path: Path) -> None:
    """Every creation, renaming or removal of a file in the store is an instant to die at.

    Each run dies when the next artifact of a stage is about to take its place, and the one after it some writes later;
    what they leave is the ground of the next.
    """
    quiet, killed = place(tmp_path / "quiet", profile=True), place(tmp_path / "killed", profile=True)
    quiet.run("--workers", "1")
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(KILL_AT_A_WRITE)
    variables = {"PYTHONPATH": str(hook), "KILL_STORE": str(killed.folder / "store")}
    kills = 0
    for stage in ("synthesize", "prompt", "measure", "train", "score", "profile"):
        for number, kill in enumerate(({"KILL_STAGE": stage, "KILL_AT": "1"}, {"KILL_AT": "5"}) * 2):
            process = killed.start("--workers", "1", **variables, **kill)
            process.communicate(timeout=300)
            assert process.returncode == -signal.SIGKILL, (stage, number)
            assert damage(killed.store) == []
            kills += 1
    assert kills == 24
    killed.run("--workers", "1")
    assert killed.timeless() == quiet.timeless()
    assert damage(killed.store) == []
