"""How likely a PLM finds texts, as a measurement of Hugging Face `evaluate`."""

from typing import Any

import evaluate
import numpy as np

from harness.quality.measurements.face import measurement_info, values_by_name
from harness.quality.rows import Rows, TokenLosses

DESCRIPTION = """\
Perplexity of the texts under a scoring PLM, whose token losses are given: of the corpus, mean and median of the
texts' own, and bits per byte, by which PLMs of different vocabularies can be compared. Low for the common and the
repetitive."""

INPUTS = """
Args:
    data: the texts of one synthetic dataset.
    losses: the mean token loss of each text in nats, NaN for a text without one.
    tokens: over how many tokens each loss is the mean.
    bytes: the UTF-8 bytes of each text.
    plm: what the scoring PLM is called.
Returns:
    `perplexity`, `perplexity_text_mean`, `perplexity_text_median`, `bits_per_byte`, and `perplexity_unscored_rows`.
"""


class Perplexity(evaluate.Measurement):  # type: ignore[misc]  # evaluate has no types
    def _info(self) -> Any:
        return measurement_info("perplexity", DESCRIPTION, INPUTS)

    def _compute(self, data: list[str], losses: Any, tokens: Any, bytes: Any, plm: str) -> dict[str, float]:
        of_texts = TokenLosses(
            plm, np.asarray(losses, np.float64), np.asarray(tokens, np.int64), np.asarray(bytes, np.int64)
        )
        return values_by_name("perplexity", Rows(data, losses=of_texts))
