"""How far a corpus can be compressed, as a measurement of Hugging Face `evaluate`."""

from typing import Any

import evaluate

from harness.quality.measurements.face import measurement_info, values_by_name
from harness.quality.rows import Rows

DESCRIPTION = """\
UTF-8 bytes of the texts joined by newlines over the bytes of their gzip: of all rows, and of 100 kB of random rows
(mean of 5 draws) where there are so many, which compares between corpora of different size. Higher means less
diverse."""

INPUTS = """
Args:
    data: the texts of one synthetic dataset, at least one.
Returns:
    `compression_ratio` and, of 100,000 bytes or more, `compression_ratio@100kB`.
"""

CITATION = """\
@article{shaib2024standardizing,
  title = {Standardizing the Measurement of Text Diversity: A Tool and a Comparative Analysis of Scores},
  author = {Shaib, Chantal and Barrow, Joe and Sun, Jiuding and Siu, Alexa F. and
            Wallace, Byron C. and Nenkova, Ani},
  journal = {arXiv preprint arXiv:2403.00553},
  year = {2024},
}"""


class Compression(evaluate.Measurement):  # type: ignore[misc]  # evaluate has no types
    def _info(self) -> Any:
        return measurement_info("compression", DESCRIPTION, INPUTS, CITATION)

    def _compute(self, data: list[str]) -> dict[str, float]:
        return values_by_name("compression", Rows(data))
