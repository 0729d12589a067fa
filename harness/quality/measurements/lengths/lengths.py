"""Lengths of texts in words, as a measurement of Hugging Face `evaluate`."""

from typing import Any

import evaluate

from harness.quality.measurements.face import measurement_info, values_by_name
from harness.quality.rows import Rows

DESCRIPTION = """\
Lengths of the texts in words and marks: mean, standard deviation (divisor n), smallest, median, largest."""

INPUTS = """
Args:
    data: the texts of one synthetic dataset, at least one.
Returns:
    `words_mean`, `words_sd`, `words_min`, `words_median`, `words_max`, in words.
"""


class Lengths(evaluate.Measurement):  # type: ignore[misc]  # evaluate has no types
    def _info(self) -> Any:
        return measurement_info("lengths", DESCRIPTION, INPUTS)

    def _compute(self, data: list[str]) -> dict[str, float]:
        return values_by_name("lengths", Rows(data))
