"""Measures in words for a report: titles, what a number says, which way it points, and how it is written.

Everything goes by name, so that a measure nobody has described is shown too: under its own name, after the others.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from harness.quality.measures import MEASURES
from harness.values import Tier, Value

TIERS: dict[Tier | Literal["other"], tuple[str, str]] = {
    "unreferenced": ("The texts themselves", "These look at the synthetic rows only."),
    "real-text": ("Against real text", "These read real texts too, but none of their labels."),
    "real-label": ("Against gold labels", "These read gold labels, or what was learned from them."),
    "machine": ("Time and size", "These depend on the machine."),
    "accounting": ("Counts", "Rows and tokens."),
    "other": ("Other", "Measures that are not known here."),
}
"""Heading and meaning of each tier, in the order of a report."""

_VARIED, _CLEAN, _RIGHT, _REAL = "more varied", "cleaner", "labels more often right", "closer to real text"


@dataclass(frozen=True, slots=True)
class Family:
    """The measures `name` and `name_…`. `says`: a sentence of plain text; `better`: which way, and in which sense."""

    name: str
    title: str
    says: str = ""
    better: tuple[Literal["lower", "higher"], str] | None = None

    @property
    def reading(self) -> str:
        """`↓ lower: more varied`; empty where neither way is better."""
        if self.better is None:
            return ""
        way, sense = self.better
        return f"{'↓' if way == 'lower' else '↑'} {way}: {sense}"


_FAMILIES = (
    Family(
        "self_bleu",
        "Self-BLEU",
        "How much of each text the other texts already hold: its BLEU against all of them, with n-grams up to n.",
        ("lower", _VARIED),
    ),
    Family("distinct", "Distinct-n", "Different n-grams over all n-grams.", ("higher", _VARIED)),
    Family("entropy", "N-gram entropy", "How evenly the n-grams in use share the text.", ("higher", _VARIED)),
    Family("type_token_ratio", "Type-token ratio", "Different words over all words.", ("higher", _VARIED)),
    Family("mattr", "Moving type-token ratio", "The same within a window of fixed length.", ("higher", _VARIED)),
    Family(
        "compression",
        "Compression ratio",
        "Bytes over compressed bytes: what repeats packs well.",
        ("lower", _VARIED),
    ),
    Family(
        "self_repetition",
        "Self-repetition",
        "How often the 4-grams of a text stand in other texts, on a logarithmic scale.",
        ("lower", _VARIED),
    ),
    Family(
        "homogenisation",
        "Homogenisation",
        "The longest word sequence that two texts share (ROUGE-L), on average over pairs.",
        ("lower", _VARIED),
    ),
    Family("vendi", "Vendi score", "How many wholly different texts would be as varied.", ("higher", _VARIED)),
    Family(
        "embedding_pairwise",
        "Distance between texts",
        "Cosine distance of the embeddings, over all pairs of rows.",
        ("higher", _VARIED),
    ),
    Family(
        "embedding_nearest",
        "Nearest neighbour",
        "Cosine distance of the embeddings to the most alike other row.",
        ("higher", _VARIED),
    ),
    Family("duplicates", "Duplicates", "Rows that repeat an earlier row.", ("lower", _VARIED)),
    Family("near_duplicates", "Near duplicates", "Rows that nearly repeat an earlier row.", ("lower", _VARIED)),
    Family("words", "Length", "Words per text; marks count as words."),
    Family("lengths", "Length", "Words per text; marks count as words."),
    Family(
        "label_entropy",
        "Label balance",
        "Entropy of the label shares over its maximum: 100 % where all are equal.",
        ("higher", "more even"),
    ),
    Family("label_balance", "Label balance", "How evenly the rows are shared among the labels."),
    Family("label_share", "Label shares", "Rows with each label over all rows."),
    Family("truncated", "Cut off", "Texts that end before they are finished.", ("lower", _CLEAN)),
    Family("prompt_echo", "Prompt echo", "Texts that only repeat what they were written about.", ("lower", _CLEAN)),
    Family("language", "Language", "Texts by the language that they seem to be in."),
    Family(
        "perplexity",
        "Perplexity",
        "How surprising the texts are to a scoring PLM. Very low: repetitive, or known by heart; very high: garbled.",
    ),
    Family("bits_per_byte", "Bits per byte", "The same per byte of text, whatever the PLM's tokens."),
    Family(
        "generator_log_probability",
        "Generator log-probability",
        "How likely the generator itself found each token that it wrote.",
    ),
    Family("mauve", "MAUVE", "Overlap of the distributions of synthetic and real texts.", ("higher", _REAL)),
    Family(
        "frechet",
        "Fréchet distance",
        "Between Gaussians fitted to the embeddings of synthetic and of real texts.",
        ("lower", _REAL),
    ),
    Family(
        "leakage", "Leakage", "Overlap of the rows with the real test split.", ("lower", "scores that can be trusted")
    ),
    Family(
        "oracle",
        "Oracle agreement",
        "Rows whose label is what a model trained on gold labels says; its own accuracy is the ceiling.",
        ("higher", _RIGHT),
    ),
    Family(
        "label_errors",
        "Label errors, estimated",
        "Without gold labels: rows whose label is contradicted by a model trained on the other rows.",
        ("lower", _RIGHT),
    ),
)
"""In the order of a report."""

_BY_NAME = {family.name: (place, family) for place, family in enumerate(_FAMILIES)}


def family_of(measure: str) -> Family:
    """The family of a value's or a measure's name: the longest that fits; else one of its own, without an order at the
    end (`novelty_3` and `novelty_4` go together)."""
    return _placed(measure)[1]


def _placed(measure: str) -> tuple[int, Family]:
    base = re.split("[.@]", measure, maxsplit=1)[0]
    words = base.split("_")
    for count in range(len(words), 0, -1):
        for name in ("_".join(words[:count]), "_".join(words[:count]) + "s"):
            if name in _BY_NAME:
                return _BY_NAME[name]
    name = re.sub(r"_\d+$", "", base) or measure
    title = name.replace("_", " ")
    return len(_FAMILIES), Family(name, title[:1].upper() + title[1:])


@dataclass(frozen=True)
class Shown:
    """A family and its values, in the order they were reported."""

    family: Family
    values: list[Value] = field(default_factory=list)


@dataclass(frozen=True)
class Group:
    """What a report shows of one tier; `missing`: measure -> why it is not available."""

    title: str
    says: str
    families: list[Shown]
    missing: dict[str, str]


def grouped(values: Iterable[Value], missing: Mapping[str, str]) -> list[Group]:
    """Every value and every missing measure, by tier and family; tiers of which there is nothing are left out."""
    by_tier: dict[str, dict[tuple[int, str], Shown]] = {}
    for value in values:
        place, family = _placed(value.measure)
        tier = value.tier if value.tier in TIERS else "other"
        by_tier.setdefault(tier, {}).setdefault((place, family.name), Shown(family)).values.append(value)
    missing_by_tier: dict[str, dict[str, str]] = {}
    for measure, why in missing.items():
        tier = MEASURES[measure].tier if measure in MEASURES else "other"
        missing_by_tier.setdefault(tier, {})[measure] = why
    return [
        Group(
            title,
            says,
            # Stable: unknown families, all of the same place, stay in the order in which they were reported.
            [shown for _, shown in sorted(by_tier.get(tier, {}).items(), key=lambda one: one[0][0])],
            missing_by_tier.get(tier, {}),
        )
        for tier, (title, says) in TIERS.items()
        if tier in by_tier or tier in missing_by_tier
    ]


_PLAIN = ("", "ratio", "perplexity", "cosine distance", "squared distance")
"""Units that a number is written without: the measure's name or sentence says them."""


