"""Macro-F1 of label names for the `evaluate` library: `evaluate.load(THIS_FOLDER)` or the class `MacroF1`.

`evaluate` copies this file elsewhere before it imports it, so its imports are absolute and it needs an
installed harness.
"""

from collections.abc import Sequence

import datasets
import evaluate

from harness.scoring.metrics import encode, macro_f1


class MacroF1(evaluate.Metric):  # type: ignore[misc]  # evaluate has no types
    """`compute(references=[names], predictions=[names], labels=[names])` returns `{"macro_f1": fraction}`.

    `labels` is the task's whole label set, which the items alone do not show.
    """

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="The unweighted mean of the labels' F1; a label nowhere to be found counts 0.",
            citation="",
            inputs_description="references, predictions: label names, equally long. labels: the label set.",
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
        )

    def _compute(
        self, predictions: Sequence[str], references: Sequence[str], labels: Sequence[str]
    ) -> dict[str, float]:
        gold, guess = encode(references, labels), encode(predictions, labels)
        return {"macro_f1": macro_f1(gold, guess, len(labels))}
