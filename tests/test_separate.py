"""Tie groups, ranges of ranks, Borda and the gap recovered, on boards whose order is known."""

from pathlib import Path

import numpy as np
import pytest

from harness.leaderboard.rank import Entry, Leaderboard, TaskScore, rank
from harness.leaderboard.render import markdown
from harness.leaderboard.separate import borda, letters, separate
from harness.scoring.metrics import BoolArray
from tests.replay_boards import Ran, ReplayBoard, board_of_one_task, reviews


def ranked(ran: Ran) -> Leaderboard:
    found = rank(ran.plan, ran.rows, [])
    separate(found, ran.plan, ran.store, ran.outcome.lost)
    return found


def of(board: Leaderboard, generator: str) -> Entry:
    (entry,) = (one for one in board.entries if one.generator == generator)
    return entry


def apart(count: int, *pairs: tuple[int, int]) -> BoolArray:
    found = np.zeros((count, count), dtype=bool)
    for a, b in pairs:
        found[a, b] = found[b, a] = True
    return found


@pytest.mark.parametrize(
    ("separated", "expected"),
    [
        (apart(3), ["a", "a", "a"]),
        (apart(3, (0, 2)), ["a", "ab", "b"]),
        (apart(3, (0, 1), (0, 2), (1, 2)), ["a", "b", "c"]),
        # The second has wide seeds: it ties with all, though the first differs from those behind it.
        (apart(4, (0, 2), (0, 3)), ["a", "ab", "b", "b"]),
        # No order in it: 0–1–2–3–0 are near in a ring.
        (apart(4, (0, 2), (1, 3)), ["ab", "ac", "cd", "bd"]),
    ],
)
def test_letters_by_hand(separated: BoolArray, expected: list[str]) -> None:
    assert letters(separated) == expected


def test_entries_share_a_letter_exactly_if_they_are_not_apart() -> None:
    stream = np.random.default_rng(1)
    for share in (0.1, 0.5, 0.9):
        drawn = np.triu(stream.random((30, 30)) < share, 1)
        found = [set(one.replace("2", "2 ").split()) for one in map(_spaced, letters(drawn | drawn.T))]
        for a in range(30):
            for b in range(a):
                assert bool(found[a] & found[b]) != (drawn | drawn.T)[a, b]


def _spaced(text: str) -> str:
    """`ab2c` as `a b2 c`."""
    return "".join(f" {one}" if one.isalpha() else one for one in text)


def test_borda_by_hand_equal_scores_count_half() -> None:
    values = {"a": (0.9, 0.5), "b": (0.8, 0.5), "c": (0.7, 0.8)}
    entries = [
        Entry(
            "text-classification",
            name,
            10,
            "s",
            False,
            scores={
                task: TaskScore(one, None, None, None, None, None, 1, False)
                for task, one in zip("tu", two, strict=True)
            },
            mean=sum(two) / 2,
            rank=1,
        )
        for name, two in values.items()
    ]
    lacking = Entry("text-classification", "lacking", 10, "s", False)
    metrics = {"t": "accuracy", "u": "accuracy"}
    board = Leaderboard("b", "b", metrics, dict.fromkeys("tu", "text-classification"), [*entries, lacking], [])
    borda(board)
    # a: 2 and ½ points; b: 1 and ½; c: 0 and 2.
    assert [entry.borda for entry in board.entries] == [1.25, 0.75, 1.0, None]


