"""Share of rows that are an earlier row but for a few words, as a measurement of Hugging Face `evaluate`."""

from typing import Any

import evaluate

from harness.quality.measurements.face import measurement_info, values_by_name
from harness.quality.rows import Rows

DESCRIPTION = """\
Share of rows that are near duplicates of an earlier row: a Jaccard similarity of at least 0.8 between their sets of
word 5-grams, case and marks aside. Candidates by MinHash, each judged by its true similarity."""

INPUTS = """
Args:
    data: the texts of one synthetic dataset, at least one.
Returns:
    `near_duplicates`, a fraction 0..1.
"""

CITATION = """\
@inproceedings{broder1997resemblance,
  title = {On the Resemblance and Containment of Documents},
  author = {Broder, Andrei Z.},
  booktitle = {Compression and Complexity of Sequences},
  pages = {21--29},
  year = {1997},
}"""


class NearDuplicates(evaluate.Measurement):  # type: ignore[misc]  # evaluate has no types
    def _info(self) -> Any:
        return measurement_info("near_duplicates", DESCRIPTION, INPUTS, CITATION)

    def _compute(self, data: list[str]) -> dict[str, float]:
        return values_by_name("near_duplicates", Rows(data))
