"""How sure a PLM was of the texts it wrote, as a measurement of Hugging Face `evaluate`."""

from typing import Any

import evaluate
import numpy as np

from harness.quality.measurements.face import measurement_info, values_by_name
from harness.quality.rows import Rows

DESCRIPTION = """\
Mean over texts of the mean log-probability of a text's tokens under the PLM that wrote it: the score that SuperGen
(Meng et al., 2022) selects texts by."""

INPUTS = """
Args:
    data: the texts of one synthetic dataset.
    log_probabilities: the log-probability of each text in nats, summed over its tokens; NaN where it is not told.
    generated_tokens: the number of these tokens.
Returns:
    `generator_log_probability`, nats per token, and `generator_log_probability_untold_rows`.
"""

CITATION = """\
@inproceedings{meng2022generating,
  title = {Generating Training Data with Language Models: Towards Zero-Shot Language Understanding},
  author = {Meng, Yu and Huang, Jiaxin and Zhang, Yu and Han, Jiawei},
  booktitle = {NeurIPS},
  year = {2022},
}"""


class GeneratorLogProbability(evaluate.Measurement):  # type: ignore[misc]  # evaluate has no types
    def _info(self) -> Any:
        return measurement_info("generator_log_probability", DESCRIPTION, INPUTS, CITATION)

    def _compute(self, data: list[str], log_probabilities: Any, generated_tokens: Any) -> dict[str, float]:
        rows = Rows(
            data,
            log_probabilities=np.asarray(log_probabilities, np.float64),
            generated_tokens=np.asarray(generated_tokens, np.int64),
        )
        return values_by_name("generator_log_probability", rows)
