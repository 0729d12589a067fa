"""`harness compare`: which entries a name means, what is said of a pair, and that texts of the data stay text."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from harness.cli import main
from harness.errors import HarnessError
from harness.leaderboard.compare import Comparison, compare, terminal_comparison
from harness.scoring.metrics import BoolArray
from harness.stages.score import read_scores
from tests.replay_boards import Ran, ReplayBoard, reviews


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> ReplayBoard:
    found = ReplayBoard(tmp_path_factory.mktemp("pair"))
    rows = reviews(300, seed=1, wrong=0.05)
    rows[:40] = [(f"{text} \x1b[31m[red]", label) for text, label in rows[:40]]
    found.add_task("reviews", rows, train=reviews(60, seed=2))
    for percent in (0, 5, 40):
        found.add_generator(f"flipped-{percent}", reviews(240, seed=3, wrong=percent / 100))
    return found


@pytest.fixture(scope="module")
def ran(board: ReplayBoard) -> Ran:
    return board.run(sizes=[24, 120], seeds=[1, 2, 3], baselines=["majority", "supervised"])


@pytest.fixture(scope="module")
def of(ran: Ran) -> Callable[[str, str], Comparison]:
    return lambda first, second: compare(ran.plan, ran.store, first, second)


def correct(ran: Ran, generator: str, size: int) -> BoolArray:
    keys = [dict(cell.jobs)["score"] for cell in ran.plan.cells if (cell.generator, cell.size) == (generator, size)]
    return np.stack([read_scores(ran.store.folder("score", key), "correct") for key in keys])


def words(found: Comparison) -> str:
    return "\n".join(line.plain for line in terminal_comparison(found))


def test_the_numbers_are_those_of_the_predictions(ran: Ran, of: Callable[[str, str], Comparison]) -> None:
    found = of("flipped-0/120/linear", "flipped-40/120/linear")
    a, b = correct(ran, "flipped-0", 120), correct(ran, "flipped-40", 120)
    (task,) = found.tasks
    assert (task.items, task.seeds) == (300, (3, 3)) and task.scores == pytest.approx((a.mean(), b.mean()))
    assert task.difference.value == pytest.approx(a.mean() - b.mean()) and task.difference == found.mean
    only_a = sum(a[:, item].sum() >= 2 > b[:, item].sum() for item in range(300))
    only_b = sum(b[:, item].sum() >= 2 > a[:, item].sum() for item in range(300))
    assert (task.only_first, task.only_second) == (only_a, only_b)
    statistic = (abs(only_a - only_b) - 1) ** 2 / (only_a + only_b)
    assert only_a + only_b >= 25 and task.mcnemar_p == pytest.approx(stats.chi2.sf(statistic, 1))
    always = [item for item in range(300) if a[:, item].all() and not b[:, item].any()]
    assert task.always_first == len(always) > 0
    assert [item.row for item in task.examples if item.right == "first"] == always[:3]
    rows = ran.plan.board.tasks[0].split("test")
    for item in task.examples:
        assert (item.text, item.reference) == (rows.text[item.row], rows.label[item.row])
        assert item.predicted[item.right == "first"] != item.reference == item.predicted[item.right != "first"]


def test_the_other_way_round_it_is_the_same_with_the_other_sign(of: Callable[[str, str], Comparison]) -> None:
    one = of("flipped-0/120/linear", "flipped-40/120/linear")
    other = of("flipped-40/120/linear", "flipped-0/120/linear")
    assert (other.mean.value, other.mean.low, other.mean.high) == pytest.approx(
        (-one.mean.value, -one.mean.high, -one.mean.low)
    )
    assert other.mean.p_value == pytest.approx(one.mean.p_value)
    assert (other.tasks[0].only_first, other.tasks[0].always_second) == (
        one.tasks[0].only_second,
        one.tasks[0].always_first,
    )


def test_words_say_who_is_better_or_what_it_would_take(of: Callable[[str, str], Comparison]) -> None:
    clear = of("SUPERVISED", "flipped-40/120/linear")
    assert clear.mean.p_value < 0.05 and clear.needed is None
    assert "A is better" in words(clear) and "B is better" in words(of("flipped-40/120/linear", "SUPERVISED"))
    close = of("flipped-0/24/linear", "flipped-5/24/linear")
    assert close.mean.p_value > 0.05 and close.needed is not None
    said = words(close)
    assert "not told apart" in said and re.search(r"four times in five: .*(times the test items|seeds of each)", said)
    fixed = of("majority", "SUPERVISED")
    assert fixed.tasks[0].seeds == (0, 3)
    assert "no and 3 seeds" in words(fixed) and "that very student" not in words(fixed)


def test_more_seeds_or_items_that_are_said_to_suffice_do(of: Callable[[str, str], Comparison]) -> None:
    """The simulation of what is promised: a difference of this size, drawn anew, is seen four times in five."""
    close = of("flipped-0/24/linear", "flipped-5/24/linear")
    assert close.needed is not None and close.needed.seeds is not None
    stream, seeds = np.random.default_rng(5), close.needed.seeds
    of_seed = close.mean.sd_seeds * 3**0.5  # of the difference of one seed of each
    drawn = close.mean.value + close.mean.sd_items * stream.standard_normal((4000, 1))
    drawn = drawn + of_seed * stream.standard_normal((4000, seeds))
    spread = (drawn.var(axis=1, ddof=1) / seeds + close.mean.sd_items**2) ** 0.5
    seen = np.abs(drawn.mean(axis=1)) > stats.t.ppf(0.975, seeds - 1) * spread
    assert 0.65 < seen.mean() < 0.95


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (
            "flipped-0",
            "flipped-5/24/linear",
            "'flipped-0' is the name of 2 entries.*flipped-0/120/linear, flipped-0/24",
        ),
        ("flipped-0/linear", "flipped-5/24/linear", "'flipped-0/linear' is the name of 2 entries"),
        ("fliped-0/24/linear", "majority", "no entry 'fliped-0/24/linear'; did you mean 'flipped-0/24/linear'"),
        ("majority", "majority", "are one entry, majority/majority"),
    ],
)
def test_a_name_that_is_of_none_or_of_several_is_said_so(
    first: str, second: str, message: str, of: Callable[[str, str], Comparison]
) -> None:
    with pytest.raises(HarnessError, match=message):
        of(first, second)


def test_control_characters_and_markup_of_texts_do_not_reach_the_terminal(
    of: Callable[[str, str], Comparison],
) -> None:
    found = of("SUPERVISED", "majority")
    assert any("\x1b" in item.text for item in found.tasks[0].examples)
    said = words(found)
    assert "\x1b" not in said and "[red]" in said


def test_the_command_prints_words_or_json_and_says_what_makes_the_scores(
    board: ReplayBoard, ran: Ran, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = board.write(sizes=[24, 120], seeds=[1, 2, 3], baselines=["majority", "supervised"])
    arguments = ["compare", str(path), "flipped-0/24/linear", "SUPERVISED", "--store"]
    assert main([*arguments, str(ran.store.root)]) == 0
    assert "reviews: accuracy on 300 test items, 3 seeds" in capsys.readouterr().out
    assert main([*arguments, str(ran.store.root), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["schema"], found["first"], found["tasks"][0]["items"]) == (1, "flipped-0/24/linear", 300)
    assert main([*arguments, str(tmp_path / "empty")]) == 2
    said = capsys.readouterr().err
    assert "6 of the 6 scores" in said and f"harness run {path}" in said
    assert main([*arguments, str(ran.store.root), "--seed", "2"]) == 0
    assert "that very student" in capsys.readouterr().out
