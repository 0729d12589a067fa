"""How much each text of a corpus repeats the others, as a measurement of Hugging Face `evaluate`."""

from typing import Any

import evaluate

from harness.quality.measurements.face import measurement_info, values_by_name
from harness.quality.rows import Rows

DESCRIPTION = """\
Self-BLEU-1 to Self-BLEU-5 (Zhu et al., 2018): the mean over texts of the BLEU of one text against all others,
with nltk's `method1` smoothing. Exact, in linear time, without sampling. Higher means less diverse."""

INPUTS = """
Args:
    data: the texts of one synthetic dataset, at least two.
Returns:
    `self_bleu_1` … `self_bleu_5`, fractions 0..1.
"""

CITATION = """\
@inproceedings{zhu2018texygen,
  title = {Texygen: A Benchmarking Platform for Text Generation Models},
  author = {Zhu, Yaoming and Lu, Sidi and Zheng, Lei and Guo, Jiaxian and
            Zhang, Weinan and Wang, Jun and Yu, Yong},
  booktitle = {SIGIR},
  year = {2018},
}"""


class SelfBleu(evaluate.Measurement):  # type: ignore[misc]  # evaluate has no types
    def _info(self) -> Any:
        return measurement_info("self_bleu", DESCRIPTION, INPUTS, CITATION)

    def _compute(self, data: list[str]) -> dict[str, float]:
        return values_by_name("self_bleu", Rows(data))
