"""The measures by models as the registry takes them: names, intervals, scores by text, and inputs refused."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.quality.measures import measure_all, measure_at
from harness.quality.rows import Rows, TokenLosses


def random_units(count: int, seed: int) -> NDArray[np.float32]:
    rows = np.random.default_rng(seed).normal(size=(count, 6))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


STREAM = np.random.default_rng(1)
ROWS = Rows(
    [f"text {number}" for number in range(60)],
    log_probabilities=-STREAM.gamma(9, 5, 60),
    generated_tokens=STREAM.integers(5, 40, 60),
    embeddings=random_units(60, 1),
    real_embeddings=random_units(90, 2),
    losses=TokenLosses("a PLM", STREAM.gamma(9, 0.4, 60), STREAM.integers(5, 40, 60), STREAM.integers(50, 90, 60)),
)
EVERY = ["vendi_embeddings", "embedding_distances", "mauve", "frechet", "perplexity", "generator_log_probability"]


def test_names_units_and_scores_by_text_are_those_that_reports_refer_to() -> None:
    found = measure_all(EVERY, ROWS)
    assert {value.measure: value.unit for value in found.values} == {
        "vendi_embeddings": "texts",
        "embedding_pairwise_distance": "cosine distance",
        "embedding_nearest_distance": "cosine distance",
        "mauve": "fraction",
        "mauve_smoothed": "fraction",
        "mauve_rows": "rows",
        "frechet": "squared distance",
        "frechet_rows": "rows",
        "perplexity": "perplexity",
        "perplexity_text_mean": "perplexity",
        "perplexity_text_median": "perplexity",
        "bits_per_byte": "bits per byte",
        "perplexity_unscored_rows": "rows",
        "generator_log_probability": "nats per token",
        "generator_log_probability_untold_rows": "rows",
    }
    assert {name: scores.shape for name, scores in found.per_text.items()} == dict.fromkeys(
        ["embedding_nearest_distance", "embedding_typicality", "perplexity", "generator_log_probability"], (60,)
    )


def test_what_is_drawn_or_sampled_has_its_value_within_an_interval() -> None:
    by_name = {value.measure: value for value in measure_all(EVERY, ROWS).values}
    bounded = [
        *("mauve", "mauve_smoothed", "frechet", "generator_log_probability"),
        *("perplexity", "perplexity_text_mean", "perplexity_text_median", "bits_per_byte"),
    ]
    for name in bounded:
        value = by_name[name]
        assert value.low is not None and value.high is not None and value.low < value.value < value.high, name


def test_the_seed_of_the_rows_drives_the_draws() -> None:
    def drawn(seed: int) -> list[float]:
        return [value.value for value in measure_all(["mauve", "frechet"], replace(ROWS, seed=seed)).values]

    assert drawn(3) == drawn(3) != drawn(4)


def test_at_a_common_size_embeddings_follow_their_texts() -> None:
    names = ["vendi_embeddings", "embedding_distances", "mauve", "frechet", "perplexity"]
    values = [*measure_all(names, ROWS).values, *measure_at(20, names, ROWS)]
    found = {value.measure: value.value for value in values}
    assert found["mauve_rows"] == 60 and found["mauve_rows@20"] == found["frechet_rows@20"] == 20
    assert found["vendi_embeddings@20"] < found["vendi_embeddings"]
    assert found["embedding_nearest_distance@20"] > found["embedding_nearest_distance"]
    assert "perplexity@20" not in found, "a mean does not depend on how many texts there are"


def refusal(name: str, **other: Any) -> str:
    return measure_all([name], replace(ROWS, **other)).missing[name]


@pytest.mark.parametrize("name", ["vendi_embeddings", "embedding_distances", "mauve", "frechet"])
def test_embeddings_of_other_lengths_or_numbers_are_refused(name: str) -> None:
    assert ROWS.embeddings is not None and ROWS.real_embeddings is not None
    unit_length = "expected embeddings as a matrix with a row of unit length"
    assert unit_length in refusal(name, embeddings=2 * ROWS.embeddings)
    assert "one embedding per text; found 60 texts and 59" in refusal(name, embeddings=ROWS.embeddings[1:])
    if name in ("mauve", "frechet"):
        no_numbers = ROWS.real_embeddings * np.nan
        assert "expected embeddings of real texts as a matrix" in refusal(name, real_embeddings=no_numbers)


def test_losses_and_log_probabilities_of_other_rows_are_refused() -> None:
    assert "one loss per text; found 59 texts and 60" in refusal("perplexity", texts=ROWS.texts[1:])
    name = "generator_log_probability"
    assert "one log-probability per text" in refusal(name, log_probabilities=np.zeros(59))
    assert "needs the number of generated tokens of each row" in refusal(name, generated_tokens=None)
