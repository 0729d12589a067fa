"""How many 4-grams texts have in common, as a measurement of Hugging Face `evaluate`."""

from typing import Any

import evaluate

from harness.quality.measurements.face import measurement_info, values_by_name
from harness.quality.rows import Rows

DESCRIPTION = """\
Self-repetition (Salkar et al., 2022): mean over texts of ln(1 + Σ (df − 1)) over the different 4-grams of the text, df
being in how many texts the 4-gram stands. Higher means less diverse; grows with the number of texts."""

INPUTS = """
Args:
    data: the texts of one synthetic dataset, at least one.
Returns:
    `self_repetition`, in nats.
"""

CITATION = """\
@inproceedings{salkar2022self,
  title = {Self-Repetition in Abstractive Neural Summarizers},
  author = {Salkar, Nikita and Trikalinos, Thomas and Wallace, Byron C. and Nenkova, Ani},
  booktitle = {AACL-IJCNLP},
  year = {2022},
}"""


class SelfRepetition(evaluate.Measurement):  # type: ignore[misc]  # evaluate has no types
    def _info(self) -> Any:
        return measurement_info("self_repetition", DESCRIPTION, INPUTS, CITATION)

    def _compute(self, data: list[str]) -> dict[str, float]:
        return values_by_name("self_repetition", Rows(data))
