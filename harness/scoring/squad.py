"""Scores of extracted answers: exact match and token F1 as SQuAD v1.1 defines them (Rajpurkar et al., EMNLP 2016).

The definition is that of the data's official evaluation script: answers are normalised (`normalize_answer`), a question
has the best score of its references, for each of the two scores apart, and a test split the mean of its questions.
Fractions of 1, where the script prints percent.

v1.1 knows no unanswerable question. Where nothing is left of an answer after normalisation (`""`, `"The"`, `"!"`) it
matches exactly what is also empty, and F1 is 0 even then, since no token is shared (v2.0 changed that to 1).
"""

import re
import string
from collections import Counter
from collections.abc import Sequence

import numpy as np

from harness.scoring.metrics import BoolArray, FloatArray

# ASCII marks only: typographic quotes and dashes stay, as do all signs of currency but the dollar.
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLE = re.compile(r"\b(?:a|an|the)\b")


def normalize_answer(text: str) -> str:
    """Lower case, without ASCII punctuation, without the words a, an and the, with single spaces.

    In this order: punctuation goes before articles, so `A.` is an article and `a-b` the word `ab`.
    """
    return " ".join(_ARTICLE.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(prediction: str, references: Sequence[str]) -> float:
    """1.0 if the prediction equals a reference after normalisation, else 0.0. Raises ValueError without references."""
    return _score(prediction, references)[0]


def f1(prediction: str, references: Sequence[str]) -> float:
    """The largest token F1 with a reference, in 0 … 1: 2·shared/(sum of both lengths), tokens counted as often as
    they occur (a bag of words). Raises ValueError without references."""
    return _score(prediction, references)[1]


def answer_scores(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[BoolArray, FloatArray]:
    """Exact match and F1 of every question, `[questions]` each; `references` are the accepted answers of each.

    Raises ValueError on unequal or empty input, and for a question without references.
    """
    if len(predictions) != len(references) or not predictions:
        raise ValueError(
            f"expected a prediction for each of at least one question, "
            f"found {len(predictions)} predictions for {len(references)} questions"
        )
    scores = np.array([_score(*question) for question in zip(predictions, references, strict=True)])
    return scores[:, 0] == 1, scores[:, 1]


def _score(prediction: str, references: Sequence[str]) -> tuple[float, float]:
    if not references:
        raise ValueError("expected at least one reference for every question, found a question without")
    normalised = normalize_answer(prediction)
    tokens = Counter(normalised.split())
    best_match = best_f1 = 0.0
    for reference in {normalize_answer(one) for one in references}:
        gold = Counter(reference.split())
        shared = (tokens & gold).total()
        best_match = max(best_match, float(normalised == reference))
        best_f1 = max(best_f1, 2 * shared / (tokens.total() + gold.total()) if shared else 0.0)
    return best_match, best_f1
