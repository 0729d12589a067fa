import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from harness.errors import HarnessError
from harness.quality.measures import DEFAULT_MEASURES, MEASURES, measure_all
from harness.quality.rows import Oracle, Rows
from harness.values import Value

TEXTS = ["a good film , really good", "a bad film", "a bad film", "A good film, really good"]
LABELS = ["positive", "negative", "negative", "positive"]
TEST_TEXTS = ["A bad film.", "a good play"]
LABEL_NAMES = ["negative", "positive"]
ROWS = Rows(TEXTS, LABEL_NAMES, LABELS, test_texts=TEST_TEXTS)
ORACLE = [[0.1, 0.9], [0.8, 0.2], [0.4, 0.6], [0.3, 0.7]]
ROWS = replace(ROWS, oracle=Oracle("an oracle", np.arange(4), np.array(ORACLE), 9, 10))
ROWS_OF = {"label_errors": Rows(TEXTS * 3, LABEL_NAMES, LABELS * 3)}  # five of each label, for its folds


def by_name(names: list[str]) -> dict[str, Value]:
    return {value.measure: value for value in measure_all(names, ROWS).values}


def test_the_registry_keeps_its_order_because_reports_show_it() -> None:
    assert list(MEASURES) == [
        "self_bleu",
        "distinct_n",
        "duplicates",
        "lengths",
        "label_balance",
        "leakage",
        "oracle_agreement",
        "label_errors",
    ]
    assert all(name == measure.name for name, measure in MEASURES.items())
    assert set(DEFAULT_MEASURES) <= set(MEASURES)


def test_names_tiers_and_versions_can_be_read_without_loading_numpy() -> None:
    program = (
        "import sys; from harness.quality.measures import MEASURES\n"
        "print([(m.name, m.tier, m.version) for m in MEASURES.values()] and 'numpy' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "False"


def test_every_number_has_the_tier_of_its_measure_and_is_plain_json() -> None:
    for name, measure in MEASURES.items():
        values = measure_all([name], ROWS_OF.get(name, ROWS)).values
        assert {value.tier for value in values} == {measure.tier}
        json.dumps([value.as_dict() for value in values], allow_nan=False)


def test_names_and_units_are_those_that_reports_and_boards_refer_to() -> None:
    found = by_name(list(DEFAULT_MEASURES))
    assert {name: value.unit for name, value in found.items()} == {
        **{f"self_bleu_{order}": "fraction" for order in range(1, 6)},
        **{f"distinct_{order}": "fraction" for order in range(1, 5)},
        "duplicates_exact": "fraction",
        "duplicates_normalised": "fraction",
        **{f"words_{what}": "words" for what in ("mean", "sd", "min", "median", "max")},
        "label_share.negative": "fraction",
        "label_share.positive": "fraction",
        "label_entropy": "fraction",
        **{f"leakage_{kind}_rows": "rows" for kind in ("exact", "normalised", "near")},
        **{f"leakage_{kind}_share": "fraction" for kind in ("exact", "normalised", "near")},
        **{f"leakage_{kind}_test_rows": "rows" for kind in ("exact", "normalised", "near")},
        **{f"leakage_{kind}_test_share": "fraction" for kind in ("exact", "normalised", "near")},
    }


def test_numbers_stand_under_the_right_names() -> None:
    found = {name: value.value for name, value in by_name(list(DEFAULT_MEASURES)).items()}
    by_hand = {
        "distinct_1": 7 / 18,  # a good film , really bad A
        "duplicates_exact": 1 / 4,
        "duplicates_normalised": 2 / 4,
        "words_mean": 18 / 4,
        "words_min": 3,
        "words_median": 4.5,
        "words_max": 6,
        "words_sd": 1.5,
        "label_share.positive": 0.5,
        "label_entropy": 1.0,
        "leakage_exact_rows": 0,
        "leakage_normalised_rows": 2,
        "leakage_normalised_share": 0.5,
        "leakage_normalised_test_rows": 1,
        "leakage_normalised_test_share": 0.5,
    }
    assert {name: found[name] for name in by_hand} == pytest.approx(by_hand)


def test_measures_come_in_the_order_asked_for_and_a_repeated_name_counts_once() -> None:
    found = list(by_name(["duplicates", "lengths", "duplicates"]))
    assert found[:2] == ["duplicates_exact", "duplicates_normalised"]
    assert len(found) == 7


def test_a_number_that_does_not_exist_is_left_out_rather_than_reported_as_nan_or_zero() -> None:
    found = measure_all(["distinct_n"], Rows(["a b", "c"])).values
    assert [value.measure for value in found] == ["distinct_1", "distinct_2"]


def test_an_unknown_name_is_refused_with_a_hint() -> None:
    with pytest.raises(HarnessError, match=r"'self_blue'; did you mean 'self_bleu'\?.*Known: "):
        by_name(["self_blue"])


def test_a_measure_without_the_input_it_needs_is_refused_before_any_is_taken() -> None:
    with pytest.raises(HarnessError, match="'leakage' needs the texts of the real test split"):
        measure_all(["self_bleu", "leakage"], Rows([]))
    with pytest.raises(HarnessError, match="'label_balance' needs labels"):
        measure_all(["self_bleu", "label_balance"], Rows([]))


def test_labels_that_do_not_match_the_texts_in_number_are_refused() -> None:
    with pytest.raises(HarnessError, match="4 texts and 3 labels"):
        measure_all(["duplicates"], Rows(TEXTS, LABEL_NAMES, LABELS[:3]))


def test_a_measure_that_depends_on_the_number_of_rows_is_taken_at_the_common_size_too() -> None:
    texts = [f"w{index} w{index + 1} the film" for index in range(40)]
    found = {value.measure: value for value in measure_all(["distinct_n", "lengths"], Rows(texts), 10).values}
    at_ten = found["distinct_1@10"]
    # Ten such texts have 12 to 22 different words of 40; forty have 43 of 160.
    assert 12 / 40 <= at_ten.value <= 22 / 40 and found["distinct_1"].value == 43 / 160
    assert at_ten.low is not None and at_ten.high is not None and at_ten.low < at_ten.value < at_ten.high
    assert "words_mean" in found and "words_mean@10" not in found
    assert not any("@" in value.measure for value in measure_all(["distinct_n"], Rows(texts), 40).values)
