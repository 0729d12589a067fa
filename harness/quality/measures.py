"""The registry of the measures of a synthetic dataset, and the one function that takes them.

Names, tiers and versions can be read (by a spec, a plan, a listing) without numpy: the measures import what
they need when they run.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from harness.data.normalise import NORMALISE_V1
from harness.errors import HarnessError, did_you_mean, one_of
from harness.quality.tokens import WORDS_V1, TokenIds, intern_texts
from harness.values import Tier, Value


@dataclass(frozen=True)
class Rows:
    """What a measure may look at: the synthetic `texts`, their `labels` by name (None in a family without
    labels), the texts of the real test split (None where no measure may see them), the task's
    `label_names`."""

    texts: Sequence[str]
    labels: Sequence[str] | None
    test_texts: Sequence[str] | None
    label_names: Sequence[str]

    @cached_property
    def token_ids(self) -> TokenIds:
        """`texts` tokenised once for all measures of words."""
        return intern_texts(self.texts)


@dataclass(frozen=True, slots=True)
class Measure:
    """One family of numbers. `version` changes whenever a number may change; it belongs in keys and
    signatures."""

    name: str
    tier: Tier
    version: str
    needs_real_text: bool
    function: Callable[[Rows], list[Value]]
    needs_labels: bool = False


def measure_all(
    names: Sequence[str],
    texts: Sequence[str],
    labels: Sequence[str] | None,
    test_texts: Sequence[str] | None,
    label_names: Sequence[str],
) -> list[Value]:
    """Take the named measures of a dataset, in the order of `names`; a repeated name counts once.

    A value that is undefined for these rows (Distinct-4 where no text has four words) is left out, since no
    number stands for it. Raises `HarnessError` for an unknown name, an input that a named measure needs and
    that is missing, labels that do not match the texts in number, and for what the measures themselves raise.
    """
    measures = [_measure_named(name) for name in dict.fromkeys(names)]
    rows = Rows(texts, labels, test_texts, label_names)
    _check_inputs(measures, rows)
    values = [value for measure in measures for value in measure.function(rows)]
    return [value for value in values if not math.isnan(value.value)]


def applicable(names: Sequence[str], *, has_labels: bool) -> tuple[str, ...]:
    """The named measures that mean something for rows with, or without, labels."""
    return tuple(name for name in names if has_labels or not MEASURES[name].needs_labels)


def _measure_named(name: str) -> Measure:
    if name not in MEASURES:
        raise HarnessError(f"Unknown measure '{name}'{did_you_mean(name, MEASURES)}. Known: {one_of(MEASURES)}.")
    return MEASURES[name]


def _check_inputs(measures: Sequence[Measure], rows: Rows) -> None:
    for measure in measures:
        if measure.needs_real_text and rows.test_texts is None:
            raise HarnessError(
                f"Measure '{measure.name}' needs the texts of the real test split; found none. "
                "Give them or leave the measure out."
            )
        if measure.needs_labels and rows.labels is None:
            raise HarnessError(f"Measure '{measure.name}' needs labels; these rows have none. Leave the measure out.")
    if rows.labels is not None and len(rows.labels) != len(rows.texts):
        raise HarnessError(f"Expected one label per text; found {len(rows.texts)} texts and {len(rows.labels)} labels.")


def _self_bleu(rows: Rows) -> list[Value]:
    from harness.quality.self_bleu import self_bleu_of_ids

    mean = self_bleu_of_ids(rows.token_ids).mean.tolist()
    return [_unreferenced(f"self_bleu_{order}", value) for order, value in enumerate(mean, 1)]


def _distinct_n(rows: Rows) -> list[Value]:
    from harness.quality.diversity import distinct_n_of_ids

    shares = distinct_n_of_ids(rows.token_ids).tolist()
    return [_unreferenced(f"distinct_{order}", value) for order, value in enumerate(shares, 1)]


def _duplicates(rows: Rows) -> list[Value]:
    from harness.quality.diversity import duplicates

    found = duplicates(rows.texts)
    return [
        _unreferenced("duplicates_exact", found.exact),
        _unreferenced("duplicates_normalised", found.normalised),
    ]


def _lengths(rows: Rows) -> list[Value]:
    from harness.quality.diversity import lengths_of_ids

    found = lengths_of_ids(rows.token_ids)
    return [
        _unreferenced("words_mean", found.mean, "words"),
        _unreferenced("words_sd", found.sd, "words"),
        _unreferenced("words_min", found.min, "words"),
        _unreferenced("words_median", found.median, "words"),
        _unreferenced("words_max", found.max, "words"),
    ]


def _label_balance(rows: Rows) -> list[Value]:
    from harness.quality.diversity import label_balance

    found = label_balance(rows.labels or (), rows.label_names)
    shares = [_unreferenced(f"label_share.{name}", share) for name, share in found.shares.items()]
    return [*shares, _unreferenced("label_entropy", found.entropy)]


def _leakage(rows: Rows) -> list[Value]:
    from harness.data.leakage import leakage

    found = leakage(rows.texts, rows.test_texts or ())
    return [
        Value(f"leakage_{kind}_{what}", number, unit, "real-text")
        for kind, overlap in (("exact", found.exact), ("normalised", found.normalised))
        for what, number, unit in (
            ("rows", float(overlap.rows), "rows"),
            ("share", overlap.share, "fraction"),
            ("test_rows", float(overlap.test_rows), "rows"),
            ("test_share", overlap.test_share, "fraction"),
        )
    ]


def _unreferenced(measure: str, value: float, unit: str = "fraction") -> Value:
    return Value(measure, float(value), unit, "unreferenced")


_IN_ORDER = (
    Measure("self_bleu", "unreferenced", f"v1+{WORDS_V1}", False, _self_bleu),
    Measure("distinct_n", "unreferenced", f"v1+{WORDS_V1}", False, _distinct_n),
    Measure("duplicates", "unreferenced", f"v1+{NORMALISE_V1}", False, _duplicates),
    Measure("lengths", "unreferenced", f"v1+{WORDS_V1}", False, _lengths),
    Measure("label_balance", "unreferenced", "v1", False, _label_balance, needs_labels=True),
    Measure("leakage", "real-text", f"v1+{NORMALISE_V1}", True, _leakage),
)

MEASURES: dict[str, Measure] = {measure.name: measure for measure in _IN_ORDER}
"""Every measure by name, in the order in which they are shown."""

DEFAULT_MEASURES = ("self_bleu", "distinct_n", "duplicates", "lengths", "label_balance", "leakage")
"""What a board takes that names none. Cheap ones only: together they take seconds for 10,000 rows."""
