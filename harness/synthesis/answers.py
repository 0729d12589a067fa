"""What finds answers in a context, to ask questions about: rules, or the entities of a spaCy pipeline."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata

from harness.data.examples import Answer
from harness.errors import HarnessError
from harness.scoring.squad import normalize_answer
from harness.synthesis.answer_rules import RULES_V1, rule_candidates

CandidateFinder = Callable[[str], list[Answer]]
"""The answer candidates of a context: distinct spans of it, by position."""


def candidate_finder(name: str) -> CandidateFinder:
    """The finder called `rules` or `spacy:PIPELINE`; a pipeline is an installed package or a folder.

    Raises HarnessError for another name, and where spaCy or the pipeline is not installed.
    """
    kind, _, pipeline = name.partition(":")
    if name == "rules":
        return rule_candidates
    if kind == "spacy" and pipeline:
        return _spacy_entities(pipeline)
    raise HarnessError(f"expected 'rules' or 'spacy:PIPELINE' to find answers with, found '{name}'")


def finder_version(name: str) -> str:
    """What the candidates of a finder depend on, for keys: told without loading it.

    Raises HarnessError where spaCy or the pipeline, a package, is not installed.
    """
    if name == "rules":
        return RULES_V1
    pipeline = name.partition(":")[2]
    try:
        return f"{name}@{metadata.version(pipeline)}+{metadata.version('spacy')}"
    except metadata.PackageNotFoundError:
        raise HarnessError(
            f"the spaCy pipeline '{pipeline}' is not installed: pip install spacy; "
            f"python -m spacy download {pipeline}; or use 'rules'"
        ) from None


def _spacy_entities(pipeline: str) -> CandidateFinder:
    try:
        import spacy
    except ModuleNotFoundError as error:
        if error.name != "spacy":
            raise
        raise HarnessError(
            f"answers are to be found with the spaCy pipeline '{pipeline}', but spaCy is not installed: "
            f"pip install 'plm-data-harness[spacy]', or use 'rules'"
        ) from None
    try:
        language = spacy.load(pipeline)
    except (OSError, ValueError) as error:  # not there, or not whole
        raise HarnessError(
            f"answers are to be found with the spaCy pipeline '{pipeline}', which cannot be loaded ({error}): "
            f"python -m spacy download {pipeline}, or use 'rules'"
        ) from error

    def entities(context: str) -> list[Answer]:
        spans = {(entity.start_char, entity.end_char) for entity in language(context).ents}
        return [Answer(context[start:end], start) for start, end in sorted(spans)]

    return entities


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many gold answers a finder finds, as fractions of the questions, and at what price.

    `exact`: a reference is a candidate, at its very position. `normalised`: a candidate is a reference under SQuAD's
    normalisation, wherever it stands. `candidates`: the mean number per distinct context.
    """

    exact: float
    normalised: float
    candidates: float


def coverage(contexts: Sequence[str], answers: Sequence[Sequence[Answer]], finder: CandidateFinder) -> Coverage:
    """What a finder finds of the gold answers; one context and its references per question.

    Raises ValueError on unequal or empty input.
    """
    if len(contexts) != len(answers) or not contexts:
        raise ValueError(
            f"expected references for each of at least one context, found {len(answers)} for {len(contexts)}"
        )
    found = {context: finder(context) for context in dict.fromkeys(contexts)}
    spans = {context: set(candidates) for context, candidates in found.items()}
    texts = {context: {normalize_answer(one.text) for one in candidates} for context, candidates in found.items()}
    questions = list(zip(contexts, answers, strict=True))
    exact = sum(not spans[context].isdisjoint(gold) for context, gold in questions)
    normalised = sum(any(normalize_answer(one.text) in texts[context] for one in gold) for context, gold in questions)
    return Coverage(exact / len(questions), normalised / len(questions), sum(map(len, found.values())) / len(found))
