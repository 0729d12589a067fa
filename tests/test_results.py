"""The long table: what a row says about its cell, the numbers over seeds, and the files it is written to."""

import csv
import statistics
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from harness import __version__
from harness.results import ALL_SEEDS, COLUMNS, ResultRow, result_rows, write_results
from tests.replay_boards import Ran, ReplayBoard, board_of_one_task, reviews


@pytest.fixture
def noisy_board(tmp_path: Path) -> ReplayBoard:
    """So few and so wrong rows that seeds, which choose among them, give different students."""
    board = board_of_one_task(tmp_path)
    board.add_generator("noisy", reviews(80, seed=3, wrong=0.35))
    return board


def accuracy(ran: Ran, gold: list[str], key: str) -> float:
    """Read from the predictions' labels by name, not from the column that says which were right."""
    predicted = pq.read_table(ran.store.folder("score", key) / "predictions.parquet").column("predicted").to_pylist()
    return statistics.fmean(one == other for one, other in zip(predicted, gold, strict=True))


def score_key(row: ResultRow) -> str:
    stage, _, key = row.artifact.partition("/")
    assert stage == "score"
    return key


def test_a_row_per_seed_says_what_the_predictions_say(noisy_board: ReplayBoard) -> None:
    ran = noisy_board.run(sizes=[24], seeds=[1, 2, 3])
    gold = list(ran.plan.board.tasks[0].split("test").label)
    rows = {row.seed: row for row in ran.rows if row.measure == "accuracy"}
    expected = {seed: accuracy(ran, gold, score_key(rows[seed])) for seed in ("1", "2", "3")}
    assert {seed: rows[seed].value for seed in expected} == pytest.approx(expected)
    assert len(set(expected.values())) > 1
    assert rows[ALL_SEEDS].value == pytest.approx(statistics.fmean(expected.values()))
    (spread,) = (row for row in ran.rows if row.measure == "accuracy.seed_sd")
    assert spread.value == pytest.approx(statistics.stdev(expected.values()))


def test_a_cell_that_lacks_a_seed_has_no_number_over_seeds(noisy_board: ReplayBoard) -> None:
    ran = noisy_board.run(sizes=[24, 40], seeds=[1, 2])
    (lost,) = (score_key(row) for row in ran.rows if (row.size, row.seed, row.measure) == (24, "2", "accuracy"))
    rows = result_rows(ran.plan, ran.store, {lost: None})
    assert {row.seed for row in rows if row.size == 24 and row.stage == "score"} == {"1"}
    assert {row.seed for row in rows if row.size == 40 and row.stage == "score"} == {"1", "2", ALL_SEEDS}


def test_a_dataset_no_student_can_learn_from_leaves_the_other_cells_their_numbers(noisy_board: ReplayBoard) -> None:
    one_label = [(text, "positive") for text, _ in reviews(20, seed=4)]
    noisy_board.add_generator("monotonous", one_label)
    ran = noisy_board.run()
    assert len(ran.outcome.failures) == 2  # one a seed; the jobs that read them have no message of their own
    assert all("positive" in message for message in ran.outcome.failures)
    assert {row.generator for row in ran.rows if row.stage == "score"} == {"noisy"}
    assert {row.generator for row in ran.rows if row.stage == "synthesize"} == {"noisy", "monotonous"}


@pytest.mark.parametrize(
    "fields", [{"sizes": ["all", 80]}, {"sizes": [80, 80]}, {"seeds": [13, 21, 13]}], ids=["all", "size", "seed"]
)
def test_a_size_or_seed_that_comes_twice_counts_once_for_twice_would_narrow_the_interval(
    fields: dict[str, list[int | str]], noisy_board: ReplayBoard
) -> None:
    once = {(row.measure, row.seed): (row.value, row.low, row.high) for row in noisy_board.run().rows}
    twice = noisy_board.run(**fields).rows
    assert {(row.measure, row.seed): (row.value, row.low, row.high) for row in twice} == once
    assert len(twice) == len(once)


def test_numbers_about_a_dataset_name_no_student_and_stand_once_for_all_students(noisy_board: ReplayBoard) -> None:
    students = ["linear", {"student": "linear", "name": "unigrams", "ngrams": 1}]
    ran = noisy_board.run(students=students, measures=["lengths"])
    about_data = [row for row in ran.rows if row.stage in ("synthesize", "measure")]
    assert {(row.student, "student:" in row.signature) for row in about_data} == {("", False)}
    assert sorted(row.seed for row in about_data if row.measure == "words_mean") == ["13", "21"]
    about_students = [row for row in ran.rows if row.stage in ("train", "score")]
    assert {(row.student, "student:" in row.signature) for row in about_students} == {
        ("linear", True),
        ("unigrams", True),
    }


def test_a_signature_holds_all_that_a_number_depends_on(noisy_board: ReplayBoard) -> None:
    ran = noisy_board.run(students=[{"student": "linear", "ngrams": 1}], baselines=["majority", "supervised"])
    signatures = {(row.generator, row.seed): row.signature for row in ran.rows if row.measure == "accuracy"}
    (cell,) = (cell for cell in ran.plan.cells if (cell.generator, cell.seed) == ("noisy", 13))
    replayed = dict(cell.jobs)["synthesize"][:8]
    task = ran.plan.board.tasks[0]
    parts = dict(part.split(":", 1) for part in signatures["noisy", "13"].split("|"))
    test_rows = task.split("test").content_hash[:8]
    assert parts.pop("gen").startswith("noisy@")
    assert parts.pop("student").startswith("linear.v1+")
    assert parts == {
        "task": f"reviews@{test_rows}",
        "n": "80",
        "seed": "13",
        "data": replayed,
        "harness": __version__,
    }
    over_seeds = signatures["noisy", ALL_SEEDS].split("|")
    assert "seeds:13,21" in over_seeds and not any(part.startswith(("seed:", "data:")) for part in over_seeds)
    assert f"gen:gold@{task.split('train').content_hash[:8]}" in signatures["SUPERVISED", "13"]
    assert signatures["majority", ""] == f"task:reviews@{test_rows}|student:majority|harness:{__version__}"


def test_csv_and_parquet_hold_the_same_table(noisy_board: ReplayBoard, tmp_path: Path) -> None:
    ran = noisy_board.run(baselines=["majority"], measures=["lengths"])
    odd = replace(ran.rows[0], generator='a "quoted", odd|name', signature="two\nlines", value=0.1 + 0.2)
    write_results([odd, *ran.rows], tmp_path)
    expected = [asdict(row) for row in (odd, *ran.rows)]
    assert pq.read_table(tmp_path / "results.parquet").to_pylist() == expected
    with (tmp_path / "results.csv").open(newline="", encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    assert list(read[0]) == COLUMNS
    numbers = {"size", "value", "low", "high"}
    for found, row in zip(read, expected, strict=True):
        assert {name: text for name, text in found.items() if name not in numbers} == {
            name: value for name, value in row.items() if name not in numbers
        }
        assert [float(found[name]) if found[name] else None for name in numbers] == [row[name] for name in numbers]


def test_the_table_has_its_columns_even_when_nothing_could_be_made(tmp_path: Path) -> None:
    write_results([], tmp_path)
    table = pq.read_table(tmp_path / "results.parquet")
    assert (table.column_names, table.num_rows) == (COLUMNS, 0)
    assert str(table.schema.field("value").type) == "double"
