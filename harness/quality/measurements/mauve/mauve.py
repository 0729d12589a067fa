"""How close synthetic texts are to real ones, as a measurement of Hugging Face `evaluate`."""

from typing import Any

import evaluate
import numpy as np

from harness.quality.measurements.face import measurement_info, values_by_name
from harness.quality.rows import Rows

DESCRIPTION = """\
MAUVE (Pillutla et al., 2021): the area under the divergence curve of the two distributions over clusters of
embeddings. 1 where they are equal, near 0 where they share nothing. Mean over five draws of as many real as synthetic
texts, at most 5,000, each clustered anew; compare at one number of texts only."""

INPUTS = """
Args:
    data: the texts of one synthetic dataset.
    embeddings: an embedding of unit length of each text, [texts, d].
    real_embeddings: embeddings of real unlabelled texts by the same model, [real texts, d].
Returns:
    `mauve`, `mauve_smoothed` (1/2 added to every count), fractions 0..1; `mauve_rows`, drawn of either side.
"""

CITATION = """\
@inproceedings{pillutla2021mauve,
  title = {{MAUVE}: Measuring the Gap Between Neural Text and Human Text using Divergence Frontiers},
  author = {Pillutla, Krishna and Swayamdipta, Swabha and Zellers, Rowan and Thickstun, John and
            Welleck, Sean and Choi, Yejin and Harchaoui, Zaid},
  booktitle = {NeurIPS},
  year = {2021},
}"""


class Mauve(evaluate.Measurement):  # type: ignore[misc]  # evaluate has no types
    def _info(self) -> Any:
        return measurement_info("mauve", DESCRIPTION, INPUTS, CITATION)

    def _compute(self, data: list[str], embeddings: Any, real_embeddings: Any) -> dict[str, float]:
        rows = Rows(
            data,
            embeddings=np.asarray(embeddings, np.float32),
            real_embeddings=np.asarray(real_embeddings, np.float32),
        )
        return values_by_name("mauve", rows)
