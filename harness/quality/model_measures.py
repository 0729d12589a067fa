"""Measures that need what a model says of the texts: embeddings, losses, the generator's own probabilities."""

from harness.quality.rows import Measure

MODEL_MEASURES: tuple[Measure, ...] = ()
