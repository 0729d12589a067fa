"""Planted damage is seen: real sentences of films, damaged in five ways, and what each measure says of them.

Needs HARNESS_MIRROR (SST sentences, SQuAD, all-MiniLM-L6-v2, review-gpt-7m). The tables are printed: `pytest -s`.
"""

import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from harness.catalogue import load_task
from harness.data.examples import Examples
from harness.data.real import RealTask
from harness.data.sentences import sentences
from harness.generators.locate import locate_model
from harness.generators.transformers_backend import TransformersGenerator
from harness.quality.embeddings import embed
from harness.quality.measures import measure_all
from harness.quality.perplexity import token_losses
from harness.quality.rows import Oracle, Rows
from harness.values import Value
from students import linear
from students.protocol import Target

ROWS = 2000
LABELS = ("negative", "positive")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("HARNESS_MIRROR" not in os.environ, reason="needs real data: set HARNESS_MIRROR"),
]


@dataclass
class Real:
    """Real rows to damage, what they are compared with, and the models that look at them."""

    texts: list[str]
    labels: list[str]
    test: Examples
    foreign: list[str]
    real_embeddings: np.ndarray
    oracle: linear.Student
    oracle_right: int
    plm: TransformersGenerator
    place: object
    _embedded: dict[str, np.ndarray]

    def rows(self, texts: list[str], labels: list[str]) -> Rows:
        """The damaged rows with all that measures look at; a text is embedded once for all the damages."""
        new = [text for text in dict.fromkeys(texts) if text not in self._embedded]
        if new:
            self._embedded.update(zip(new, embed(self.place, new), strict=True))  # type: ignore[arg-type]
        asked = Examples(text=texts)
        judged = np.arange(len(texts))
        oracle = Oracle("linear", judged, self.oracle.predict_proba(asked), self.oracle_right, len(self.test))
        return Rows(
            texts,
            LABELS,
            labels,
            test_texts=list(self.test.text),
            embeddings=np.stack([self._embedded[text] for text in texts]),
            real_embeddings=self.real_embeddings,
            losses=token_losses(self.plm, "review-gpt-7m", texts),
            oracle=oracle,
            seed=13,
        )


@pytest.fixture(scope="module")
def real() -> Iterator[Real]:
    mirror = Path(os.environ["HARNESS_MIRROR"])
    loaded = load_task("sst2-sentences")
    task = RealTask(loaded.spec, loaded.path.parent, mirror)
    train, test = task.split("train"), task.split("test")
    order = random.Random(1).sample(range(len(train)), len(train))
    chosen, compared, taught = order[:ROWS], order[ROWS : 2 * ROWS], order[2 * ROWS :]
    squad = load_task("squad")
    contexts = dict.fromkeys(RealTask(squad.spec, squad.path.parent, mirror).split("train").context)
    foreign = [one for text in contexts for one in sentences(text) if 8 <= len(one.split()) <= 30]
    place = locate_model("sentence-transformers/all-MiniLM-L6-v2", None, mirror)
    oracle = linear.Student(linear.Settings(), Target("text-classification", LABELS))
    oracle.fit(train.take(taught), 13, lambda done, total, note: None)
    predicted = oracle.predict_proba(test.without_gold()).argmax(axis=1)
    right = sum(LABELS[column] == gold for column, gold in zip(predicted, test.label, strict=True))
    plm = TransformersGenerator.load(
        locate_model("embedded:review-gpt-7m", None, None), "float32", "completion", trust_remote_code=False
    )
    yield Real(
        texts=[train.text[row] for row in chosen],
        labels=[train.label[row] for row in chosen],
        test=test,
        foreign=random.Random(2).sample(foreign, ROWS),
        real_embeddings=embed(place, [train.text[row] for row in compared]),
        oracle=oracle,
        oracle_right=right,
        plm=plm,
        place=place,
        _embedded={},
    )


SHOWN = (
    "self_bleu_4",
    "distinct_2",
    "duplicates_exact",
    "near_duplicates",
    "label_errors_estimated",
    "oracle_agreement",
    "leakage_exact_share",
    "leakage_exact_test_share",
    "mauve",
    "frechet",
    "perplexity",
    "embedding_nearest_distance",
    "words_mean",
    "truncated_no_final_mark",
)
MEASURES = (
    *("self_bleu", "distinct_n", "duplicates", "near_duplicates", "lengths", "truncated", "leakage"),
    *("label_errors", "oracle_agreement", "mauve", "frechet", "perplexity", "embedding_distances"),
)

