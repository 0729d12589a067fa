"""The leaderboard: who is ranked and how, what its intervals are about, and that strangers' names stay text."""

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token
from rich.console import Console

from harness.cli import main
from harness.errors import HarnessError
from harness.leaderboard.rank import Entry, Leaderboard, TaskScore, rank
from harness.leaderboard.render import markdown, terminal_tables
from harness.plan import Plan
from harness.profiling import latency
from harness.results import ALL_SEEDS, ResultRow
from harness.scoring.metrics import BoolArray
from harness.scoring.statistics import combined_interval, item_interval_of_seed_mean, wilson
from harness.stages.score import read_scores
from tests.replay_boards import Ran, ReplayBoard, board_of_one_task, reviews, swapped


@pytest.fixture
def replay_board(tmp_path: Path) -> ReplayBoard:
    return board_of_one_task(tmp_path)


@pytest.fixture
def two_tasks(replay_board: ReplayBoard) -> ReplayBoard:
    """Tasks `reviews` and `plays`, with gold train splits of different sizes."""
    replay_board.add_task("plays", reviews(30, seed=5), train=reviews(50, seed=6))
    return replay_board


def over_seeds(task: str, generator: str, value: float, size: int | None = 20, student: str = "linear") -> ResultRow:
    """The row that ranks a cell."""
    return ResultRow(
        board="small",
        task=task,
        generator=generator,
        size=size,
        student=student,
        seed=ALL_SEEDS,
        stage="score",
        measure="accuracy",
        tier="real-label",
        value=value,
        low=None,
        high=None,
        unit="fraction",
        signature=f"task:{task}|gen:{generator}",
        artifact="",
    )


def plan_of(board: ReplayBoard, generators: Sequence[str], baselines: Sequence[str] = ()) -> Plan:
    for name in generators:
        board.add_generator(name, reviews(20, seed=3))
    return board.plan(sizes=[20], baselines=list(baselines))


def test_entries_are_ranked_by_the_mean_of_their_tasks_not_by_one_of_them(two_tasks: ReplayBoard) -> None:
    plan = plan_of(two_tasks, ["a", "b", "c"])
    scores = {"a": (0.9, 0.5), "b": (0.8, 0.8), "c": (0.6, 0.85)}
    rows = [over_seeds("reviews", name, score) for name, (score, _) in scores.items()]
    rows += [over_seeds("plays", name, score) for name, (_, score) in scores.items()]
    ranked = rank(plan, rows, [])
    assert [(entry.rank, entry.generator) for entry in ranked.entries] == [(1, "b"), (2, "c"), (3, "a")]
    assert [entry.mean for entry in ranked.entries] == pytest.approx([0.8, 0.725, 0.7])


def test_entries_with_the_same_mean_share_their_rank(two_tasks: ReplayBoard) -> None:
    plan = plan_of(two_tasks, ["a", "b", "c"])
    scores = {"a": 0.5, "b": 0.75, "c": 0.75}
    rows = [over_seeds(task, name, score) for name, score in scores.items() for task in ("reviews", "plays")]
    assert {entry.generator: entry.rank for entry in rank(plan, rows, []).entries} == {"b": 1, "c": 1, "a": 3}


def test_an_entry_that_lacks_a_task_has_no_mean_and_says_how_many_it_has(two_tasks: ReplayBoard) -> None:
    plan = plan_of(two_tasks, ["best", "whole"])
    rows = [over_seeds("reviews", "best", 1.0), over_seeds("reviews", "whole", 0.6), over_seeds("plays", "whole", 0.7)]
    ranked = rank(plan, rows, [])
    assert [(entry.generator, entry.rank, entry.mean) for entry in ranked.entries] == [
        ("whole", 1, pytest.approx(0.65)),
        ("best", None, None),
    ]
    (line,) = (line for line in markdown(ranked).splitlines() if "best" in line)
    assert "| 1 of 2 |" in line
    assert "1 of 2" in shown(ranked)


