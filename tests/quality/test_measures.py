import json
import random
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from harness.errors import HarnessError
from harness.quality.draws import over_draws
from harness.quality.measures import DEFAULT_MEASURES, MEASURES, depends_on_size, measure_all, measure_at
from harness.quality.rows import Oracle, Rows, TokenLosses
from harness.values import Value

TEXTS = ["a good film , really good", "a bad film", "a bad film", "A good film, really good"]
LABELS = ["positive", "negative", "negative", "positive"]
TEST_TEXTS = ["A bad film.", "a good play"]
LABEL_NAMES = ["negative", "positive"]
CONTEXTS = ["A good film, really good fun.", "a play", "A bad film!", ""]
REASONS = ["eos", "length", "stop", "eos"]
ROWS = Rows(
    TEXTS,
    LABEL_NAMES,
    LABELS,
    contexts=CONTEXTS,
    finish_reasons=REASONS,
    test_texts=TEST_TEXTS,
    log_probabilities=np.array([-8.0, -6.0, np.nan, -2.0]),
    generated_tokens=np.array([4, 3, 3, 0]),
    embeddings=np.eye(3, dtype=np.float32)[[0, 1, 1, 2]],
    real_embeddings=np.eye(3, dtype=np.float32)[[0, 0, 1, 2]],
    losses=TokenLosses("a PLM", np.log([4.0, 2.0, 2.0, np.nan]), np.array([2, 1, 1, 0]), np.array([4, 2, 2, 0])),
)
ORACLE = [[0.1, 0.9], [0.8, 0.2], [0.4, 0.6], [0.3, 0.7]]
ROWS = replace(ROWS, oracle=Oracle("an oracle", np.arange(4), np.array(ORACLE), 9, 10))
# Five different texts of each label, for its folds.
FOLDED = [f"{text} {number}" for number in range(5) for text in TEXTS]
ROWS_OF = {"label_errors": Rows(FOLDED, LABEL_NAMES, LABELS * 5)}


def by_name(names: list[str]) -> dict[str, Value]:
    return {value.measure: value for value in measure_all(names, ROWS).values}


