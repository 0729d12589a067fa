"""Different n-grams over all n-grams of a corpus, as a measurement of Hugging Face `evaluate`."""

from typing import Any

import evaluate

from harness.quality.measurements.face import measurement_info, values_by_name
from harness.quality.rows import Rows

DESCRIPTION = """\
Distinct-1 to Distinct-4 (Li et al., 2016): different n-grams over all n-grams of the corpus. It falls with
the size of the corpus: compare corpora of equal size only."""

INPUTS = """
Args:
    data: the texts of one synthetic dataset, at least one.
Returns:
    `distinct_1` … `distinct_4`, fractions 0..1; an order that no text is long enough for is left out.
"""

CITATION = """\
@inproceedings{li2016diversity,
  title = {A Diversity-Promoting Objective Function for Neural Conversation Models},
  author = {Li, Jiwei and Galley, Michel and Brockett, Chris and Gao, Jianfeng and Dolan, Bill},
  booktitle = {NAACL-HLT},
  year = {2016},
}"""


class DistinctN(evaluate.Measurement):  # type: ignore[misc]  # evaluate has no types
    def _info(self) -> Any:
        return measurement_info("distinct_n", DESCRIPTION, INPUTS, CITATION)

    def _compute(self, data: list[str]) -> dict[str, float]:
        return values_by_name("distinct_n", Rows(data))
