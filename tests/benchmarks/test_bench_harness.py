"""What the harness itself costs. Run: `pytest tests/benchmarks/test_bench_harness.py --benchmark-only`.

Start-up is that of a process of its own; its peer is a Python that does nothing. A run that finds everything in the
store is what a user waits for who changed one entry of a board.
"""

import contextlib
import io
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from harness.cli import main
from harness.store import Store
from tests.replay_boards import ReplayBoard, board_of_one_task, reviews

HELP = [sys.executable, "-m", "harness.cli", "--help"]
NOTHING = [sys.executable, "-c", "pass"]


@pytest.fixture
def board(tmp_path: Path) -> ReplayBoard:
    """Two generators and two seeds; with two students and measures, 24 jobs."""
    made = board_of_one_task(tmp_path)
    for number in range(2):
        made.add_generator(f"generator-{number}", reviews(200, seed=number, wrong=0.1))
    return made


def start(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def run(board: Path) -> None:
    out, store = board.parent / "out", board.parent / "store"
    arguments = ["--out", str(out), "--store", str(store), "--workers", "1", "--quiet"]
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(["run", str(board), *arguments]) == 0


def test_bench_help(benchmark: BenchmarkFixture) -> None:
    benchmark.pedantic(start, (HELP,), rounds=10, warmup_rounds=1)  # type: ignore[no-untyped-call]
    assert benchmark.stats is not None
    idle = []
    for _ in range(10):
        started = time.perf_counter()
        start(NOTHING)
        idle.append(time.perf_counter() - started)
    benchmark.extra_info["seconds_over_an_idle_python"] = benchmark.stats.stats.median / statistics.median(idle)


def test_bench_a_run_that_finds_everything_in_the_store(benchmark: BenchmarkFixture, board: ReplayBoard) -> None:
    students = ["linear", {"student": "linear", "name": "unigrams", "ngrams": 1}]
    path = board.write(students=students, measures=["lengths", "self_bleu"])
    run(path)
    benchmark(run, path)


def test_bench_find_in_the_store(benchmark: BenchmarkFixture, board: ReplayBoard) -> None:
    ran = board.run()
    keys = [(job.stage.name, job.key) for job in ran.plan.jobs.values()]
    store = Store(board.folder / "store")

    def find_all() -> None:
        assert all(store.find(stage, key) for stage, key in keys)

    benchmark(find_all)
    assert benchmark.stats is not None
    benchmark.extra_info["microseconds_per_find"] = 1e6 * benchmark.stats.stats.median / len(keys)