def test_baselines_stand_among_the_entries_by_their_mean_but_have_no_rank(two_tasks: ReplayBoard) -> None:
    plan = plan_of(two_tasks, ["a"], baselines=["majority", "supervised"])
    rows = [over_seeds(task, "a", 0.7) for task in ("reviews", "plays")]
    rows += [over_seeds(task, "majority", 0.5, None, "majority") for task in ("reviews", "plays")]
    rows += [over_seeds("reviews", "SUPERVISED", 0.9, 60), over_seeds("plays", "SUPERVISED", 0.8, 50)]
    ranked = rank(plan, rows, [])
    assert [(entry.generator, entry.rank, entry.baseline) for entry in ranked.entries] == [
        ("SUPERVISED", None, True),
        ("a", 1, False),
        ("majority", None, True),
    ]
    # One entry, though each task's train split has a size of its own.
    assert ranked.entries[0].mean == pytest.approx(0.85)


def test_the_measures_of_a_plms_datasets_are_not_those_of_prompting_which_reads_none(replay_board: ReplayBoard) -> None:
    replay_board.generators.append("review-gpt-06m")
    plan = replay_board.plan(tasks=["film-reviews"], sizes=[20, 40], baselines=["prompting"])
    rows = [over_seeds("film-reviews", "review-gpt-06m", 0.6, None, "PROMPTING")]
    for size, self_bleu in ((20, 0.25), (40, 0.75)):
        cell = over_seeds("film-reviews", "review-gpt-06m", 0.7, size)
        about_data = {"student": "", "seed": "13", "stage": "measure", "measure": "self_bleu_4", "value": self_bleu}
        rows += [cell, replace(cell, **about_data)]  # type: ignore[arg-type]
    found = {(entry.student, entry.size): entry.measures for entry in rank(plan, rows, []).entries}
    assert found == {
        ("linear", 20): {"self_bleu_4": 0.25},
        ("linear", 40): {"self_bleu_4": 0.75},
        ("PROMPTING", None): {},
    }


def test_all_rows_of_a_generator_are_one_entry_though_its_files_differ_in_length(two_tasks: ReplayBoard) -> None:
    two_tasks.add_generator("uneven", [], reviews=reviews(30, seed=3), plays=reviews(20, seed=4))
    plan = two_tasks.plan(sizes=[20, "all"])
    rows = [over_seeds("reviews", "uneven", 0.8, 30), over_seeds("reviews", "uneven", 0.5, 20)]
    rows += [over_seeds("plays", "uneven", 0.6, 20)]
    ranked = rank(plan, rows, [])
    assert {entry.size: entry.mean for entry in ranked.entries} == {"all": pytest.approx(0.7), 20: pytest.approx(0.55)}
    assert "| all |" in markdown(ranked)


@pytest.fixture
def noisy(replay_board: ReplayBoard) -> ReplayBoard:
    """So few and so wrong rows that seeds, which choose among them, give different students."""
    replay_board.add_generator("noisy", reviews(80, seed=3, wrong=0.35))
    return replay_board


def score_of(ran: Ran, generator: str) -> TaskScore:
    (entry,) = (one for one in rank(ran.plan, ran.rows, []).entries if one.generator == generator)
    return entry.scores["reviews"]


def correct_of(ran: Ran, generator: str) -> BoolArray:
    keys = [dict(cell.jobs)["score"] for cell in ran.plan.cells if cell.generator == generator]
    return np.stack([read_scores(ran.store.folder("score", key), "correct") for key in keys])


def test_with_several_seeds_the_interval_is_about_items_and_seeds_together_and_each_is_kept(noisy: ReplayBoard) -> None:
    ran = noisy.run(sizes=[24], seeds=[1, 2, 3])
    score, correct = score_of(ran, "noisy"), correct_of(ran, "noisy")
    together, items = combined_interval(correct), item_interval_of_seed_mean(correct)
    assert together is not None
    assert (score.low, score.high) == pytest.approx((together.low, together.high))
    assert score.items == pytest.approx((items.low, items.high))
    assert score.seeds is not None and score.seed_sd is not None
    assert score.seed_sd == pytest.approx(correct.mean(axis=1).std(ddof=1))
    assert score.n_seeds == 3


def test_seeds_are_counted_by_the_metric_itself_for_answers_have_no_flag_of_inversion(noisy: ReplayBoard) -> None:
    ran = noisy.run(sizes=[24], seeds=[1, 2, 3])
    ran.rows[:] = [row for row in ran.rows if row.measure != "suspected_inversion"]
    score = score_of(ran, "noisy")
    assert (score.n_seeds, score.suspected_inversion) == (3, False)


