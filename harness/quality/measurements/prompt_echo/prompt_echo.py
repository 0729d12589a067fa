"""Share of rows that repeat what they were written about, as a measurement of Hugging Face `evaluate`."""

from collections.abc import Sequence
from typing import Any

import evaluate

from harness.quality.measurements.face import measurement_info, values_by_name
from harness.quality.rows import Rows

DESCRIPTION = """\
Share of texts that have 8 words in a row from their context, or stand in it as a whole; case and marks aside."""

INPUTS = """
Args:
    data: the texts of one synthetic dataset, at least one.
    contexts: the text that each row was written about.
Returns:
    `prompt_echo`, a fraction 0..1.
"""


class PromptEcho(evaluate.Measurement):  # type: ignore[misc]  # evaluate has no types
    def _info(self) -> Any:
        return measurement_info("prompt_echo", DESCRIPTION, INPUTS)

    def _compute(self, data: list[str], contexts: Sequence[str]) -> dict[str, float]:
        return values_by_name("prompt_echo", Rows(data, contexts=contexts))
