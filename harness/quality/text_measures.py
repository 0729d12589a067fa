"""Measures of the text alone: how varied it is, what repeats, how long it is, what leaks."""

from harness.data.normalise import NORMALISE_V1
from harness.quality.rows import Measure, Measured, Rows
from harness.quality.tokens import WORDS_V1
from harness.values import Value


def _self_bleu(rows: Rows) -> Measured:
    from harness.quality.self_bleu import self_bleu_of_ids

    found = self_bleu_of_ids(rows.token_ids)
    values = [unreferenced(f"self_bleu_{order}", value) for order, value in enumerate(found.mean.tolist(), 1)]
    return Measured(values, {"self_bleu_4": found.per_text[:, 3]})


def _distinct_n(rows: Rows) -> Measured:
    from harness.quality.diversity import distinct_n_of_ids

    shares = distinct_n_of_ids(rows.token_ids).tolist()
    return Measured([unreferenced(f"distinct_{order}", value) for order, value in enumerate(shares, 1)])


def _duplicates(rows: Rows) -> Measured:
    from harness.quality.diversity import duplicates

    found = duplicates(rows.texts)
    return Measured(
        [
            unreferenced("duplicates_exact", found.exact),
            unreferenced("duplicates_normalised", found.normalised),
        ]
    )


def _lengths(rows: Rows) -> Measured:
    from harness.quality.diversity import lengths_of_ids

    found = lengths_of_ids(rows.token_ids)
    values = [
        unreferenced("words_mean", found.mean, "words"),
        unreferenced("words_sd", found.sd, "words"),
        unreferenced("words_min", found.min, "words"),
        unreferenced("words_median", found.median, "words"),
        unreferenced("words_max", found.max, "words"),
    ]
    return Measured(values, {"words": rows.token_ids.lengths.astype("float64")})


def _label_balance(rows: Rows) -> Measured:
    from harness.quality.diversity import label_balance

    found = label_balance(rows.labels or (), rows.label_names)
    shares = [unreferenced(f"label_share.{name}", share) for name, share in found.shares.items()]
    return Measured([*shares, unreferenced("label_entropy", found.entropy)])


def _leakage(rows: Rows) -> Measured:
    from harness.data.leakage import leakage

    found = leakage(rows.texts, rows.test_texts or ())
    values = [
        Value(f"leakage_{kind}_{what}", number, unit, "real-text")
        for kind, overlap in (("exact", found.exact), ("normalised", found.normalised), ("near", found.near))
        for what, number, unit in (
            ("rows", float(overlap.rows), "rows"),
            ("share", overlap.share, "fraction"),
            ("test_rows", float(overlap.test_rows), "rows"),
            ("test_share", overlap.test_share, "fraction"),
        )
    ]
    return Measured(values)


def unreferenced(measure: str, value: float, unit: str = "fraction") -> Value:
    """A value of the tier that looks at synthetic text only."""
    return Value(measure, float(value), unit, "unreferenced")


TEXT_MEASURES = (
    Measure("self_bleu", "unreferenced", f"v1+{WORDS_V1}", _self_bleu, sized=True),
    Measure("distinct_n", "unreferenced", f"v1+{WORDS_V1}", _distinct_n, sized=True),
    Measure("duplicates", "unreferenced", f"v1+{NORMALISE_V1}", _duplicates, sized=True),
    Measure("lengths", "unreferenced", f"v1+{WORDS_V1}", _lengths),
    Measure("label_balance", "unreferenced", "v1", _label_balance, frozenset({"labels"})),
    Measure("leakage", "real-text", f"v2+{NORMALISE_V1}+8-grams.v1", _leakage, frozenset({"test_texts"})),
)
