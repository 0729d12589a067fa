"""Measures that need what a model says of the texts: embeddings, losses, the generator's own probabilities."""

from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.quality.rows import Measure, Measured, Rows
from harness.quality.text_measures import unreferenced
from harness.values import Value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from harness.quality.draws import OverDraws
    from harness.quality.intervals import Estimate


def _vendi_embeddings(rows: Rows) -> Measured:
    from harness.quality.vendi import vendi_score

    return Measured([unreferenced("vendi_embeddings", vendi_score(_embeddings(rows)), "texts")])


def _embedding_distances(rows: Rows) -> Measured:
    from harness.quality.embedding_distances import embedding_distances

    found = embedding_distances(_embeddings(rows), rows.seed)
    values = [
        unreferenced("embedding_pairwise_distance", found.pairwise, "cosine distance"),
        Value(
            "embedding_nearest_distance",
            found.nearest,
            "cosine distance",
            "unreferenced",
            found.nearest_low,
            found.nearest_high,
        ),
    ]
    per_text = {"embedding_nearest_distance": found.nearest_of, "embedding_typicality": found.typicality}
    return Measured(values, per_text)


def _mauve(rows: Rows) -> Measured:
    from harness.quality.mauve import mauve

    found = mauve(_embeddings(rows), _real_embeddings(rows), rows.seed)
    values = [_drawn("mauve", found.plain, "fraction"), _drawn("mauve_smoothed", found.smoothed, "fraction")]
    return Measured([*values, Value("mauve_rows", float(found.plain.rows or 0), "rows", "real-text")])


def _frechet(rows: Rows) -> Measured:
    from harness.quality.frechet import frechet

    found = frechet(_embeddings(rows), _real_embeddings(rows), rows.seed)
    values = [
        _drawn("frechet", found, "squared distance"),
        Value("frechet_rows", float(found.rows or 0), "rows", "real-text"),
    ]
    return Measured(values)


def _perplexity(rows: Rows) -> Measured:
    from harness.quality.perplexity import perplexity

    assert rows.losses is not None, "the registry says that it is needed"
    found = perplexity(rows.losses)
    _check_count(len(found.per_text), rows, "loss")
    values = [
        _estimated("perplexity", found.corpus, "perplexity"),
        _estimated("perplexity_text_mean", found.mean, "perplexity"),
        _estimated("perplexity_text_median", found.median, "perplexity"),
        _estimated("bits_per_byte", found.bits_per_byte, "bits per byte"),
        unreferenced("perplexity_unscored_rows", found.unscored, "rows"),
    ]
    return Measured(values, {"perplexity": found.per_text})


def _generator_log_probability(rows: Rows) -> Measured:
    from harness.quality.perplexity import generator_log_probability

    assert rows.log_probabilities is not None, "the registry says that it is needed"
    if rows.generated_tokens is None:
        raise HarnessError("generator_log_probability needs the number of generated tokens of each row; found none")
    _check_count(len(rows.log_probabilities), rows, "log-probability")
    _check_count(len(rows.generated_tokens), rows, "number of generated tokens")
    found = generator_log_probability(rows.log_probabilities, rows.generated_tokens)
    values = [
        _estimated("generator_log_probability", found.mean, "nats per token"),
        unreferenced("generator_log_probability_untold_rows", found.untold, "rows"),
    ]
    return Measured(values, {"generator_log_probability": found.per_text})


def _embeddings(rows: Rows) -> "NDArray[np.float32]":
    assert rows.embeddings is not None, "the registry says that they are needed"
    _check_count(len(rows.embeddings), rows, "embedding")
    return _unit_length(rows.embeddings, "embeddings")


def _real_embeddings(rows: Rows) -> "NDArray[np.float32]":
    assert rows.real_embeddings is not None, "the registry says that they are needed"
    return _unit_length(rows.real_embeddings, "embeddings of real texts")


def _unit_length(embeddings: "NDArray[np.float32]", what: str) -> "NDArray[np.float32]":
    import numpy as np

    if embeddings.ndim != 2 or not np.allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-3):
        raise HarnessError(
            f"expected {what} as a matrix with a row of unit length per text; found {list(embeddings.shape)} with rows "
            "that are not: divide each by its length"
        )
    return embeddings


def _check_count(found: int, rows: Rows, what: str) -> None:
    if found != len(rows.texts):
        raise HarnessError(f"Expected one {what} per text; found {len(rows.texts)} texts and {found}.")


def _estimated(measure: str, estimate: "Estimate", unit: str) -> Value:
    return Value(measure, estimate.value, unit, "unreferenced", estimate.low, estimate.high)


def _drawn(measure: str, found: "OverDraws", unit: str) -> Value:
    return found.value(measure, unit, "real-text")


MODEL_MEASURES: tuple[Measure, ...] = (
    Measure(
        "vendi_embeddings",
        "unreferenced",
        "v1",
        _vendi_embeddings,
        frozenset({"embeddings"}),
        sized=("vendi_embeddings",),
    ),
    Measure(
        "embedding_distances",
        "unreferenced",
        "v1",
        _embedding_distances,
        frozenset({"embeddings"}),
        sized=("embedding_",),
    ),
    Measure("mauve", "real-text", "v1", _mauve, frozenset({"embeddings", "real_embeddings"}), sized=("mauve",)),
    Measure(
        "frechet",
        "real-text",
        "v1",
        _frechet,
        frozenset({"embeddings", "real_embeddings"}),
        sized=("frechet",),
    ),
    Measure("perplexity", "unreferenced", "v1", _perplexity, frozenset({"losses"})),
    Measure(
        "generator_log_probability", "unreferenced", "v1", _generator_log_probability, frozenset({"log_probabilities"})
    ),
)