def test_the_registry_keeps_its_order_because_reports_show_it() -> None:
    assert list(MEASURES) == [
        "self_bleu",
        "distinct_n",
        "entropy",
        "compression",
        "self_repetition",
        "homogenisation",
        "vendi_ngrams",
        "duplicates",
        "near_duplicates",
        "lengths",
        "label_balance",
        "truncated",
        "prompt_echo",
        "language",
        "leakage",
        "vendi_embeddings",
        "embedding_distances",
        "mauve",
        "frechet",
        "perplexity",
        "generator_log_probability",
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


def test_names_units_and_numbers_of_the_measures_that_a_board_must_name() -> None:
    rows = replace(
        ROWS, texts=[*TEXTS[:3], "A bad film said the man whom nobody knew!"], contexts=[*TEXTS[:3], TEXTS[0]]
    )
    named = ["entropy", "compression", "self_repetition", "homogenisation", "vendi_ngrams"]
    found = {value.measure: value for value in measure_all(named, rows).values}
    assert {name: value.unit for name, value in found.items()} == {
        **{f"entropy_{order}": "bits" for order in range(1, 5)},
        "type_token_ratio": "fraction",
        "compression_ratio": "ratio",
        "self_repetition": "nats",
        "homogenisation": "fraction",
        "vendi_ngrams": "texts",
    }
    assert found["type_token_ratio"].value == measure_all(["distinct_n"], rows).values[0].value
    hygiene = ["near_duplicates", "truncated", "prompt_echo", "language"]
    assert {value.measure: (value.value, value.unit) for value in measure_all(hygiene, rows).values} == {
        "near_duplicates": (1 / 4, "fraction"),
        "truncated_by_length": (1 / 4, "fraction"),
        "truncated_no_final_mark": (3 / 4, "fraction"),
        "prompt_echo": (3 / 4, "fraction"),
        "language_top": (1 / 4, "fraction"),  # the others are too short
        "language_share.en": (1 / 4, "fraction"),
        "language_undecided": (3 / 4, "fraction"),
    }


def test_a_share_of_rows_cut_at_the_largest_length_needs_to_be_told_why_they_stopped() -> None:
    assert [value.measure for value in measure_all(["truncated"], Rows(TEXTS)).values] == ["truncated_no_final_mark"]


def test_what_depends_on_a_draw_has_an_interval_around_it_and_is_the_same_again() -> None:
    rng = random.Random(3)
    vocabulary = [letter * 9 for letter in "abcdefghijklmnopqrstuvwxyz"]
    texts = [" ".join(rng.choices(vocabulary, k=23)) for _ in range(450)]
    named = ["entropy", "compression", "homogenisation"]
    values = measure_all(named, Rows(texts)).values
    found = {value.measure: value for value in values if value.low is not None}
    assert set(found) == {"mattr_50", "compression_ratio@100kB", "homogenisation"}
    assert all(value.low < value.value < value.high for value in found.values() if value.low and value.high)
    assert measure_all(named, Rows(texts)).values == values
    other = {value.measure: value.value for value in measure_all(named, Rows(texts, seed=1)).values}
    assert all(other[name] != value.value for name, value in found.items())


def test_vendi_of_many_rows_says_of_how_many_it_is_and_is_not_taken_at_two_sizes_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("harness.quality.ngram_bags.VENDI_ROWS", 20)
    rows = Rows([f"w{index} w{index + 1} the film" for index in range(40)])

    assert [value.measure for value in measure_all(["vendi_ngrams"], rows).values] == ["vendi_ngrams@20"]
    assert measure_at(30, ["vendi_ngrams"], rows) == []
    assert [value.measure for value in measure_at(10, ["vendi_ngrams"], rows)] == ["vendi_ngrams@10"]


def test_scores_text_by_text_come_with_the_measures_that_have_them() -> None:
    found = measure_all([name for name in MEASURES if name != "language"], ROWS)
    assert set(found.missing) == {"label_errors"}, "two rows of a label make no five folds, which keeps no other back"
    scores = {*found.per_text, *measure_all(["label_errors"], ROWS_OF["label_errors"]).per_text}
    assert scores == {
        "oracle_probability",
        "self_confidence",
        "embedding_nearest_distance",
        "embedding_typicality",
        "perplexity",
        "generator_log_probability",
        "self_bleu_4",
        "self_repetition",
        "homogenisation",
        "near_duplicate",
        "words",
        "no_final_mark",
        "prompt_echo",
    }
    assert all(len(of_texts) == len(TEXTS) for of_texts in found.per_text.values())


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


def test_a_measure_that_depends_on_the_number_of_rows_is_taken_at_a_common_size() -> None:
    texts = [f"w{index} w{index + 1} the film" for index in range(40)]
    found = {value.measure: value for value in measure_at(10, ["distinct_n", "lengths"], Rows(texts))}
    at_ten = found["distinct_1@10"]
    # Ten such texts have 13 to 22 different words among 40; all forty have 43 among 160.
    assert 13 / 40 <= at_ten.value <= 22 / 40
    assert at_ten.low is not None and at_ten.high is not None and at_ten.low < at_ten.value < at_ten.high
    assert set(found) == {f"distinct_{order}@10" for order in range(1, 5)}
    (whole, *_) = measure_at(40, ["distinct_n"], Rows(texts))
    assert (whole.measure, whole.value, whole.low) == ("distinct_1@40", 43 / 160, None)
    with pytest.raises(HarnessError, match="41 rows; the dataset has 40"):
        measure_at(41, ["distinct_n"], Rows(texts))


def test_what_depends_on_the_size_is_known_by_its_name() -> None:
    rows = replace(ROWS, texts=FOLDED, labels=LABELS * 5, contexts=None, oracle=None, finish_reasons=None)
    axes = np.eye(4, dtype=np.float32)
    rows = replace(rows, embeddings=axes[[row % 4 for row in range(20)]], real_embeddings=axes)
    for measure in MEASURES.values():
        if "losses" in measure.needs or not all(rows.has(need) for need in measure.needs):
            continue
        if measure.name == "generator_log_probability":
            continue
        names = {value.measure.partition("@")[0] for value in measure_all([measure.name], rows).values}
        assert names and {depends_on_size(name) for name in names} == {bool(measure.sized)}, measure.name


def test_the_spread_of_draws_is_no_interval_where_they_agree_and_ends_where_fractions_end() -> None:
    assert over_draws([0.3, 0.1 + 0.2, 0.3]).value("x", "fraction", "unreferenced").low is None
    wide = over_draws([0.1, 0.9, 0.5]).value("x", "fraction", "unreferenced")
    assert (wide.low, wide.high) == (0.0, 1.0)
    assert over_draws([1.0, 9.0]).value("x", "bits", "unreferenced").low == pytest.approx(5 - 1.96 * 32**0.5)
