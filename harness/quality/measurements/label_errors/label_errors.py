"""An estimate of the share of wrong labels, as a measurement of Hugging Face `evaluate`."""

from collections.abc import Sequence
from typing import Any

import evaluate

from harness.quality.measurements.face import measurement_info, values_by_name
from harness.quality.rows import Rows

DESCRIPTION = """\
Estimated share of rows whose label is wrong, overall and per label, by confident learning (Northcutt et al., JAIR
2021): a classifier is trained on the rows themselves, and no gold label is looked at."""

INPUTS = """
Args:
    data: the texts of one synthetic dataset.
    labels: the label of each text, by name; at least five texts of each.
    label_names: all labels of the task, at least two.
    seed: drives the splits into folds.
Returns:
    `label_errors_estimated` and `label_errors_estimated.<name>` for each name, fractions 0..1: means over five splits
    into five folds.
"""


class LabelErrors(evaluate.Measurement):  # type: ignore[misc]  # evaluate has no types
    def _info(self) -> Any:
        return measurement_info("label_errors", DESCRIPTION, INPUTS)

    def _compute(
        self, data: list[str], labels: Sequence[str], label_names: Sequence[str], seed: int = 0
    ) -> dict[str, float]:
        return values_by_name("label_errors", Rows(data, label_names, labels=labels, seed=seed))
