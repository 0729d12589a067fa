"""How far synthetic texts are from real ones, as a measurement of Hugging Face `evaluate`."""

from typing import Any

import evaluate
import numpy as np

from harness.quality.measurements.face import measurement_info, values_by_name
from harness.quality.rows import Rows

DESCRIPTION = """\
The Fréchet distance of normal distributions fitted to the embeddings of synthetic and of real texts (Heusel et al.,
2017; for texts Xiang et al., 2021). Mean over five draws of as many real as synthetic texts, at most 5,000. It is too
large by an amount that falls with that number: compare at one number of texts only."""

INPUTS = """
Args:
    data: the texts of one synthetic dataset.
    embeddings: an embedding of unit length of each text, [texts, d].
    real_embeddings: embeddings of real unlabelled texts by the same model, [real texts, d].
Returns:
    `frechet`, a squared distance, 0 for equal sets; `frechet_rows`, drawn of either side.
"""

CITATION = """\
@inproceedings{heusel2017gans,
  title = {{GANs} Trained by a Two Time-Scale Update Rule Converge to a Local {Nash} Equilibrium},
  author = {Heusel, Martin and Ramsauer, Hubert and Unterthiner, Thomas and Nessler, Bernhard and Hochreiter, Sepp},
  booktitle = {NeurIPS},
  year = {2017},
}"""


class Frechet(evaluate.Measurement):  # type: ignore[misc]  # evaluate has no types
    def _info(self) -> Any:
        return measurement_info("frechet", DESCRIPTION, INPUTS, CITATION)

    def _compute(self, data: list[str], embeddings: Any, real_embeddings: Any) -> dict[str, float]:
        rows = Rows(
            data,
            embeddings=np.asarray(embeddings, np.float32),
            real_embeddings=np.asarray(real_embeddings, np.float32),
        )
        return values_by_name("frechet", rows)
