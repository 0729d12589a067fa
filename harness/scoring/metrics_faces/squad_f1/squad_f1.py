"""SQuAD's exact match and F1 for the `evaluate` library: `evaluate.load(THIS_FOLDER)` or the class `SquadF1`.

`evaluate` copies this file elsewhere before it imports it, so its imports are absolute and it needs an
installed harness.
"""

from collections.abc import Sequence

import datasets
import evaluate

from harness.scoring.squad import answer_scores


class SquadF1(evaluate.Metric):  # type: ignore[misc]  # evaluate has no types
    """`compute(references=[[answers], ...], predictions=[answer, ...])` returns `{"exact_match": ..., "f1": ...}`."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="The mean exact match and token F1 of answers, as SQuAD v1.1 defines them; fractions of 1.",
            citation="",
            inputs_description="predictions: a text each. references: the accepted answers of each, at least one.",
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.List(datasets.Value("string"))}
            ),
        )

    def _compute(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
        exact, f1 = answer_scores(predictions, references)
        return {"exact_match": float(exact.mean()), "f1": float(f1.mean())}
