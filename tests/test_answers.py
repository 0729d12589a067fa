"""Answer candidates: what the rules find in sentences, spaCy's entities, and how many gold answers either finds."""

import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from harness.data.examples import Answer
from harness.errors import HarnessError
from harness.spec import PromptSet
from harness.synthesis.answer_rules import MAX_CHARACTERS, MAX_WORDS, rule_candidates
from harness.synthesis.answers import Coverage, candidate_finder, coverage

MIRROR = Path(os.environ.get("HARNESS_MIRROR") or "no mirror")
SQUAD = MIRROR / "datasets" / "rajpurkar" / "squad" / "plain_text" / "validation.parquet"


def texts(context: str) -> list[str]:
    return [answer.text for answer in rule_candidates(context)]


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        # Names, with what joins their parts, and without a verb, article or mark beside them.
        ("Later the Bank of England bought it.", {"Bank of England"}),
        ("Her teacher was Johann S. Bach, from Eisenach.", {"Johann S. Bach", "Eisenach"}),
        ("He met Dr. Ada Lovelace in St. Ives.", {"Dr. Ada Lovelace", "St. Ives"}),
        ("It joined the U.S. in May.", {"U.S.", "May"}),
        ("They drove through Rio de la Plata.", {"Rio de la Plata"}),
        ("Levi's Stadium is where AT&T met Jean-Luc d'Alembert.", {"Levi's Stadium", "AT&T"}),
        ("Finland and Poland signed.", {"Finland", "Poland", "Finland and Poland"}),
        ("She left the Trinity College of Art and Music.", {"Trinity College of Art and Music"}),
        # Numbers, with their signs and their units.
        ("It cost $3.50 or about £5,000 each.", {"$3.50", "£5,000"}),
        ("Some 31.6% of 1,200 ships sank.", {"31.6%", "1,200", "1,200 ships"}),
        ("It was 40 metres long and weighed five million tons.", {"40 metres", "five million", "five million tons"}),
        ("A 12-year pact began at 7:30 with a 31–17 vote.", {"12-year", "7:30", "31–17"}),
        # Dates.
        ("It opened on 3 April 1987.", {"3 April 1987"}),
        ("It opened on April 3, 1987, at noon.", {"April 3, 1987", "1987", "April 3"}),
        ("The 1860s saw the war of 1848–52.", {"1860s", "1848–52"}),
        # Quotes.
        ('The so-called “silver jubilee” was named "a very good year" by all.', {"silver jubilee"}),
        ('The so-called “silver jubilee” was named "a very good year" by all.', {"a very good year"}),
        # Phrases, and what joins them.
        ("Their oldest fishing boats were small.", {"oldest fishing boats"}),
        ("Lakes come from the melting of glaciers.", {"melting of glaciers"}),
        ("It exports copper and tin.", {"copper and tin"}),
        ("Common causes are frost, wind, and heavy snow.", {"frost, wind, and heavy snow", "heavy snow"}),
        ("The valleys were made by erosion.", {"erosion"}),
        ("They saw the river's slow current.", {"river's slow current"}),
        ("It relies on newly painted houses.", {"painted houses"}),
    ],
)
def test_what_people_answer_with_is_found(context: str, expected: set[str]) -> None:
    assert expected <= set(texts(context))


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        ("", []),
        (" \n\t ", []),
        ("... ?! — $ % ’", []),
        ("It is what they were to him, and so on.", []),
        ("They persevered until he might hesitate.", []),
        ("The dog barked.", []),
        ("Some tall thin grey stone walls fell.", []),  # longer than answers are
        ("The big old house of thin grey stone walls fell.", ["big old house", "thin grey stone walls"]),
        ("Rome", ["Rome"]),
        ("The Nile is in Egypt.", ["Nile", "Egypt"]),
        ("Oslo has 700,000 people.", ["Oslo", "700,000", "700,000 people"]),
        ("Roses\nTulips", ["Roses", "Tulips"]),
    ],
)
def test_nothing_else_is_found(context: str, expected: list[str]) -> None:
    assert texts(context) == expected


MANY = [
    "The Bank of England paid $3.5 million in May 1950 to “old friends”, and 26 ships sailed. " * 40,
    "A B C D E F G H I J K L M N O P",
    "de la Cruz of the of the Valley 's 's Levi's 's",
    "na\u0308ive cafe\u0301 東京 都 Ärger 𝔘nicode 𝟙𝟚 emoji 😀 Köln\u2009am\u00a0Rhein\r\nNew\n\nYork ﬁne",
    '"" " " “a” “ b ” "c""d" «e»',
]


@pytest.mark.parametrize("context", MANY)
def test_every_candidate_is_a_distinct_short_span_of_the_context_in_order(context: str) -> None:
    found = rule_candidates(context)
    assert found
    places = [(answer.start, answer.start + len(answer.text)) for answer in found]
    assert places == sorted(set(places))
    for answer, (start, end) in zip(found, places, strict=True):
        assert context[start:end] == answer.text == answer.text.strip() != ""
        assert "\n" not in answer.text
        assert len(answer.text.split()) <= MAX_WORDS and len(answer.text) <= MAX_CHARACTERS