@pytest.mark.parametrize("generator", ["noisy", "majority"])
def test_with_one_seed_or_none_the_interval_is_wilsons_over_the_test_items(generator: str, noisy: ReplayBoard) -> None:
    ran = noisy.run(sizes=[24], seeds=[1], baselines=["majority"])
    score, correct = score_of(ran, generator), correct_of(ran, generator)
    expected = wilson(int(correct.sum()), correct.size)
    assert (score.low, score.high) == score.items == pytest.approx((expected.low, expected.high))
    assert (score.seeds, score.seed_sd) == (None, None)


def test_macro_f1_of_one_seed_has_that_seeds_interval_and_of_several_that_over_seeds_alone(noisy: ReplayBoard) -> None:
    noisy.tasks.clear()
    noisy.add_task("reviews", reviews(40, seed=1), metric="macro_f1")
    one = noisy.run(sizes=[24], seeds=[1])
    (own,) = (row for row in one.rows if (row.seed, row.measure) == ("1", "macro_f1"))
    score = score_of(one, "noisy")
    assert (score.value, score.low, score.high) == (own.value, own.low, own.high)
    assert own.low is not None
    several = score_of(noisy.run(sizes=[24], seeds=[1, 2, 3]), "noisy")
    assert several.seeds is not None and several.items is None


def test_a_file_whose_labels_are_swapped_is_marked_and_the_right_one_is_not(replay_board: ReplayBoard) -> None:
    rows = reviews(60, seed=3)
    replay_board.add_generator("right", rows)
    replay_board.add_generator("swapped", swapped(rows))
    ran = replay_board.run()
    ranked = rank(ran.plan, ran.rows, [])
    assert [(one.generator, one.scores["reviews"].suspected_inversion) for one in ranked.entries] == [
        ("right", False),
        ("swapped", True),
    ]
    assert ranked.entries[1].scores["reviews"].value < 0.1
    marked = {line.split("|")[2].strip() for line in markdown(ranked).splitlines() if "] ?" in line}
    assert marked == {"swapped"}


def test_one_swapped_seed_among_several_is_enough_to_mark_the_score(replay_board: ReplayBoard) -> None:
    replay_board.add_generator("right", reviews(60, seed=3))
    ran = replay_board.run()
    flag = ("suspected_inversion", "21")
    rows = [replace(row, value=1.0) if (row.measure, row.seed) == flag else row for row in ran.rows]
    assert rank(ran.plan, rows, []).entries[0].scores["reviews"].suspected_inversion


def shown(board: Leaderboard) -> str:
    stream = io.StringIO()
    Console(file=stream, width=250, highlight=False, emoji=True).print(*terminal_tables(board))
    return stream.getvalue()


EVIL = (
    "[red]x[/red] [/nothing]",
    "a | b",
    "<img src=x onerror=alert(1)>",
    "![i](http://tracker/x) [l](javascript:alert(1))",
    "back\\| slash \\",
    "two\n\n| lines |\n---\n# here",
    "AT&T &lt;b&gt;",
    "`code | span` and *stars*",
)


def evil_board(text: str) -> Leaderboard:
    scores = {text: TaskScore(0.5, 0.4, 0.6, None, None, None, 1, False)}
    entry = Entry("text-classification", text, 10, text, False, scores=scores, mean=0.5, rank=1)
    return Leaderboard(
        "board",
        text,
        {text: "accuracy"},
        {text: "text-classification"},
        [entry, Entry("text-classification", text, None, text, True)],
        [text],
    )


@pytest.mark.parametrize("text", EVIL)
def test_names_and_titles_stay_text_in_markdown(text: str) -> None:
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown(evil_board(text)))
    inline = [child for token in tokens for child in token.children or ()]
    kinds = {token.type for token in [*tokens, *inline]}
    assert not kinds & {"html_block", "html_inline", "image", "link_open", "hr", "fence", "code_block"}
    assert sum(token.type == "heading_open" for token in tokens) == 1
    assert sum(token.type == "table_open" for token in tokens) == 1
    assert sum(token.type == "th_open" for token in tokens) == 11
    assert sum(token.type == "td_open" for token in tokens) == 2 * 11
    cells = [visible(token.children or ()) for token in tokens if token.type == "inline"]
    assert cells.count(" ".join(text.split())) == 1 + 2 * 2 + 1  # title, generator and student of two entries, note


