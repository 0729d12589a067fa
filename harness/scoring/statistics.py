"""Intervals for scores, and where their spread comes from.

A score moves for two reasons, reported apart and together. *Items*: another test set of the same kind would
have held other items. *Seeds*: another seed would have given another synthetic dataset and another student.
For a student run with several seeds on one test set, `scores[seed, item]` is a crossed design and the
functions below read both from it. A score is right or wrong (accuracy, exact match) or between 0 and 1 (token F1):

| function                      | what it would be like to draw again | what is held fixed |
|-------------------------------|-------------------------------------|--------------------|
| `item_interval_of_seed_mean`  | the test items                      | these seeds        |
| `seed_interval`               | the seeds                           | these test items   |
| `combined_interval`           | both                                | nothing            |

Intervals of mean scores are all of Wilson's form, so they stay within 0 … 1 and keep a width at 0 % and 100 %. It
holds for any scores in 0 … 1, for their variance is φ·π(1 − π) with φ ≤ 1, where π is the mean (Bhatia and Davis, Amer.
Math. Monthly 2000; φ = 1 for right and wrong). To put the estimated φ into the score interval is quasi-likelihood
(Wedderburn, Biometrika 1974; for fractions Papke and Wooldridge, J. Appl. Econometrics 1996).
Those that need randomness take a seed and draw from a Philox stream of their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import numpy as np

from harness.scoring.metrics import BoolArray, FloatArray, IntArray, macro_f1_from_totals


@dataclass(frozen=True, slots=True)
class Interval:
    """A two-sided interval in the unit of the score, at confidence `level` (0.95 is 95 %)."""

    low: float
    high: float
    level: float
    method: str


@dataclass(frozen=True, slots=True)
class SeedSpread:
    """Mean over seeds, standard deviation (ddof 1) and interval; the last two are None where unknown."""

    mean: float
    sd: float | None
    interval: Interval | None


def wilson(successes: int, n: int, level: float = 0.95) -> Interval:
    """The score interval of a proportion of `n` items (Wilson, 1927; Newcombe, Stat. Med. 1998, method 3).

    Raises ValueError unless 0 ≤ successes ≤ n and n ≥ 1.
    """
    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"expected 0 ≤ successes ≤ n and n ≥ 1, found {successes} of {n}")
    low, high = _wilson_bounds(successes / n, _normal_quantile(level) ** 2 / n)
    return Interval(low, high, level, "wilson")


def bootstrap_macro_f1(confusion: IntArray, seed: int, resamples: int = 2000, level: float = 0.95) -> Interval | None:
    """Percentile interval of macro-F1 over test items (Efron, 1979); `confusion` is `[labels, labels]`.

    To draw n items with replacement and tabulate them is to draw the table from a multinomial with the cells'
    frequencies, so the table is all that is needed and the cost does not grow with the number of items.

    None where all resamples score the same (a flawless confusion matrix, for one): the bootstrap cannot see
    errors that did not happen, and an interval of no width would claim certainty. Raises ValueError on a
    table without items.
    """
    n_items = int(confusion.sum())
    if n_items < 1:
        raise ValueError("expected a confusion matrix with at least one item, found none")
    # Empty cells stay empty in every resample: leaving them out keeps many-label tables small.
    rows, columns = np.nonzero(confusion)
    generator = np.random.Generator(np.random.Philox(seed))
    draws = generator.multinomial(n_items, confusion[rows, columns] / n_items, size=resamples)
    to_row, to_column = np.eye(len(confusion))[rows], np.eye(len(confusion))[columns]
    scores = macro_f1_from_totals(draws @ (to_row * to_column), draws @ to_row, draws @ to_column)
    low, high = np.quantile(scores, [(1 - level) / 2, (1 + level) / 2])
    return None if low == high else Interval(float(low), float(high), level, "bootstrap-percentile")


def seed_interval(values: Sequence[float], level: float = 0.95) -> SeedSpread:
    """Mean, standard deviation and t interval (Student, 1908) of one score per seed, on fixed test items.

    One seed shows no spread: `sd` and `interval` are None. Where several seeds agree to the last digit (a
    student without randomness, or luck on a small test set) `sd` is 0 and `interval` None, for a t interval
    of no width would claim that every further seed must agree too. Raises ValueError without values.
    """
    scores = np.asarray(values, dtype=np.float64)
    if scores.size < 1:
        raise ValueError("expected the score of at least one seed, found none")
    mean = float(scores.mean())
    if scores.size == 1:
        return SeedSpread(mean, None, None)
    if scores.min() == scores.max():
        return SeedSpread(mean, 0.0, None)
    sd = float(scores.std(ddof=1))
    half = _t_quantile(level, scores.size - 1) * sd / sqrt(scores.size)
    return SeedSpread(mean, sd, Interval(mean - half, mean + half, level, "student-t"))


def item_interval_of_seed_mean(scores: BoolArray | FloatArray, level: float = 0.95) -> Interval:
    """Interval over test items of the mean score of these very seeds; `scores` is `[seeds, items]`, in 0 … 1.

    Wilson's interval at the effective sample size p(1−p)/V (Korn and Graubard, Survey Methodology 1998: the
    "modified Wilson" limits of survey software), where V = Var_i(mean over seeds of item i)/items treats an
    item's answers as one cluster. Preferred to resampling the items: it has the same V without Monte-Carlo
    error, needs no seed, keeps a width when every answer is right, and for one seed of right and wrong is
    exactly `wilson`.

    Raises ValueError unless `scores` is a non-empty matrix of booleans or of numbers in 0 … 1.
    """
    check_scores(scores)
    low, high = _wilson_bounds(float(scores.mean()), _item_ratio(scores, level))
    return Interval(low, high, level, "wilson-clustered")


def combined_interval(scores: BoolArray | FloatArray, level: float = 0.95) -> Interval | None:
    """Interval of the mean score, test items and seeds both drawn anew; `scores` is `[seeds, items]`, in 0 … 1.

    Sum of the two sources: squared half-width = z²·V_items + t²·V_seeds, with V_items as in
    `item_interval_of_seed_mean`, V_seeds = sd²/seeds, and t on seeds − 1 degrees of freedom. Giving each
    variance its own quantile is Banerjee's interval (Sankhyā 22, 1960), which covers at least the nominal
    level for any ratio of the two; here the squares enter Wilson's form. It contains the item interval.

    Not a two-level bootstrap (Owen, Ann. Appl. Stat. 2007): resampling 3 seeds shrinks their variance by a
    third and knows no t quantile, so it falls far short where seeds matter (the tests show it).
    Satterthwaite's degrees of freedom fall short too, by up to 3 points at 3 seeds and 9 at 2. The price here
    is width where seeds matter little, for the interaction of seed and item is in both variances and t is 4.3
    at 3 seeds; at 5 seeds it is small.

    None for one seed, which cannot show the spread of seeds. Raises ValueError unless `scores` is a non-empty
    matrix of booleans or of numbers in 0 … 1.
    """
    check_scores(scores)
    per_seed: FloatArray = scores.mean(axis=1)
    if per_seed.size == 1:
        return None
    mean = float(per_seed.mean())
    ratio = _item_ratio(scores, level)
    # At 0 % and 100 % no seed differs from another.
    if 0 < mean < 1:
        seed_variance = float(per_seed.var(ddof=1)) / per_seed.size
        ratio += _t_quantile(level, per_seed.size - 1) ** 2 * seed_variance / (mean * (1 - mean))
    low, high = _wilson_bounds(mean, ratio)
    return Interval(low, high, level, "wilson-items+seeds")


def chance_flag(accuracy_successes: int, n: int, n_classes: int, margin: float = 0.1, level: float = 0.95) -> bool:
    """Whether an accuracy is so far below chance that the labels are probably inverted somewhere.

    True where the upper Wilson bound lies below (1 − margin)/n_classes: 0.45 for two classes. The margin is
    relative so that it means the same for many classes. It keeps the many students that hover at chance from
    being flagged by luck (two classes: 1 in 7,000 on RTE's 277 items, fewer on more), at the price of missing
    the inversion of a student that was itself near chance.

    It is a suspicion, not a proof: constant prediction of a rare label also falls below 1/n_classes, and two
    labels exchanged among many need not. Raises what `wilson` raises, and ValueError for fewer than two
    classes.
    """
    if n_classes < 2:
        raise ValueError(f"expected at least two classes, found {n_classes}")
    return wilson(accuracy_successes, n, level).high < (1 - margin) / n_classes


def _wilson_bounds(proportion: float, ratio: float) -> tuple[float, float]:
    """Ends of the set of π with (proportion − π)² ≤ ratio·π(1 − π), where `ratio` is quantile²/n."""
    centre = (proportion + ratio / 2) / (1 + ratio)
    half = sqrt(ratio * proportion * (1 - proportion) + ratio**2 / 4) / (1 + ratio)
    # The set holds the proportion itself; at 0 % and 100 % rounding would leave it outside by its last digit.
    return max(0.0, min(proportion, centre - half)), min(1.0, max(proportion, centre + half))


def _item_ratio(scores: BoolArray | FloatArray, level: float) -> float:
    """quantile² over the effective number of items: V = φ·p(1 − p)/items, φ estimated by the items' variance.

    φ is at least what independent answers would give, a smaller variance being luck: that of single scores (1 for
    right and wrong) over the number of seeds. It is 1, the most there can be, where all scores are the same: there
    is no variance to go by, and no spread seen must not become an interval of no width.
    """
    per_item: FloatArray = scores.mean(axis=0)
    mean, mean_square = float(per_item.mean()), float((scores * scores).mean(axis=0).mean())
    dispersion = 1.0
    if 0 < mean < 1 and scores.min() < scores.max():
        # (E s² − p²)/(p − p²), written so that it is 1 to the last digit where every s² is s.
        of_one_score = 1 - (mean - mean_square) / (mean * (1 - mean))
        dispersion = min(max(float(per_item.var()) / (mean * (1 - mean)), of_one_score / len(scores)), 1.0)
    quantile = _normal_quantile(level)
    return quantile * quantile * dispersion / per_item.size


def _normal_quantile(level: float) -> float:
    return NormalDist().inv_cdf((1 + level) / 2)


def _t_quantile(level: float, degrees_of_freedom: int) -> float:
    from scipy.special import stdtrit  # scipy.stats has the same function and takes a second to import

    return float(stdtrit(degrees_of_freedom, (1 + level) / 2))


def check_scores(scores: BoolArray | FloatArray) -> None:
    """Raises ValueError unless `scores` is a non-empty matrix of booleans or of numbers in 0 … 1."""
    numbers = scores.dtype == np.bool_ or (scores.dtype == np.float64 and np.all((scores >= 0) & (scores <= 1)))
    if scores.ndim != 2 or scores.size == 0 or not numbers:
        raise ValueError(
            f"expected a non-empty matrix [seeds, items] of booleans or of numbers in 0 … 1, "
            f"found {scores.dtype} {scores.shape}"
        )
