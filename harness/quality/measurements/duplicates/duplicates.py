"""Share of rows that repeat an earlier row, as a measurement of Hugging Face `evaluate`."""

from typing import Any

import evaluate

from harness.quality.measurements.face import measurement_info, values_by_name
from harness.quality.rows import Rows

DESCRIPTION = """\
Share of rows that repeat an earlier row: character for character, and but for case, punctuation, spacing
and Unicode form."""

INPUTS = """
Args:
    data: the texts of one synthetic dataset, at least one.
Returns:
    `duplicates_exact` and `duplicates_normalised`, fractions 0..1.
"""


class Duplicates(evaluate.Measurement):  # type: ignore[misc]  # evaluate has no types
    def _info(self) -> Any:
        return measurement_info("duplicates", DESCRIPTION, INPUTS)

    def _compute(self, data: list[str]) -> dict[str, float]:
        return values_by_name("duplicates", Rows(data))