def visible(children: Sequence[Token]) -> str:
    return "".join(child.content for child in children)


@pytest.mark.parametrize("text", EVIL)
def test_names_and_titles_stay_text_on_a_terminal(text: str) -> None:
    lines = shown(evil_board(text))
    for word in text.split():
        assert word in lines


def test_control_characters_of_a_title_do_not_reach_the_terminal() -> None:
    assert "\x1b" not in shown(evil_board("\x1b]0;owned\x07\x1b[2J clear"))


def test_a_run_leaves_a_leaderboard_that_loads_and_says_which_schema_it_has(
    replay_board: ReplayBoard, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency, "MIN_SECONDS", 0.01)
    replay_board.add_generator("right", reviews(60, seed=3))
    board = replay_board.write(title="A [b]title[/b]", baselines=["majority", "supervised"], profile=True, seeds=[13])
    out, store = replay_board.folder / "out", replay_board.folder / "store"
    arguments = ["run", str(board), "--out", str(out), "--store", str(store), "--workers", "1", "--quiet", "--json"]
    assert main(arguments) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (summary["failed"], summary["leaderboard"]) == (0, str(out / "leaderboard.json"))
    loaded = json.loads((out / "leaderboard.json").read_text())
    assert (loaded["schema"], loaded["board"], loaded["title"]) == (1, "small", "A [b]title[/b]")
    assert loaded["tasks"] == {"reviews": "accuracy"}
    first = next(entry for entry in loaded["entries"] if entry["rank"] == 1)
    assert (first["generator"], first["mean"], first["size"]) == ("right", 1.0, 60)
    assert first["scores"]["reviews"]["low"] < first["scores"]["reviews"]["value"] <= first["scores"]["reviews"]["high"]
    assert 0 < first["latency_p50_ms"] < 1000 and first["rows_per_second"] > 1 and first["size_bytes"] > 100
    table = pq.read_table(out / "results.parquet").to_pylist()
    assert first["signatures"]["reviews"] in {row["signature"] for row in table}
    assert (out / "leaderboard.md").read_text().startswith("# A [b]title[/b]\n")


@pytest.mark.parametrize("name", ["majority", "SUPERVISED"])
def test_a_generator_cannot_take_the_name_of_a_baseline_for_its_numbers_would_become_the_baselines(
    name: str, replay_board: ReplayBoard
) -> None:
    replay_board.add_generator(name, reviews(20, seed=3))
    with pytest.raises(HarnessError, match=f"generators.*'{name}'.*baseline"):
        replay_board.plan()


@pytest.mark.parametrize("name", ["majority", "PROMPTING"])
def test_a_student_cannot_take_the_name_of_a_baseline(name: str, replay_board: ReplayBoard) -> None:
    replay_board.add_generator("right", reviews(20, seed=3))
    with pytest.raises(HarnessError, match=f"students.*'{name}'.*baseline"):
        replay_board.plan(students=[{"student": "linear", "name": name}])


def test_entries_of_different_sizes_are_compared_at_the_size_of_the_smallest(replay_board: ReplayBoard) -> None:
    replay_board.add_generator("noisy", reviews(80, seed=3, wrong=0.35))
    ran = replay_board.run(sizes=[24, 40], seeds=[1, 2], measures=["distinct_n", "lengths"])
    entries = {entry.size: entry for entry in rank(ran.plan, ran.rows, []).entries if not entry.baseline}

    def mean(size: int, measure: str) -> float:
        values = [row.number for row in ran.rows if (row.size, row.measure) == (size, measure)]
        assert len(values) == 2
        return sum(values) / 2

    assert entries[24].compared["distinct_1"] == mean(24, "distinct_1")
    assert entries[40].compared["distinct_1"] == mean(40, "distinct_1@24") != mean(40, "distinct_1")
    # What does not depend on the size is as it is.
    assert entries[40].compared["words_mean"] == entries[40].measures["words_mean"] == mean(40, "words_mean")
