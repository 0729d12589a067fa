"""McNemar's test of two students for the `evaluate` library: `evaluate.load(THIS_FOLDER)` or the class `McNemar`.

`evaluate` copies this file elsewhere before it imports it, so its imports are absolute and it needs an
installed harness.
"""

from collections.abc import Sequence

import datasets
import evaluate
import numpy as np

from harness.scoring.paired import mcnemar


class McNemar(evaluate.Comparison):  # type: ignore[misc]  # evaluate has no types
    """`compute(references=[names], predictions1=[names], predictions2=[names])` returns `{"stat": ..., "p": ...}`."""

    def _info(self) -> evaluate.ComparisonInfo:
        return evaluate.ComparisonInfo(
            description="Whether two students differ in accuracy on the same items: two-sided p, exact where few items "
            "tell them apart (then stat is the smaller count of these), else by chi-square with continuity correction.",
            citation="",
            inputs_description="references, predictions1 and predictions2: label names, equally long.",
            features=datasets.Features(
                {
                    "references": datasets.Value("string"),
                    "predictions1": datasets.Value("string"),
                    "predictions2": datasets.Value("string"),
                }
            ),
        )

    def _compute(
        self, references: Sequence[str], predictions1: Sequence[str], predictions2: Sequence[str]
    ) -> dict[str, float]:
        gold = np.array(references)
        found = mcnemar(np.array(predictions1) == gold, np.array(predictions2) == gold)
        return {"stat": found.statistic, "p": found.p_value}
