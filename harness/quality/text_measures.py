"""Measures of the text alone: how varied it is, what repeats, how long it is, what leaks."""

from importlib import metadata
from typing import TYPE_CHECKING

from harness.data.normalise import NORMALISE_V1
from harness.quality.rows import Measure, Measured, Rows
from harness.quality.tokens import WORDS_V1
from harness.values import Value

if TYPE_CHECKING:
    from harness.quality.draws import OverDraws


def _self_bleu(rows: Rows) -> Measured:
    from harness.quality.self_bleu import self_bleu_of_ids

    found = self_bleu_of_ids(rows.token_ids)
    values = [unreferenced(f"self_bleu_{order}", value) for order, value in enumerate(found.mean.tolist(), 1)]
    return Measured(values, {"self_bleu_4": found.per_text[:, 3]})


def _distinct_n(rows: Rows) -> Measured:
    from harness.quality.diversity import distinct_n_of_ids

    shares = distinct_n_of_ids(rows.token_ids).tolist()
    return Measured([unreferenced(f"distinct_{order}", value) for order, value in enumerate(shares, 1)])


def _entropy(rows: Rows) -> Measured:
    from harness.quality.diversity import distinct_n_of_ids, moving_ttr_of_ids, ngram_entropy_of_ids
    from harness.quality.draws import DRAWS, drawn_rows, over_draws

    corpus = rows.token_ids
    bits = ngram_entropy_of_ids(corpus).tolist()
    # In random order: the rows' own may be by label, and neighbours share a window.
    orders = [drawn_rows(corpus.n_texts, corpus.n_texts, "mattr", rows.seed, draw) for draw in range(DRAWS)]
    mattr = over_draws([moving_ttr_of_ids(corpus.take(order)) for order in orders])
    return Measured(
        [
            *(unreferenced(f"entropy_{order}", value, "bits") for order, value in enumerate(bits, 1)),
            unreferenced("type_token_ratio", distinct_n_of_ids(corpus, 1)[0]),
            drawn("mattr_50", mattr, "fraction"),
        ]
    )


def _compression(rows: Rows) -> Measured:
    from harness.quality.compression import compression_at, compression_ratio, joined
    from harness.quality.draws import over_draws

    values = [unreferenced("compression_ratio", compression_ratio(joined(rows.texts)), "ratio")]
    if ratios := compression_at(rows.texts, 100_000, rows.seed):
        values.append(drawn("compression_ratio@100kB", over_draws(ratios), "ratio"))
    return Measured(values)


def _self_repetition(rows: Rows) -> Measured:
    from harness.quality.diversity import self_repetition_of_ids

    per_text = self_repetition_of_ids(rows.token_ids)
    return Measured([unreferenced("self_repetition", per_text.mean(), "nats")], {"self_repetition": per_text})


def _homogenisation(rows: Rows) -> Measured:
    from harness.quality.homogenisation import homogenisation_of_ids

    found = homogenisation_of_ids(rows.token_ids, rows.seed)
    value = Value("homogenisation", found.mean, "fraction", "unreferenced", found.low, found.high)
    return Measured([value], {} if found.per_text is None else {"homogenisation": found.per_text})


def _vendi_ngrams(rows: Rows) -> Measured:
    from harness.quality.draws import over_draws
    from harness.quality.ngram_bags import VENDI_ROWS, vendi_of_draws

    scores = vendi_of_draws(rows.token_ids, VENDI_ROWS, rows.seed)
    if len(rows.texts) <= VENDI_ROWS:
        return Measured([unreferenced("vendi_ngrams", scores[0], "texts")])
    return Measured([drawn(f"vendi_ngrams@{VENDI_ROWS}", over_draws(scores), "texts")])


def _duplicates(rows: Rows) -> Measured:
    from harness.quality.diversity import duplicates

    found = duplicates(rows.texts)
    return Measured(
        [
            unreferenced("duplicates_exact", found.exact),
            unreferenced("duplicates_normalised", found.normalised),
        ]
    )


def _near_duplicates(rows: Rows) -> Measured:
    from harness.quality.near_duplicates import near_duplicates

    found = near_duplicates(rows.texts)
    return Measured([unreferenced("near_duplicates", found.share)], {"near_duplicate": found.repeats.astype("float64")})


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