def number(value: float, unit: str) -> str:
    """`23.1 %` for a fraction, `1,234 rows`, `11.42 bits`, `0.1324`; never more digits than anyone reads."""
    if unit == "fraction":
        return f"{percent(value)} %"
    return digits(value) if unit in _PLAIN else f"{digits(value)} {unit}"


def percent(fraction: float) -> str:
    """One decimal; more for a share so small that it would show as none, or so large that it would show as all."""
    if not math.isfinite(fraction):
        return digits(fraction)
    for decimals in (1, 2, 3):
        shown = f"{100 * fraction:.{decimals}f}"
        if fraction in (0, 1) or float(shown) not in (0, 100):
            return shown
    return "< 0.001" if fraction < 0.5 else "> 99.999"


def digits(value: float) -> str:
    """Whole numbers in full; four significant digits else, three beside a point."""
    if not math.isfinite(value):
        return "undefined" if math.isnan(value) else "∞" if value > 0 else "−∞"
    if abs(value) >= 1e15:
        shown = f"{value:.3g}"
    elif value == round(value) or abs(value) >= 1000:
        shown = f"{value:,.0f}"
    else:
        shown = f"{value:.{1 if abs(value) >= 100 else 2 if abs(value) >= 1 else 3}f}"
        if float(shown) == 0:
            shown = f"{value:.2g}"
    return shown.replace("-", "−")


