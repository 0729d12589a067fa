"""The registry of the measures of a synthetic dataset, and the one function that takes them."""

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.errors import HarnessError, did_you_mean, one_of
from harness.quality.draws import DRAWS, drawn_rows, over_draws
from harness.quality.label_measures import LABEL_MEASURES
from harness.quality.model_measures import MODEL_MEASURES
from harness.quality.rows import NEEDS, Measure, Measured, Need, Rows
from harness.quality.text_measures import TEXT_MEASURES
from harness.values import Value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MEASURES: dict[str, Measure] = {measure.name: measure for measure in (*TEXT_MEASURES, *MODEL_MEASURES, *LABEL_MEASURES)}
"""Every measure by name, in the order in which they are shown."""

_SIZED = tuple(prefix for measure in MEASURES.values() for prefix in measure.sized)

DEFAULT_MEASURES = ("self_bleu", "distinct_n", "duplicates", "lengths", "label_balance", "leakage")
"""What a board takes that names none. Cheap ones only: together they take seconds for 10,000 rows."""


def depends_on_size(number: str) -> bool:
    """Whether the number of that name (without its `@`) depends on how many rows there are."""
    return number.startswith(_SIZED)


def measure_all(names: Sequence[str], rows: Rows, report: Callable[[str], None] = lambda name: None) -> Measured:
    """Take the named measures of a dataset, in the order of `names`; a repeated name counts once.

    A value that is undefined for these rows (Distinct-4 where no text has four words) is left out, since no number
    stands for it; a measure that cannot be taken of these rows (a label with too few of them) is among the `missing`
    and keeps no other from being taken. `report` is called with each measure's name before it is taken.

    Raises:
        HarnessError: an unknown name, an input that a named measure needs and that is missing, labels that do not match
            the texts in number.
    """
    measures = _checked(names, rows)
    values: list[Value] = []
    per_text: dict[str, NDArray[np.float64]] = {}
    missing: dict[str, str] = {}
    test_rows: dict[str, Sequence[int]] = {}
    for measure in measures:
        report(measure.name)
        try:
            found = measure.function(rows)
        except HarnessError as error:
            missing[measure.name] = str(error)
            continue
        values += found.values
        per_text |= found.per_text
        test_rows |= found.test_rows
    return Measured([value for value in values if not math.isnan(value.value)], per_text, missing, test_rows)


def measure_at(
    size: int, names: Sequence[str], rows: Rows, report: Callable[[str], None] = lambda name: None
) -> list[Value]:
    """Those of the named measures that depend on the number of rows, at `size` rows: for datasets of several sizes.

    `self_bleu_4@1000` is the mean over `DRAWS` random draws of 1,000 rows without replacement, with a 95 % interval of
    one draw (normal, from their standard deviation): what another draw would give. A dataset of just that size needs no
    draw, and has no interval from one.

    Raises:
        HarnessError: as `measure_all`; the dataset has fewer rows. What cannot be taken of so few is left out.
    """
    measures = [measure for measure in _checked(names, rows) if measure.sized]
    if size > len(rows.texts):
        raise HarnessError(f"The common size is {size:,} rows; the dataset has {len(rows.texts):,}.")
    values: list[Value] = []
    for measure in measures:
        report(f"{measure.name} at {size:,} rows")
        with suppress(HarnessError):
            values += _at_common_size(measure, rows, size)
    return [value for value in values if not math.isnan(value.value)]


def measure_named(name: str) -> Measure:
    """Raises `HarnessError` for a name that nobody knows."""
    if name not in MEASURES:
        raise HarnessError(f"Unknown measure '{name}'{did_you_mean(name, MEASURES)}. Known: {one_of(MEASURES)}.")
    return MEASURES[name]


def _at_common_size(measure: Measure, rows: Rows, size: int) -> list[Value]:
    if size == len(rows.texts):
        found_whole = [value for value in measure.function(rows).values if "@" not in value.measure]
        return [replace(value, measure=f"{value.measure}@{size}") for value in found_whole]
    draws: dict[str, list[Value]] = {}
    for draw in range(DRAWS):
        chosen = drawn_rows(len(rows.texts), size, "common-size", rows.seed, draw)
        chosen.sort()
        for value in measure.function(rows.take(chosen)).values:
            if "@" not in value.measure:  # that one has a size of its own already
                draws.setdefault(value.measure, []).append(value)
        if not draws:
            break
    found = []
    for name, of_draws in draws.items():
        over, first = over_draws([value.value for value in of_draws]), of_draws[0]
        found.append(over.value(f"{name}@{size}", first.unit, first.tier))
    return found


def _checked(names: Sequence[str], rows: Rows) -> list[Measure]:
    measures = [measure_named(name) for name in dict.fromkeys(names)]
    _check_inputs(measures, rows)
    return measures


def _check_inputs(measures: Sequence[Measure], rows: Rows) -> None:
    for measure in measures:
        missing: list[Need] = [need for need in NEEDS if need in measure.needs and not rows.has(need)]
        if missing:
            raise HarnessError(
                f"Measure '{measure.name}' needs {' and '.join(NEEDS[need] for need in missing)}; found none. "
                "Give them or leave the measure out."
            )
    if rows.labels is not None and len(rows.labels) != len(rows.texts):
        raise HarnessError(f"Expected one label per text; found {len(rows.texts)} texts and {len(rows.labels)} labels.")
