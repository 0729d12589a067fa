"""How alike two texts of a corpus are on average, as a measurement of Hugging Face `evaluate`."""

from typing import Any

import evaluate

from harness.quality.measurements.face import measurement_info, values_by_name
from harness.quality.rows import Rows

DESCRIPTION = """\
Mean over pairs of texts of ROUGE-L F1 (Lin, 2004) over words, case kept: of all pairs where there are at most 100,000,
else of about so many drawn at random such that each text counts equally. Higher means less diverse."""

INPUTS = """
Args:
    data: the texts of one synthetic dataset, at least two.
Returns:
    `homogenisation`, a fraction 0..1.
"""

CITATION = """\
@article{shaib2024standardizing,
  title = {Standardizing the Measurement of Text Diversity: A Tool and a Comparative Analysis of Scores},
  author = {Shaib, Chantal and Barrow, Joe and Sun, Jiuding and Siu, Alexa F. and
            Wallace, Byron C. and Nenkova, Ani},
  journal = {arXiv preprint arXiv:2403.00553},
  year = {2024},
}"""


class Homogenisation(evaluate.Measurement):  # type: ignore[misc]  # evaluate has no types
    def _info(self) -> Any:
        return measurement_info("homogenisation", DESCRIPTION, INPUTS, CITATION)

    def _compute(self, data: list[str]) -> dict[str, float]:
        return values_by_name("homogenisation", Rows(data))
