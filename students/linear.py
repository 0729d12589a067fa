"""Student `linear`: TF-IDF of word 1-2-grams and multinomial logistic regression (scikit-learn).

The plainest student there is, and a strong one: it sees which words a PLM uses for a label and nothing of their order.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from students.protocol import Examples, Family, History, Probabilities, Report, StudentSettings, Target

MODEL, VOCABULARY = "linear.safetensors", "linear.json"


class Settings(StudentSettings):
    """The recipe. `min_rows`: an n-gram must stand in this many rows."""

    ngrams: int = Field(2, ge=1, le=5)
    min_rows: int = Field(2, ge=1)
    inverse_regularization: float = Field(4.0, gt=0)
    max_iterations: int = Field(1000, ge=1)


@dataclass(frozen=True, slots=True, eq=False)
class Regression:
    """`weight` float64 [labels, features], `bias` float64 [labels] (minus infinity for a label without a row)."""

    weight: npt.NDArray[np.float64]
    bias: npt.NDArray[np.float64]
    iterations: int


def new_vectorizer(settings: Settings, **options: Any) -> Any:
    """A `TfidfVectorizer` with the recipe's n-grams."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(ngram_range=(1, settings.ngrams), sublinear_tf=True, **options)


def count_words(vectorizer: Any, texts: Sequence[str]) -> Any:
    """Fit the vectorizer; the sparse features [rows, n-grams] of the texts.

    Raises:
        ValueError: no n-gram stands in `min_df` rows.
    """
    try:
        return vectorizer.fit_transform(texts)
    except ValueError:  # it speaks of options of its own, which nobody set
        rows = f"min_rows ({vectorizer.min_df}) of the {len(texts)} rows"
        raise ValueError(f"expected words that stand in at least {rows}, found none; lower min_rows") from None


def regress(features: Any, codes: npt.NDArray[np.int64], n_labels: int, settings: Settings, seed: int) -> Regression:
    """Fit features [rows, n-grams] to label codes 0 … n_labels − 1 [rows], of which at least two must occur."""
    from sklearn.linear_model import LogisticRegression

    regression = LogisticRegression(
        C=settings.inverse_regularization, max_iter=settings.max_iterations, random_state=seed
    )
    regression.fit(features, codes)
    weight = np.zeros((n_labels, features.shape[1]))
    bias = np.full(n_labels, -np.inf)
    if len(regression.classes_) == 2:  # scikit-learn keeps one row for two classes: the log odds of the second
        weight[regression.classes_[1]] = regression.coef_[0]
        bias[regression.classes_] = [0.0, regression.intercept_[0]]
    else:
        weight[regression.classes_] = regression.coef_
        bias[regression.classes_] = regression.intercept_
    return Regression(weight, bias, int(regression.n_iter_.max()))


def probabilities(features: Any, weight: npt.NDArray[np.float64], bias: npt.NDArray[np.float64]) -> Probabilities:
    """What a regression says of features [rows, n-grams]."""
    logits = features @ weight.T + bias
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


class Student:
    """See the module. After `fit` or `load` it holds a vectorizer and the regression's weights [labels, features]."""

    VERSION: ClassVar[int] = 1
    FAMILIES: ClassVar[tuple[Family, ...]] = ("text-classification",)

    def __init__(self, settings: Settings, target: Target) -> None:
        self.settings = settings
        self.labels = list(target.labels)
        self._vectorizer: Any = None
        self._weight = np.zeros((0, 0))
        self._bias = np.zeros(0)

    def fit(self, examples: Examples, seed: int, report: Report) -> History:
        """The optimum is unique, so the seed changes nothing. Labels without a row get probability 0.

        Raises:
            ValueError: all rows have one label, or no n-gram stands in `min_rows` rows.
        """
        found = sorted(set(examples.label))
        if len(found) < 2:
            raise ValueError(f"expected rows of at least two labels, found only {found}")
        report(0, len(examples), "counting words")
        self._vectorizer = new_vectorizer(self.settings, min_df=self.settings.min_rows)
        features = count_words(self._vectorizer, examples.text)
        codes = np.array([self.labels.index(label) for label in examples.label])
        fitted = regress(features, codes, len(self.labels), self.settings, seed)
        self._weight, self._bias = fitted.weight, fitted.bias
        report(len(examples), len(examples), "")
        return History(chosen={"features": int(features.shape[1]), "iterations": fitted.iterations})

    def predict_proba(self, examples: Examples) -> Probabilities:
        return probabilities(self._vectorizer.transform(examples.text), self._weight, self._bias)

    def parameters(self) -> dict[str, int]:
        total = self._weight.size + self._bias.size + self._weight.shape[1]  # the last: inverse document frequencies
        return {"total": int(total), "without_embedding": int(self._bias.size)}

    def save(self, folder: Path) -> None:
        from safetensors.numpy import save

        arrays = {"weight": self._weight, "bias": self._bias, "idf": np.asarray(self._vectorizer.idf_)}
        (folder / MODEL).write_bytes(save(arrays))
        terms = sorted(self._vectorizer.vocabulary_, key=self._vectorizer.vocabulary_.get)
        described = {"settings": self.settings.model_dump(), "labels": self.labels, "terms": terms}
        (folder / VOCABULARY).write_text(json.dumps(described, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        from safetensors.numpy import load_file

        described = json.loads((folder / VOCABULARY).read_text(encoding="utf-8"))
        student = cls(Settings(**described["settings"]), Target("text-classification", tuple(described["labels"])))
        arrays = load_file(folder / MODEL)
        student._weight, student._bias = arrays["weight"], arrays["bias"]
        student._vectorizer = new_vectorizer(student.settings, vocabulary=described["terms"])
        student._vectorizer.idf_ = arrays["idf"]
        return student