def _truncated(rows: Rows) -> Measured:
    from harness.quality.hygiene import without_final_mark

    unended = without_final_mark(rows.texts)
    values = [unreferenced("truncated_no_final_mark", unended.mean())]
    if rows.finish_reasons is not None:
        at_length = sum(reason == "length" for reason in rows.finish_reasons)
        values.insert(0, unreferenced("truncated_by_length", at_length / len(rows.texts)))
    return Measured(values, {"no_final_mark": unended.astype("float64")})


def _prompt_echo(rows: Rows) -> Measured:
    from harness.quality.hygiene import echoes

    found = echoes(rows.texts, rows.contexts or ())
    return Measured([unreferenced("prompt_echo", found.mean())], {"prompt_echo": found.astype("float64")})


def _language(rows: Rows) -> Measured:
    from harness.quality.draws import drawn_rows
    from harness.quality.language import LANGUAGE_ROWS, languages
    from harness.scoring.statistics import wilson

    n_rows = len(rows.texts)
    asked = drawn_rows(n_rows, LANGUAGE_ROWS, "language", rows.seed).tolist()
    counts = languages([rows.texts[index] for index in asked])

    def share(name: str, count: int) -> Value:
        if len(asked) == n_rows:
            return unreferenced(name, count / n_rows)
        interval = wilson(count, len(asked))
        return Value(name, count / len(asked), "fraction", "unreferenced", interval.low, interval.high)

    decided = sorted((-count, language) for language, count in counts.items() if language is not None)
    shown = [(language, -less) for less, language in decided if -less >= 0.01 * len(asked)]
    return Measured(
        [
            share("language_top", -decided[0][0] if decided else 0),
            *(share(f"language_share.{language}", count) for language, count in shown),
            share("language_undecided", counts[None]),
        ]
    )


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
    return Measured(values, test_rows={"leakage": found.near.test_indices})


def drawn(measure: str, found: "OverDraws", unit: str) -> Value:
    """A value over draws, of the tier that looks at synthetic text only."""
    return found.value(measure, unit, "unreferenced")


def unreferenced(measure: str, value: float, unit: str = "fraction") -> Value:
    """A value of the tier that looks at synthetic text only."""
    return Value(measure, float(value), unit, "unreferenced")


def _version_of(distribution: str) -> str:
    """Its models decide the numbers."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "none"


TEXT_MEASURES = (
    Measure("self_bleu", "unreferenced", f"v1+{WORDS_V1}", _self_bleu, sized=("self_bleu_",)),
    Measure("distinct_n", "unreferenced", f"v1+{WORDS_V1}", _distinct_n, sized=("distinct_",)),
    Measure(
        "entropy",
        "unreferenced",
        f"v1+{WORDS_V1}",
        _entropy,
        sized=("entropy_", "type_token_ratio", "mattr_"),
    ),
    Measure("compression", "unreferenced", "v1", _compression, sized=("compression_ratio",)),
    Measure("self_repetition", "unreferenced", f"v1+{WORDS_V1}", _self_repetition, sized=("self_repetition",)),
    Measure("homogenisation", "unreferenced", f"v1+{WORDS_V1}", _homogenisation),
    Measure("vendi_ngrams", "unreferenced", f"v1+{WORDS_V1}", _vendi_ngrams, sized=("vendi_ngrams",)),
    Measure("duplicates", "unreferenced", f"v1+{NORMALISE_V1}", _duplicates, sized=("duplicates_",)),
    Measure(
        "near_duplicates",
        "unreferenced",
        f"v1+{NORMALISE_V1}",
        _near_duplicates,
        sized=("near_duplicates",),
    ),
    Measure("lengths", "unreferenced", f"v1+{WORDS_V1}", _lengths),
    Measure("label_balance", "unreferenced", "v1", _label_balance, frozenset({"labels"})),
    Measure("truncated", "unreferenced", "v1", _truncated, uses=frozenset({"finish_reasons"})),
    Measure("prompt_echo", "unreferenced", f"v1+{NORMALISE_V1}", _prompt_echo, frozenset({"contexts"})),
    Measure(
        "language",
        "unreferenced",
        f"v1+lingua.{_version_of('lingua-language-detector')}",
        _language,
        library="lingua",
        extra="language",
    ),
    Measure("leakage", "real-text", f"v2+{NORMALISE_V1}+8-grams.v1", _leakage, frozenset({"test_texts"})),
)
