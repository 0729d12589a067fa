"""In which languages the rows are written, as a measurement of Hugging Face `evaluate`."""

from typing import Any

import evaluate

from harness.quality.measurements.face import measurement_info, values_by_name
from harness.quality.rows import Rows

DESCRIPTION = """\
Shares of the languages of at least 1 % of the texts, by lingua (which must be installed), of 5,000 random texts at
most. Texts of fewer than 20 letters are undecided, as are those that could be in either of two languages."""

INPUTS = """
Args:
    data: the texts of one synthetic dataset, at least one.
Returns:
    `language_top` (share of the most frequent language), `language_share.<ISO 639-1 code>` and `language_undecided`,
    fractions 0..1 of all texts.
"""


class Language(evaluate.Measurement):  # type: ignore[misc]  # evaluate has no types
    def _info(self) -> Any:
        return measurement_info("language", DESCRIPTION, INPUTS)

    def _compute(self, data: list[str]) -> dict[str, float]:
        return values_by_name("language", Rows(data))