@pytest.mark.parametrize("piece", ["Ab ", "A.", "a's", "C's's", "of the ", "1-", "1 ", "May 1, ", "“a ", '"', "é́"])
def test_long_texts_of_one_pattern_take_no_longer_than_others(piece: str) -> None:
    """A rule that went back over what it read would take hours for these."""
    context = "X " + piece * (100_000 // len(piece))
    assert all(context.startswith(answer.text, answer.start) for answer in rule_candidates(context))


def test_a_finder_goes_by_the_name_that_the_task_file_gives() -> None:
    default = PromptSet.model_fields["candidates"].default
    assert candidate_finder(default) is rule_candidates


@pytest.mark.parametrize("name", ["ruled", "spacy", "spacy:", "nltk:punkt", ""])
def test_a_finder_that_does_not_exist_is_refused(name: str) -> None:
    with pytest.raises(HarnessError, match=r"expected 'rules' or 'spacy:PIPELINE'"):
        candidate_finder(name)


def test_without_spacy_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(HarnessError, match=r"pip install 'plm-data-harness\[spacy\]'"):
        candidate_finder("spacy:en_core_web_sm")


def stand_in(spans: dict[str, list[tuple[int, int]]]) -> ModuleType:
    """A `spacy` with one pipeline, `known`, whose entities of a text are given; for machines without spaCy."""

    def load(name: str) -> object:
        if name != "known":
            raise OSError(f"[E050] Can't find model '{name}'")
        entities = {text: [SimpleNamespace(start_char=a, end_char=b) for a, b in at] for text, at in spans.items()}
        return lambda text: SimpleNamespace(ents=entities[text])

    module = ModuleType("spacy")
    module.load = load  # type: ignore[attr-defined]
    return module


def test_entities_become_answers_once_each_by_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    context = "Ada met Bo."
    monkeypatch.setitem(sys.modules, "spacy", stand_in({context: [(8, 10), (0, 3), (8, 10)], "": []}))
    finder = candidate_finder("spacy:known")
    assert finder(context) == [Answer("Ada", 0), Answer("Bo", 8)]
    assert finder("") == []


def test_without_the_pipeline_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spacy", stand_in({}))
    with pytest.raises(HarnessError, match=r"'other'.*python -m spacy download other, or use 'rules'"):
        candidate_finder("spacy:other")


def test_a_pipeline_of_spacy_itself_is_read_from_its_folder(tmp_path: Path) -> None:
    spacy = pytest.importorskip("spacy")
    language = spacy.blank("en")
    ruler = language.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": "PERSON", "pattern": "Ada Lovelace"}, {"label": "GPE", "pattern": "Köln"}])
    language.to_disk(tmp_path / "pipeline")
    context = "In Köln, Ada Lovelace met no one; Ada Lovelace left."
    expected = [Answer("Köln", 3), Answer("Ada Lovelace", 9), Answer("Ada Lovelace", 34)]
    assert candidate_finder(f"spacy:{tmp_path / 'pipeline'}")(context) == expected
    with pytest.raises(HarnessError, match="spacy download no_such_pipeline"):
        candidate_finder("spacy:no_such_pipeline")


def test_coverage_counts_questions_exactly_and_under_squads_normalisation() -> None:
    """Four questions: the very span; with an article; the text at another place; not found."""
    context, other = "The cat saw a cat.", "No bird."
    candidates = {context: [Answer("cat", 4), Answer("cat.", 14)], other: [Answer("bird", 3)]}
    gold = [
        [Answer("dog", 0), Answer("cat", 4)],
        [Answer("The cat", 0)],
        [Answer("cat", 14)],
        [Answer("No", 0)],
    ]
    found = coverage([context, context, context, other], gold, candidates.__getitem__)
    assert found == Coverage(exact=1 / 4, normalised=3 / 4, candidates=3 / 2)


def test_coverage_needs_the_references_of_every_context() -> None:
    for contexts in ([], ["a"]):
        with pytest.raises(ValueError, match="at least one context"):
            coverage(contexts, [], rule_candidates)


@pytest.mark.skipif(not SQUAD.is_file(), reason="no mirror with rajpurkar/squad")
def test_the_rules_find_most_answers_that_people_gave_to_real_questions() -> None:
    import pyarrow.parquet as pq

    rows = pq.read_table(SQUAD, columns=["context", "answers"]).to_pylist()
    gold = [
        [
            Answer(text, start)
            for text, start in zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True)
        ]
        for row in rows
    ]
    found = coverage([row["context"] for row in rows], gold, rule_candidates)
    assert found.normalised >= 0.55
    assert found.candidates <= 45  # with enough of them, anything is found
