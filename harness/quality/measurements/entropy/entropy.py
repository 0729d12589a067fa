"""Entropy of the n-grams of a corpus and its type-token ratios, as a measurement of Hugging Face `evaluate`."""

from typing import Any

import evaluate

from harness.quality.measurements.face import measurement_info, values_by_name
from harness.quality.rows import Rows

DESCRIPTION = """\
Shannon's entropy of the corpus's 1- to 4-grams in bits, the type-token ratio (the same number as Distinct-1), and
MATTR (Covington and McFall, 2010): the mean type-token ratio of all windows of 50 words of the texts joined in random
order, mean of 5 orders. Higher means more diverse."""

INPUTS = """
Args:
    data: the texts of one synthetic dataset, at least one.
Returns:
    `entropy_1` … `entropy_4` (bits), `type_token_ratio`, `mattr_50` (fractions 0..1).
"""

CITATION = """\
@article{covington2010cutting,
  title = {Cutting the {G}ordian Knot: The Moving-Average Type-Token Ratio ({MATTR})},
  author = {Covington, Michael A. and McFall, Joe D.},
  journal = {Journal of Quantitative Linguistics},
  volume = {17},
  number = {2},
  pages = {94--100},
  year = {2010},
}"""


class Entropy(evaluate.Measurement):  # type: ignore[misc]  # evaluate has no types
    def _info(self) -> Any:
        return measurement_info("entropy", DESCRIPTION, INPUTS, CITATION)

    def _compute(self, data: list[str]) -> dict[str, float]:
        return values_by_name("entropy", Rows(data))
