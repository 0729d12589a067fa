"""Accuracy of label names for the `evaluate` library: `evaluate.load(THIS_FOLDER)` or the class `Accuracy`.

`evaluate` copies this file elsewhere before it imports it, so its imports are absolute and it needs an
installed harness.
"""

from collections.abc import Sequence

import datasets
import evaluate

from harness.scoring.metrics import accuracy, encode


class Accuracy(evaluate.Metric):  # type: ignore[misc]  # evaluate has no types
    """`compute(references=[names], predictions=[names])` returns `{"accuracy": fraction}`."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="The fraction of items whose predicted label name is the reference's.",
            citation="",
            inputs_description="references and predictions: label names, equally long.",
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
        )

    def _compute(self, predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
        labels = sorted({*references, *predictions})
        return {"accuracy": accuracy(encode(references, labels), encode(predictions, labels))}
