"""What measures look at, and what a measure is.

Names, tiers and versions can be read (by a spec, a plan, a listing) without numpy: the measures import what they need
when they run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from harness.quality.tokens import TokenIds, intern_texts
from harness.values import Tier, Value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Need = Literal[
    "labels",
    "contexts",
    "finish_reasons",
    "log_probabilities",
    "test_texts",
    "embeddings",
    "real_embeddings",
    "losses",
    "oracle",
]
"""An input beside the texts: a field of `Rows`."""

NEEDS: dict[Need, str] = {
    "labels": "labels of the rows",
    "contexts": "the texts that the rows were written about",
    "finish_reasons": "why the PLM stopped, row by row",
    "log_probabilities": "the log-probability and the number of generated tokens of each row",
    "test_texts": "the texts of the real test split",
    "embeddings": "embeddings of the texts",
    "real_embeddings": "embeddings of real unlabelled texts",
    "losses": "the loss of each text under a scoring PLM",
    "oracle": "the predictions of an oracle",
}
"""In words, for messages."""


@dataclass(frozen=True, slots=True, eq=False)
class TokenLosses:
    """What a scoring PLM says of each text: `mean`, its mean token loss in nats (NaN for a text without a token that
    can be scored), and `tokens`, over how many; float64 and int64 [n_texts]. `bytes`: UTF-8 bytes of what was read."""

    plm: str
    mean: NDArray[np.float64]
    tokens: NDArray[np.int64]
    bytes: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Oracle:
    """A student trained on gold labels, asked about synthetic rows.

    `rows` int64 [n]: which rows; `probabilities` float64 [n, labels], in the order of `Rows.label_names`; `right` of
    `items` rows of the real test split that it classified correctly: the ceiling of an agreement.
    """

    name: str
    rows: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    right: int
    items: int


@dataclass(frozen=True)
class Rows:
    """What a measure may look at: the synthetic `texts` and, by name, what else there is (None: there is not).

    Per row [n_texts]: `labels` by name, `contexts`, `finish_reasons`, `log_probabilities` (sum over the generated
    tokens, nats; NaN where untold) with `generated_tokens`, `embeddings` float32 [n_texts, d] of unit length, `losses`.
    Of the real data: `test_texts`, `real_embeddings` [real texts, d]. `seed` drives whatever a measure
    draws at random.
    """

    texts: Sequence[str]
    label_names: Sequence[str] = ()
    labels: Sequence[str] | None = None
    contexts: Sequence[str] | None = None
    finish_reasons: Sequence[str] | None = None
    log_probabilities: NDArray[np.float64] | None = None
    generated_tokens: NDArray[np.int64] | None = None
    test_texts: Sequence[str] | None = None
    embeddings: NDArray[np.float32] | None = None
    real_embeddings: NDArray[np.float32] | None = None
    losses: TokenLosses | None = None
    oracle: Oracle | None = None
    seed: int = 0

    @cached_property
    def token_ids(self) -> TokenIds:
        """`texts` tokenised once for all measures of words."""
        return intern_texts(self.texts)

    def has(self, need: Need) -> bool:
        return getattr(self, need) is not None

    def take(self, indices: NDArray[np.int64]) -> Rows:
        """The rows at `indices`, for a measure at a smaller size; without the losses and the oracle's predictions."""
        per_row = ("texts", "labels", "contexts", "finish_reasons")
        arrays = ("log_probabilities", "generated_tokens", "embeddings")
        taken: dict[str, Any] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            if value is not None and one.name in per_row:
                taken[one.name] = [value[index] for index in indices.tolist()]
            elif value is not None and one.name in arrays:
                taken[one.name] = value[indices]
        found = replace(self, **taken, losses=None, oracle=None)
        if "token_ids" in self.__dict__:  # not to be tokenised again
            found.__dict__["token_ids"] = self.token_ids.take(indices)
        return found


@dataclass(frozen=True)
class Measured:
    """The numbers of measures. `per_text`: their scores text by text where they have them, float64 [n_texts] by name,
    NaN where a text has none. `missing`: the measures that cannot be taken of these rows, and why. `test_rows`: rows of
    the real test split that a measure points at, by name, from 0."""

    values: list[Value]
    per_text: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    test_rows: Mapping[str, Sequence[int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Measure:
    """One family of numbers. `version` changes whenever a number may change; it belongs in keys and signatures.

    `uses`: what it takes in as well where there is such a thing. `sized`: what the names of its numbers begin with, if
    they depend on how many rows there are, so that datasets are compared at a common size. `library`: the module of an
    optional dependency that it cannot do without, and `extra`, what brings it.
    """

    name: str
    tier: Tier
    version: str
    function: Callable[[Rows], Measured]
    needs: frozenset[Need] = frozenset()
    uses: frozenset[Need] = frozenset()
    sized: tuple[str, ...] = ()
    library: str | None = None
    extra: str | None = None