Damage = Callable[[Real, float, random.Random], tuple[list[str], list[str]]]


def flipped(real: Real, share: float, rng: random.Random) -> tuple[list[str], list[str]]:
    chosen = set(rng.sample(range(ROWS), round(share * ROWS)))
    other = dict(zip(LABELS, reversed(LABELS), strict=True))
    return real.texts, [other[label] if row in chosen else label for row, label in enumerate(real.labels)]


def duplicated(real: Real, share: float, rng: random.Random) -> tuple[list[str], list[str]]:
    kept = round((1 - share) * ROWS)
    rows = [*range(kept), *(rng.randrange(kept) for _ in range(ROWS - kept))]
    return [real.texts[row] for row in rows], [real.labels[row] for row in rows]


def leaked(real: Real, share: float, rng: random.Random) -> tuple[list[str], list[str]]:
    chosen = rng.sample(range(len(real.test)), round(share * len(real.test)))
    texts, labels = list(real.texts), list(real.labels)
    for row, test_row in enumerate(chosen):
        texts[row], labels[row] = real.test.text[test_row], real.test.label[test_row]
    return texts, labels


def swapped(real: Real, share: float, rng: random.Random) -> tuple[list[str], list[str]]:
    chosen = rng.sample(range(ROWS), round(share * ROWS))
    texts = list(real.texts)
    for row in chosen:
        texts[row] = real.foreign[row]
    return texts, real.labels


def truncated(real: Real, share: float, rng: random.Random) -> tuple[list[str], list[str]]:
    chosen = set(rng.sample(range(ROWS), round(share * ROWS)))
    texts = [
        " ".join(text.split()[: max(1, len(text.split()) // 2)]) if row in chosen else text
        for row, text in enumerate(real.texts)
    ]
    return texts, real.labels


CASES: tuple[tuple[str, Damage, tuple[float, ...], dict[str, int]], ...] = (
    ("labels flipped", flipped, (0.0, 0.1, 0.2, 0.3), {"label_errors_estimated": 1, "oracle_agreement": -1}),
    (
        "rows duplicated",
        duplicated,
        (0.0, 0.2, 0.5),
        {"duplicates_exact": 1, "near_duplicates": 1, "self_bleu_4": 1, "distinct_2": -1},
    ),
    (
        "test split pasted in",
        leaked,
        (0.0, 0.01, 0.05),
        {"leakage_exact_share": 1, "leakage_exact_test_share": 1},
    ),
    ("rows of another domain", swapped, (0.0, 0.25, 0.5), {"mauve": -1, "frechet": 1}),
    ("rows cut in half", truncated, (0.0, 0.25, 0.5), {"truncated_no_final_mark": 1, "words_mean": -1}),
)


@pytest.mark.parametrize(("name", "damage", "shares", "made_for_it"), CASES, ids=[case[0] for case in CASES])
def test_the_measure_made_for_a_damage_moves_with_it_and_beyond_its_interval(
    name: str, damage: Damage, shares: tuple[float, ...], made_for_it: dict[str, int], real: Real
) -> None:
    found: list[dict[str, Value]] = []
    for share in shares:
        rows = real.rows(*damage(real, share, random.Random(7)))
        found.append({value.measure: value for value in measure_all(MEASURES, rows).values})
    print(f"\n{name}: {', '.join(f'{share:.0%}' for share in shares)}")
    for measure in SHOWN:
        cells = "  ".join(_shown(values[measure]) for values in found)
        print(f"  {'*' if measure in made_for_it else ' '} {measure:<28} {cells}")
    for measure, direction in made_for_it.items():
        values = [one[measure] for one in found]
        for before, after in pairwise(values):
            assert direction * (after.value - before.value) > 0, (measure, before, after)
            # Neither value lies in the other's interval.
            for one, other in ((before, after), (after, before)):
                assert one.low is None or one.high is None or not one.low <= other.value <= one.high, (measure, one)


def _shown(value: Value) -> str:
    bounds = "" if value.low is None or value.high is None else f" [{value.low:.3f}, {value.high:.3f}]"
    return f"{value.value:.3f}{bounds}".ljust(24)
