"""How many different texts a corpus amounts to, as a measurement of Hugging Face `evaluate`."""

from typing import Any

import evaluate

from harness.quality.measurements.face import measurement_info, values_by_name
from harness.quality.rows import Rows

DESCRIPTION = """\
The Vendi score (Friedman and Dieng, 2023) with the cosine of the bags of 1- to 4-grams as its kernel: 1 where all texts
are equal, their number where no two share a word. Of more than 1,500 texts: the mean of 5 random draws of 1,500."""

INPUTS = """
Args:
    data: the texts of one synthetic dataset, at least one.
Returns:
    `vendi_ngrams`, or `vendi_ngrams@1500` of more than 1,500 texts.
"""

CITATION = """\
@article{friedman2023vendi,
  title = {The {V}endi Score: A Diversity Evaluation Metric for Machine Learning},
  author = {Friedman, Dan and Dieng, Adji Bousso},
  journal = {Transactions on Machine Learning Research},
  year = {2023},
}"""


class VendiNgrams(evaluate.Measurement):  # type: ignore[misc]  # evaluate has no types
    def _info(self) -> Any:
        return measurement_info("vendi_ngrams", DESCRIPTION, INPUTS, CITATION)

    def _compute(self, data: list[str]) -> dict[str, float]:
        return values_by_name("vendi_ngrams", Rows(data))
