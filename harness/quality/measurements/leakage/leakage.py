"""Overlap of synthetic rows with the real test split, as a measurement of Hugging Face `evaluate`."""

from collections.abc import Sequence
from typing import Any

import evaluate

from harness.quality.measurements.face import measurement_info, values_by_name
from harness.quality.rows import Rows

DESCRIPTION = """\
Synthetic rows that stand in the real test split, and test rows that stand in the synthetic data: character
for character, but for case, punctuation, spacing and Unicode form, and nearly: sharing half of the shorter text's
runs of eight words. Texts without a word never count."""

INPUTS = """
Args:
    data: the texts of one synthetic dataset, at least one.
    test_texts: the texts of the real test split, at least one.
Returns:
    `leakage_<kind>_rows`, `leakage_<kind>_test_rows` (counts), `leakage_<kind>_share`,
    `leakage_<kind>_test_share` (fractions 0..1), for the kinds `exact`, `normalised` and `near`.
"""


class Leakage(evaluate.Measurement):  # type: ignore[misc]  # evaluate has no types
    def _info(self) -> Any:
        return measurement_info("leakage", DESCRIPTION, INPUTS)

    def _compute(self, data: list[str], test_texts: Sequence[str]) -> dict[str, float]:
        return values_by_name("leakage", Rows(data, test_texts=test_texts))
