"""Shares of the labels and their normalised entropy, as a measurement of Hugging Face `evaluate`."""

from collections.abc import Sequence
from typing import Any

import evaluate

from harness.quality.measurements.face import measurement_info, values_by_name
from harness.quality.rows import Rows

DESCRIPTION = """\
Share of the rows per label and the Shannon entropy of these shares over its maximum: 1 when all labels are
equally frequent, 0 when every row has the same label."""

INPUTS = """
Args:
    data: the label of each row, by name.
    label_names: all labels of the task, those without rows included, at least two.
Returns:
    `label_share.<name>` for each name and `label_entropy`, fractions 0..1.
"""


class LabelBalance(evaluate.Measurement):  # type: ignore[misc]  # evaluate has no types
    def _info(self) -> Any:
        return measurement_info("label_balance", DESCRIPTION, INPUTS)

    def _compute(self, data: list[str], label_names: Sequence[str]) -> dict[str, float]:
        # The measure looks at the labels alone; they stand in for the texts, of which there is one per label.
        return values_by_name("label_balance", Rows(data, labels=data, label_names=label_names))