def interval(value: Value) -> str:
    """`22.8 to 23.4`, in the unit of the value; empty without."""
    if value.low is None or value.high is None:
        return ""
    write = percent if value.unit == "fraction" else digits
    return f"{write(value.low)} to {write(value.high)}"


@dataclass(frozen=True, slots=True)
class Score:
    """What texts have one by one, under `name` or `…_name`. `lowest` and `highest` say what stands at the ends of the
    scale; `log`: shown on a logarithmic axis."""

    name: str
    title: str
    says: str
    unit: str
    lowest: str
    highest: str
    log: bool = False


_SCORES = (
    Score("words", "Length", "Words per text; marks count as words.", "words", "Shortest", "Longest"),
    Score(
        "self_bleu_4",
        "Self-BLEU-4 of each text",
        "Left: says what no other text says. Right: made of the others' n-grams.",
        "fraction",
        "Most unlike the others",
        "Most repetitive",
    ),
    Score(
        "perplexity",
        "Perplexity of each text",
        "To the scoring PLM, on a logarithmic scale. Left: predictable. Right: surprising or garbled.",
        "perplexity",
        "Least surprising",
        "Most surprising",
        log=True,
    ),
    Score(
        "nearest_distance",
        "Nearest neighbour",
        "Cosine distance to the most alike other text. At the left edge stand paraphrases and repeats.",
        "cosine distance",
        "Closest to another text",
        "Furthest from any other",
    ),
    Score(
        "self_confidence",
        "Confidence in the given label",
        "Probability of the label by a model trained on the other rows. The left edge is where labels look wrong.",
        "fraction",
        "Least sure of the label",
        "Surest of the label",
    ),
    Score(
        "oracle_probability",
        "The oracle's confidence in the given label",
        "Probability of the label by a model trained on gold labels.",
        "fraction",
        "The oracle doubts most",
        "The oracle is surest",
    ),
    Score(
        "typicality",
        "Typicality",
        "Cosine to the mean embedding. Right: the middle of the dataset. Left: its edge.",
        "",
        "Least typical",
        "Most typical",
    ),
    Score(
        "log_probability",
        "Generator log-probability",
        "Mean per token, by the generator itself. Right: what it found most natural to write.",
        "nats per token",
        "Least likely to the generator",
        "Most likely to the generator",
    ),
    Score(
        "self_repetition",
        "Self-repetition of each text",
        "Left: no 4-gram of another text. Right: many, of many texts.",
        "nats",
        "Least repeated",
        "Most repeated",
    ),
    Score(
        "homogenisation",
        "Likeness to other texts",
        "Mean ROUGE-L with the texts that it was compared with.",
        "fraction",
        "Least like the others",
        "Most like the others",
    ),
)

_FLAGS = {
    "near_duplicate": "Nearly repeats an earlier row",
    "no_final_mark": "Has no mark at its end",
    "prompt_echo": "Repeats what it was written about",
    "label_error": "The label looks wrong",
    "leaked": "Stands in the real test split",
}


def score_of(name: str) -> Score:
    """How to show the scores `name`; those that nobody described under their own name."""
    for score in _SCORES:
        if name == score.name or name.endswith(f"_{score.name}"):
            return score
    title = name.replace("_", " ")
    return Score(name, title[:1].upper() + title[1:], "", "", "Lowest", "Highest")


def score_order(names: Iterable[str]) -> list[str]:
    """`names` in the order of a report; those that nobody described come last, as they stand."""
    known = [score.name for score in _SCORES]

    def place(name: str) -> int:
        score = score_of(name)
        return known.index(score.name) if score.name in known else len(known)

    return sorted(names, key=place)


def flag_title(name: str) -> str:
    """What a 1 says where every text has 0 or 1."""
    title = name.replace("_", " ")
    return _FLAGS.get(name, title[:1].upper() + title[1:])
