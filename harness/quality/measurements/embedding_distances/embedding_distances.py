"""How far texts are from each other, as a measurement of Hugging Face `evaluate`."""

from typing import Any

import evaluate
import numpy as np

from harness.quality.measurements.face import measurement_info, values_by_name
from harness.quality.rows import Rows

DESCRIPTION = """\
Mean cosine distance (1 - cosine) of the texts' embeddings over all pairs, and from each text to its nearest other
text: small where texts mean alike. Exact up to 20,000 texts; of more, a sample of 10,000 is asked for the nearest."""

INPUTS = """
Args:
    data: the texts of one synthetic dataset.
    embeddings: an embedding of unit length of each text, [texts, d].
Returns:
    `embedding_pairwise_distance` and `embedding_nearest_distance`, 0..2.
"""


class EmbeddingDistances(evaluate.Measurement):  # type: ignore[misc]  # evaluate has no types
    def _info(self) -> Any:
        return measurement_info("embedding_distances", DESCRIPTION, INPUTS)

    def _compute(self, data: list[str], embeddings: Any) -> dict[str, float]:
        return values_by_name("embedding_distances", Rows(data, embeddings=np.asarray(embeddings, np.float32)))
