"""Agreement of the labels with an oracle's, as a measurement of Hugging Face `evaluate`."""

from collections.abc import Sequence
from typing import Any

import evaluate
import numpy as np

from harness.quality.measurements.face import measurement_info, values_by_name
from harness.quality.rows import Oracle, Rows

DESCRIPTION = """\
Share of the rows whose label is the most probable one according to an oracle (a student trained on gold labels),
overall and per label, Cohen's kappa, and the oracle's own accuracy on real test rows: the ceiling."""

INPUTS = """
Args:
    data: the label of each row, by name, at least one.
    label_names: all labels of the task.
    probabilities: the oracle's probability of each label for each row, in the order of label_names.
    right, items: how many of how many real test rows the oracle classified correctly.
Returns:
    `oracle_agreement`, `oracle_agreement.<name>` for each name that has a row, `oracle_ceiling` (fractions 0..1) and
    `oracle_kappa`.
"""


class OracleAgreement(evaluate.Measurement):  # type: ignore[misc]  # evaluate has no types
    def _info(self) -> Any:
        return measurement_info("oracle_agreement", DESCRIPTION, INPUTS)

    def _compute(
        self,
        data: list[str],
        label_names: Sequence[str],
        probabilities: Sequence[Sequence[float]],
        right: int,
        items: int,
    ) -> dict[str, float]:
        # The measure looks at the labels alone; they stand in for the texts, of which there is one per label.
        oracle = Oracle("oracle", np.arange(len(data)), np.array(probabilities, dtype=np.float64), right, items)
        return values_by_name("oracle_agreement", Rows(data, label_names, labels=data, oracle=oracle))
