"""How many different texts a corpus amounts to, as a measurement of Hugging Face `evaluate`."""

from typing import Any

import evaluate
import numpy as np

from harness.quality.measurements.face import measurement_info, values_by_name
from harness.quality.rows import Rows

DESCRIPTION = """\
The Vendi score (Friedman and Dieng, 2023) of the texts' embeddings under the cosine kernel: the exponential of
the entropy of the kernel's eigenvalues. 1 where all texts mean the same, as many as there are texts where none has
anything in common with another. It grows with the number of texts."""

INPUTS = """
Args:
    data: the texts of one synthetic dataset.
    embeddings: an embedding of unit length of each text, [texts, d].
Returns:
    `vendi_embeddings`, a number of texts.
"""

CITATION = """\
@article{friedman2023vendi,
  title = {The Vendi Score: A Diversity Evaluation Metric for Machine Learning},
  author = {Friedman, Dan and Dieng, Adji Bousso},
  journal = {Transactions on Machine Learning Research},
  year = {2023},
}"""


class VendiEmbeddings(evaluate.Measurement):  # type: ignore[misc]  # evaluate has no types
    def _info(self) -> Any:
        return measurement_info("vendi_embeddings", DESCRIPTION, INPUTS, CITATION)

    def _compute(self, data: list[str], embeddings: Any) -> dict[str, float]:
        return values_by_name("vendi_embeddings", Rows(data, embeddings=np.asarray(embeddings, np.float32)))
