"""The rows that scoring reports: their names, tiers, units and which spread each interval is about."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, recall_score

from harness.errors import HarnessError
from harness.scoring.metrics import BoolArray, FloatArray
from harness.scoring.scores import aggregate_answer_seeds, aggregate_seeds, answer_score_values, score_values
from harness.scoring.statistics import combined_interval, item_interval_of_seed_mean, seed_interval, wilson
from harness.values import Value

LABELS = ["negative", "neutral", "positive"]


def random_names(seed: int, n_items: int = 300) -> tuple[list[str], list[str]]:
    """References, and predictions that are right about three times in four."""
    generator = np.random.default_rng(seed)
    reference = generator.choice(LABELS, size=n_items)
    predicted = np.where(generator.random(n_items) < 0.6, reference, generator.choice(LABELS, size=n_items))
    return reference.tolist(), predicted.tolist()


def by_measure(values: list[Value]) -> dict[str, Value]:
    rows = {value.measure: value for value in values}
    assert len(rows) == len(values)
    return rows


def three_seeds() -> tuple[BoolArray, list[list[Value]]]:
    reference, _ = random_names(0)
    runs = [random_names(seed)[1] for seed in (1, 2, 3)]
    runs = [[r if i % 3 else p for i, (r, p) in enumerate(zip(reference, run, strict=True))] for run in runs]
    correct = np.array([[r == p for r, p in zip(reference, run, strict=True)] for run in runs])
    return correct, [score_values(reference, run, LABELS, seed=7) for run in runs]


def test_scores_agree_with_scikit_learn_on_label_names() -> None:
    reference, predicted = random_names(1)
    rows = by_measure(score_values(reference, predicted, LABELS, seed=7))
    recalls = recall_score(reference, predicted, labels=LABELS, average=None)
    assert rows["accuracy"].value == pytest.approx(accuracy_score(reference, predicted))
    assert rows["macro_f1"].value == pytest.approx(f1_score(reference, predicted, average="macro"))
    assert [rows[f"recall.{label}"].value for label in LABELS] == pytest.approx(list(recalls))


def test_every_score_says_that_it_looked_at_gold_labels_and_in_which_unit() -> None:
    values = score_values(*random_names(1), LABELS, seed=7)
    assert {value.tier for value in values} == {"real-label"}
    assert {value.measure: value.unit for value in values if value.unit != "fraction"} == {
        "suspected_inversion": "flag"
    }


def test_each_score_lies_within_its_own_interval_over_items() -> None:
    reference, predicted = random_names(1)
    rows = by_measure(score_values(reference, predicted, LABELS, seed=7))
    n_right = sum(r == p for r, p in zip(reference, predicted, strict=True))
    expected = wilson(n_right, len(reference))
    assert (rows["accuracy"].low, rows["accuracy"].high) == (expected.low, expected.high)
    for measure in ("accuracy", "macro_f1", "recall.neutral"):
        row = rows[measure]
        assert row.low is not None
        assert row.high is not None
        assert row.low < row.value < row.high


def test_identical_seeds_give_identical_numbers() -> None:
    reference, predicted = random_names(1)
    first = score_values(reference, predicted, LABELS, seed=7)
    assert first == score_values(reference, predicted, LABELS, seed=7)
    assert first != score_values(reference, predicted, LABELS, seed=8)


def test_the_order_of_the_label_list_changes_no_score() -> None:
    reference, predicted = random_names(1)
    forwards = by_measure(score_values(reference, predicted, LABELS, seed=7))
    backwards = by_measure(score_values(reference, predicted, LABELS[::-1], seed=7))
    assert {name: row.value for name, row in forwards.items()} == pytest.approx(
        {name: row.value for name, row in backwards.items()}
    )


def test_exchanged_label_names_are_suspected_and_the_right_ones_are_not() -> None:
    reference = ["positive", "negative"] * 100
    predicted = ["positive", "negative"] * 80 + ["negative", "positive"] * 20
    exchanged = ["negative" if name == "positive" else "positive" for name in predicted]
    labels = ["negative", "positive"]
    assert by_measure(score_values(reference, predicted, labels, seed=7))["suspected_inversion"].value == 0.0
    assert by_measure(score_values(reference, exchanged, labels, seed=7))["suspected_inversion"].value == 1.0


def test_a_label_absent_from_the_test_split_has_no_recall_rather_than_a_recall_of_zero() -> None:
    rows = by_measure(score_values(["positive", "negative"], ["positive", "neutral"], LABELS, seed=7))
    assert "recall.neutral" not in rows
    assert rows["recall.negative"].value == 0.0


def test_a_prediction_outside_the_label_set_is_an_error_and_not_a_wrong_answer() -> None:
    with pytest.raises(HarnessError, match="Positive"):
        score_values(["positive"], ["Positive"], LABELS, seed=7)


def test_the_rows_of_several_seeds_name_the_spread_that_their_interval_is_about() -> None:
    correct, per_seed = three_seeds()
    rows = by_measure(aggregate_seeds(correct, per_seed))
    assert list(rows) == [
        "accuracy",
        "accuracy.items",
        "accuracy.seeds",
        "accuracy.seed_sd",
        "macro_f1",
        "macro_f1.seeds",
        "macro_f1.seed_sd",
    ]
    combined, seeds = combined_interval(correct), seed_interval(correct.mean(axis=1).tolist()).interval
    assert combined is not None
    assert seeds is not None
    assert (rows["accuracy"].low, rows["accuracy"].high) == (combined.low, combined.high)
    assert (rows["accuracy.seeds"].low, rows["accuracy.seeds"].high) == (seeds.low, seeds.high)
    for name in ("accuracy", "accuracy.items", "accuracy.seeds"):
        assert rows[name].value == pytest.approx(correct.mean())


def test_means_and_deviations_are_taken_over_the_scores_of_the_seeds() -> None:
    correct, per_seed = three_seeds()
    rows = by_measure(aggregate_seeds(correct, per_seed))
    for measure in ("accuracy", "macro_f1"):
        scores = [by_measure(values)[measure].value for values in per_seed]
        assert rows[measure].value == rows[f"{measure}.seeds"].value == pytest.approx(np.mean(scores))
        assert rows[f"{measure}.seed_sd"].value == pytest.approx(np.std(scores, ddof=1))


def test_one_seed_keeps_its_item_interval_and_has_no_interval_that_speaks_of_seeds() -> None:
    correct, per_seed = three_seeds()
    rows = by_measure(aggregate_seeds(correct[:1], per_seed[:1]))
    assert [name for name, row in rows.items() if row.low is not None] == ["accuracy.items"]
    assert not any(name.endswith("seed_sd") for name in rows)
    own = by_measure(per_seed[0])["accuracy"]
    assert (rows["accuracy.items"].low, rows["accuracy.items"].high) == (own.low, own.high)


def test_an_interval_over_few_seeds_is_cut_at_the_ends_of_the_scale() -> None:
    correct = np.array([[True] * 10, [True] * 8 + [False] * 2])
    per_seed = [[Value("macro_f1", score, "fraction", "real-label")] for score in (1.0, 0.8)]
    rows = by_measure(aggregate_seeds(correct, per_seed))
    assert (rows["accuracy.seeds"].low, rows["accuracy.seeds"].high) == (0.0, 1.0)


def test_a_seed_that_lacks_its_scores_leaves_no_mean() -> None:
    correct, per_seed = three_seeds()
    with pytest.raises(ValueError, match="scores of 3 seeds, found 2"):
        aggregate_seeds(correct, per_seed[:2])
    with pytest.raises(ValueError, match="macro_f1"):
        aggregate_seeds(correct, [per_seed[0], per_seed[1], []])


def answers_of_seeds(seeds: int, questions: int = 200) -> tuple[BoolArray, FloatArray]:
    """Exact matches and F1s of a student that half knows the answers: no F1 is below its exact match."""
    generator = np.random.default_rng(seeds)
    exact = generator.random((seeds, questions)) < 0.3
    return exact, np.where(exact, 1.0, generator.choice([0.0, 0.0, 0.4, 2 / 3], size=exact.shape))


def test_one_student_has_the_means_over_questions_with_intervals_over_questions_and_no_flag() -> None:
    exact, f1 = answers_of_seeds(1)
    rows = by_measure(answer_score_values(exact[0], f1[0]))
    assert {name: row.value for name, row in rows.items()} == pytest.approx(
        {"exact_match": exact.mean(), "f1": f1.mean()}
    )
    assert {(row.unit, row.tier) for row in rows.values()} == {("fraction", "real-label")}
    expected = wilson(int(exact.sum()), exact.size)
    assert (rows["exact_match"].low, rows["exact_match"].high) == (expected.low, expected.high)
    # The usual interval of a mean, from which Wilson's form differs little at this number of questions.
    half = 1.96 * f1.std() / np.sqrt(f1.size)
    assert (rows["f1"].low, rows["f1"].high) == pytest.approx((f1.mean() - half, f1.mean() + half), abs=0.1 * half)


def test_answers_of_several_seeds_have_the_rows_that_accuracy_has() -> None:
    exact, f1 = answers_of_seeds(3)
    rows = by_measure(aggregate_answer_seeds(exact, f1))
    parts = ("", ".items", ".seeds", ".seed_sd")
    assert list(rows) == [f"{measure}{part}" for measure in ("exact_match", "f1") for part in parts]
    by_name: dict[str, BoolArray | FloatArray] = {"exact_match": exact, "f1": f1}
    for measure, scores in by_name.items():
        per_seed = [by_measure(answer_score_values(*seed))[measure].value for seed in zip(exact, f1, strict=True)]
        assert rows[f"{measure}.seed_sd"].value == pytest.approx(np.std(per_seed, ddof=1))
        intervals = [combined_interval(scores), item_interval_of_seed_mean(scores), seed_interval(per_seed).interval]
        for part, interval in zip(parts, intervals, strict=False):
            row = rows[f"{measure}{part}"]
            assert row.value == pytest.approx(np.mean(per_seed))
            assert interval is not None
            assert (row.low, row.high) == pytest.approx((interval.low, interval.high))


def test_one_seed_of_answers_keeps_its_own_intervals_over_questions() -> None:
    exact, f1 = answers_of_seeds(1)
    rows, own = by_measure(aggregate_answer_seeds(exact, f1)), by_measure(answer_score_values(exact[0], f1[0]))
    assert [name for name, row in rows.items() if row.low is not None] == ["exact_match.items", "f1.items"]
    assert not any(name.endswith("seed_sd") for name in rows)
    for measure, row in own.items():
        items = rows[f"{measure}.items"]
        assert (items.value, items.low, items.high) == (row.value, row.low, row.high)


def test_answers_without_a_question_or_with_one_score_too_few_are_refused() -> None:
    exact, f1 = answers_of_seeds(2)
    for right, overlap in ((exact[:, :0], f1[:, :0]), (exact, f1[:, 1:]), (exact[:1], f1)):
        with pytest.raises(ValueError, match="both scores"):
            aggregate_answer_seeds(right, overlap)
        with pytest.raises(ValueError, match="both scores"):
            answer_score_values(right.ravel(), overlap.ravel())


def test_importing_the_scores_does_not_import_the_statistics_of_scipy_which_take_a_second() -> None:
    check = "import harness.scoring.scores, sys; print('scipy' in sys.modules, 'sklearn' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False", "False"]
