"""Student `linear`: TF-IDF of word 1-2-grams and multinomial logistic regression (scikit-learn).

The plainest student there is, and a strong one: it sees which words a PLM uses for a label and nothing of their order.
"""

import json
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import Field

from students.protocol import Examples, Family, History, Probabilities, Report, StudentSettings, Target

MODEL, VOCABULARY = "linear.safetensors", "linear.json"


class Settings(StudentSettings):
    """The recipe. `min_rows`: an n-gram must stand in this many rows."""

    ngrams: int = Field(2, ge=1, le=5)
    min_rows: int = Field(2, ge=1)
    inverse_regularization: float = Field(4.0, gt=0)
    max_iterations: int = Field(1000, ge=1)


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
        from sklearn.linear_model import LogisticRegression

        found = sorted(set(examples.label))
        if len(found) < 2:
            raise ValueError(f"expected rows of at least two labels, found only {found}")
        report(0, len(examples), "counting words")
        self._vectorizer = self._new_vectorizer(min_df=self.settings.min_rows)
        try:
            features = self._vectorizer.fit_transform(examples.text)
        except ValueError:  # it speaks of options of its own, which nobody set
            rows = f"min_rows ({self.settings.min_rows}) of the {len(examples)} rows"
            raise ValueError(f"expected words that stand in at least {rows}, found none; lower min_rows") from None
        regression = LogisticRegression(
            C=self.settings.inverse_regularization, max_iter=self.settings.max_iterations, random_state=seed
        )
        regression.fit(features, np.array([self.labels.index(label) for label in examples.label]))
        self._weight = np.zeros((len(self.labels), features.shape[1]))
        self._bias = np.full(len(self.labels), -np.inf)
        if len(regression.classes_) == 2:  # scikit-learn keeps one row for two classes: the log odds of the second
            self._weight[regression.classes_[1]] = regression.coef_[0]
            self._bias[regression.classes_] = [0.0, regression.intercept_[0]]
        else:
            self._weight[regression.classes_] = regression.coef_
            self._bias[regression.classes_] = regression.intercept_
        report(len(examples), len(examples), "")
        return History(chosen={"features": int(features.shape[1]), "iterations": int(regression.n_iter_.max())})

    def _new_vectorizer(self, **options: Any) -> Any:
        from sklearn.feature_extraction.text import TfidfVectorizer

        return TfidfVectorizer(ngram_range=(1, self.settings.ngrams), sublinear_tf=True, **options)

    def predict_proba(self, examples: Examples) -> Probabilities:
        logits = self._vectorizer.transform(examples.text) @ self._weight.T + self._bias
        shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))

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
        student._vectorizer = student._new_vectorizer(vocabulary=described["terms"])
        student._vectorizer.idf_ = arrays["idf"]
        return student