@pytest.fixture(scope="module")
def flipped(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The same reviews with 0, 10, 20, 30 and 45 % of their labels flipped, on two tasks that share students."""
    board = ReplayBoard(tmp_path_factory.mktemp("flipped"))
    for number, name in enumerate(("reviews", "plays")):
        board.add_task(name, reviews(600, seed=1 + number, wrong=0.05), train=reviews(200, seed=8))
    for percent in (30, 0, 45, 20, 10):
        board.add_generator(f"flipped-{percent}", reviews(240, seed=3, wrong=percent / 100))
    return board.run(sizes=[160], seeds=[1, 2, 3], baselines=["majority", "supervised"])


def test_flipped_labels_come_out_in_their_order_with_the_separations_that_they_allow(flipped: Ran) -> None:
    found = ranked(flipped)
    order = [entry for entry in found.entries if entry.rank is not None]
    assert [entry.generator for entry in order] == [f"flipped-{percent}" for percent in (0, 10, 20, 30, 45)]
    assert [entry.borda for entry in order] == [4, 3, 2, 1, 0]
    # Almost right labels are told from almost random ones, and not from those with one in ten wrong.
    assert not set(order[0].tie_group) & set(order[-1].tie_group)
    assert set(order[0].tie_group) & set(order[1].tie_group)
    assert (order[0].rank_low, order[0].rank_high) == (1, 3) and (order[-1].rank_low, order[-1].rank_high) == (4, 5)
    for entry in order:
        assert entry.rank is not None and entry.rank_low is not None and entry.rank_high is not None
        assert entry.rank_low <= entry.rank <= entry.rank_high


def test_baselines_are_in_no_group_and_the_table_shows_ranges(flipped: Ran) -> None:
    found = ranked(flipped)
    assert [(one.tie_group, one.rank_low, one.borda) for one in found.entries if one.baseline] == [("", None, None)] * 2
    best = of(found, "flipped-0")
    (line, other) = (line for line in markdown(found).splitlines() if "| flipped-0 |" in line)
    assert line.startswith(f"| {best.rank_low}–{best.rank_high} |") and f"| {best.tie_group} | 4 |" in other


def test_the_gap_recovered_is_by_task_and_of_the_means(flipped: Ran) -> None:
    found = ranked(flipped)
    gold, constant, entry = of(found, "SUPERVISED"), of(found, "majority"), of(found, "flipped-20")
    for task in ("reviews", "plays"):
        top = entry.scores[task].value - constant.scores[task].value
        expected = 100 * top / (gold.scores[task].value - constant.scores[task].value)
        ratio = entry.pgr[task]
        assert ratio.value == pytest.approx(expected)
        assert ratio.low is not None and ratio.high is not None and ratio.low < expected < ratio.high
    assert gold.mean is not None and constant.mean is not None and entry.mean is not None and entry.mean_pgr is not None
    assert entry.mean_pgr.value == pytest.approx(100 * (entry.mean - constant.mean) / (gold.mean - constant.mean))
    assert gold.pgr == {} and gold.mean_pgr is None


def test_an_entry_that_lacks_a_seed_is_not_compared_and_the_others_are(flipped: Ran) -> None:
    (cell, *_) = (one for one in flipped.plan.cells if one.generator == "flipped-10" and one.task == "plays")
    lost = {dict(cell.jobs)["score"]}
    rows = [row for row in flipped.rows if (row.generator, row.task) != ("flipped-10", "plays")]
    found = rank(flipped.plan, rows, [])
    separate(found, flipped.plan, flipped.store, lost)
    entry = of(found, "flipped-10")
    assert (entry.mean, entry.tie_group, entry.rank_low, entry.borda, entry.mean_pgr) == (None, "", None, None, None)
    assert set(entry.pgr) == {"reviews"}
    assert of(found, "flipped-45").rank_high == 4


def test_macro_f1_is_compared_by_macro_f1(tmp_path: Path) -> None:
    board = ReplayBoard(tmp_path)
    board.add_task("reviews", reviews(200, seed=1), metric="macro_f1", train=reviews(60, seed=2))
    board.add_generator("right", reviews(60, seed=3))
    board.add_generator("noisy", reviews(60, seed=3, wrong=0.45))
    found = ranked(board.run(sizes=[40], seeds=[1, 2, 3, 4, 5], baselines=["majority", "supervised"]))
    noisy, constant, gold = (of(found, name) for name in ("noisy", "majority", "SUPERVISED"))
    assert noisy.mean is not None and constant.mean is not None and gold.mean is not None
    assert noisy.pgr["reviews"].value == pytest.approx(
        100 * (noisy.mean - constant.mean) / (gold.mean - constant.mean), abs=1e-9
    )
    assert (of(found, "right").tie_group, noisy.tie_group) == ("a", "b")


def test_a_board_of_one_entry_is_first(tmp_path: Path) -> None:
    board = board_of_one_task(tmp_path)
    board.add_generator("only", reviews(60, seed=3))
    entry = of(ranked(board.run()), "only")
    assert (entry.rank_low, entry.rank_high, entry.tie_group, entry.borda, entry.pgr) == (1, 1, "a", 0, {})
