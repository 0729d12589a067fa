"""Share of rows that do not end, as a measurement of Hugging Face `evaluate`."""

from collections.abc import Sequence
from typing import Any

import evaluate

from harness.quality.measurements.face import measurement_info, values_by_name
from harness.quality.rows import Rows

DESCRIPTION = """\
Share of texts without a final mark (. ! ? in a larger script, a closing quote or bracket) and, where the reasons are
given for which the PLM stopped, of those that stopped at the largest length."""

INPUTS = """
Args:
    data: the texts of one synthetic dataset, at least one.
    finish_reasons: optionally why the PLM stopped, row by row; `length` where it had to.
Returns:
    `truncated_no_final_mark` and, with `finish_reasons`, `truncated_by_length`; fractions 0..1.
"""


class Truncated(evaluate.Measurement):  # type: ignore[misc]  # evaluate has no types
    def _info(self) -> Any:
        return measurement_info("truncated", DESCRIPTION, INPUTS)

    def _compute(self, data: list[str], finish_reasons: Sequence[str] | None = None) -> dict[str, float]:
        return values_by_name("truncated", Rows(data, finish_reasons=finish_reasons))
