"""Answer candidates of a paragraph by rules: English, without a model, in one pass over its words.

ZeroGen takes the spans of a named-entity recogniser as answers (Ye et al., 2022). People who write questions answer
them with names, numbers and dates, and as often with a short noun phrase; these are what is found here:

| rule     | spans                                                            | example                            |
|----------|------------------------------------------------------------------|------------------------------------|
| name     | capitalised words, with what joins the parts of a name           | `Bank of England`, `J. S. Bach`    |
| number   | numbers with signs and ranges; with the word after them          | `$3.5`, `1848–52`, `40 metres`     |
| date     | day, month and year, as much as there is                         | `3 April 1987`, `May 1, 1950`      |
| quote    | what stands between double quotes                                | `silver jubilee`                   |
| phrase   | two to four content words between function words, verbs or marks | `fishing boats`                    |
|          | one that stands alone: without an article, not beside a verb     | `erosion`                          |
| joined   | two such phrases with `of`, two or three with `and` or `or`      | `melting of glaciers`              |

Each rule earned its place on 4,330 training questions of SQuAD (Rajpurkar et al., 2016) by what it adds to the recall:
about half a point or more for each candidate per paragraph. What did not: other single words, phrases again with their
article (SQuAD's scores ignore it), parts of phrases, prepositional and verb phrases. Of 10,570 validation questions, by
which no rule was chosen, 76 % are found with 40 candidates per paragraph, 53 % with the 19 that are no phrases.
"""

import re
from collections.abc import Iterator

from harness.data.examples import Answer

RULES_V1 = "rules.v1"
"""Name and version of these rules, for keys."""

MAX_WORDS = 8
MAX_CHARACTERS = 100

# Linear in the text: no part can match what the part before it left over, and look-aheads are bounded.
_TOKEN = re.compile(
    r"""
      [$£€¥]?\d+(?:[.,:]\d+)*\w*(?:[-–/][$£€¥]?\d+(?:[.,]\d+)*\w*|-[^\W\d_]+)*%?     # $3.5  1860s  31–17  12-year  31%
    | (?:[^\W\d_]\.){2,}(?!\w)                                                       # U.S.
    | (?:Dr|Mr|Mrs|Ms|St|Sr|Jr|Prof|Gen|Lt|Col|Capt|Rev|Mt|No|[A-Z])\.(?=\s{1,2}[A-Z0-9])   # St. Paul
    | ['’]s\b
    | \w+(?:(?!['’]s\b)[-‐'’&./]\w+)*                                                # mother-in-law  AT&T  d'Alembert
    | [^\w\s] | \n
    """,
    re.VERBOSE,
)
_QUOTE = re.compile(rf'["“](?=\S)([^"“”\n]{{1,{MAX_CHARACTERS}}})(?<=\S)["”]')
_YEAR = re.compile(r"\d{4}")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_DETERMINERS = _words(
    "a an the this that these those his her its their my our your each every some any no another such both all either"
    " neither many most more several few other"
)
_CONJUNCTIONS = _words("and or &")
# Function words: prepositions, subordinators, pronouns, auxiliaries and adverbs. None is part of a phrase.
_FUNCTION_WORDS = _words(
    "in on at by for with from to into onto upon over under between among through during before after about against"
    " within without along across behind beyond near since until till toward towards via per than as like including"
    " despite throughout around above below off out up down amid beside besides except following concerning regarding"
    " due because although though while whereas if unless whether so but nor yet once when where why how who whom"
    " whose which what whatever there here then thus hence therefore however moreover furthermore instead meanwhile"
    " otherwise i you he she it we they me him us them himself herself itself themselves someone anyone everyone"
    " something nothing everything others is are was were be been being am has have had having do does did done doing"
    " will would shall should can could may might must cannot not ought also very too only just even still already"
    " often never always ever usually sometimes again now soon later much less least quite rather almost well far"
    " further away together apart back perhaps maybe ago else e.g i.e etc"
)
# Verbs that a suffix does not give away, and frequent ones in -ed, which would otherwise pass for adjectives.
_VERBS = _words(
    "became become becomes becoming made make makes making took take takes taking taken gave give gives giving given"
    " got get gets getting went go goes going gone came come comes coming said say says saying saw see sees seeing"
    " seen knew know knows known knowing thought think thinks found find finds finding told tell tells felt feel feels"
    " left leave leaves leaving kept keep keeps keeping held hold holds holding began begin begins beginning begun"
    " wrote write writes writing written stood stand stands lost lose loses losing paid pay pays paying met meet meets"
    " ran run runs running sat set sets setting led lead leads leading grew grow grows growing grown fell fall falls"
    " falling fallen brought bring brings bringing bought buy buys buying built build builds sent send sends sending"
    " spent spend spends won win wins winning drew drawn broke broken chose chosen spoke spoken rose risen drove"
    " driven ate eaten forgot understood understand let put cut hit hurt cost read spread show shows shown showing use"
    " uses using include includes contain contains provide provides providing allow allows allowing require requires"
    " requiring cause causes causing help helps helping need needs want wants call calls calling name remain remains"
    " seem seems appear appears occur occurs exist exists refer refers consist consists belong describe describes"
    " develop develops produce produces receive receives consider considers believe believes suggest suggests claim"
    " claims argue argues state states report reports announce create creates form forms based located situated"
    " compared associated related according try tries trying tend tends continue continues serve serves play plays"
    " move moves live lives work works turn turns start starts follow follows change changes increase reduce result"
    " results vary varies involve involves represent represents support supports reach reaches showed used included"
    " contained provided allowed required caused helped needed wanted called named remained seemed appeared occurred"
    " existed referred consisted described developed produced received considered believed suggested claimed argued"
    " stated reported announced created formed tried tended continued served played moved lived worked turned started"
    " followed changed increased reduced resulted involved represented supported reached"
)
_BEFORE_VERBS = _words("i you he she it we they who will would should can could may might must cannot")
_NUMBER_WORDS = _words(
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
    " eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion"
    " trillion half first second third fourth fifth sixth seventh eighth ninth tenth dozen quarter"
)
_MONTHS = _words(
    "January February March April May June July August September October November December Jan Feb Mar Apr Jun Jul"
    " Aug Sept Sep Oct Nov Dec"
)
_NAME_JOINERS = _words("of the de la le du des del della di da van von der den for el al ibn bin y et &")

# Kinds of tokens, a character each so that a run of tokens is a string. The first three are content.
_NAME, _WORD, _NUMBER = "C", "w", "N"
_POSSESSIVE, _DETERMINER, _OF, _CONJUNCTION, _COMMA, _VERB, _OTHER = "'", "d", "o", "c", ",", "v", "x"
_CONTENT = _NAME + _WORD + _NUMBER


def rule_candidates(context: str) -> list[Answer]:
    """The spans of a text that may answer a question about it: distinct, by position, at most 8 words each."""
    matches = list(_TOKEN.finditer(context))
    tokens = [match.group() for match in matches]
    kinds = _kinds(tokens)
    spans = {match.span(1) for match in _QUOTE.finditer(context)}
    for rule in RULES:
        spans.update((matches[first].start(), matches[end - 1].end()) for first, end in rule(tokens, kinds))
    return [Answer(context[start:end], start) for start, end in sorted(spans) if _is_short(context, start, end)]


def _is_short(context: str, start: int, end: int) -> bool:
    return end - start <= MAX_CHARACTERS and len(context[start:end].split()) <= MAX_WORDS


def _kinds(tokens: list[str]) -> str:
    kinds = [_kind(token) for token in tokens]
    for index, token in enumerate(tokens):
        if kinds[index] == _WORD and index > 0 and tokens[index - 1].lower() in _BEFORE_VERBS:
            kinds[index] = _VERB
        # `newly painted houses` against `houses painted red`: between an opening and a content word it describes.
        if kinds[index] == _WORD and token.endswith("ed") and len(token) > 4:
            opened = index > 0 and kinds[index - 1] not in (_NAME, _NUMBER, _VERB, _POSSESSIVE)
            if not (opened and kinds[index + 1 : index + 2] in ([_WORD], [_NAME])):
                kinds[index] = _VERB
    return "".join(kinds)


def _kind(token: str) -> str:
    lower = token.lower()
    if lower in ("'s", "’s"):
        return _POSSESSIVE
    if lower in _CONJUNCTIONS:
        return _CONJUNCTION
    if lower == "of":
        return _OF
    if token == ",":
        return _COMMA
    if lower in _DETERMINERS:
        return _DETERMINER
    if lower in _FUNCTION_WORDS or not (token[0].isalnum() or token[0] in "$£€¥"):
        return _OTHER
    if not token[0].isalpha() or lower in _NUMBER_WORDS:
        return _NUMBER if len(token) > 1 or token.isalnum() else _OTHER
    if token[0].isupper():
        return _NAME
    if lower in _VERBS:
        return _VERB
    return _OTHER if lower.endswith("ly") and len(lower) > 4 else _WORD


# Rules yield spans of tokens, [first, end). They match patterns on the kinds, in which nothing is tried twice.
_Spans = Iterator[tuple[int, int]]
_NAME_RUN = re.compile("C(?:'?[CN])*(?:jj?C(?:'?[CN])*)*")
_MOST_CONTENT, _MOST_JOINED = 4, 5  # tokens
_BEFORE_ALONE, _AFTER_ALONE = ("", _OTHER, _OF, _CONJUNCTION), ("", _OTHER, _COMMA, _CONJUNCTION)
_PHRASE = re.compile("[CwN]+(?:'[CwN]+)*")


def _names(tokens: list[str], kinds: str) -> _Spans:
    # `Bill and Melinda Gates` is one name, `Finland and Poland` are two: both ways.
    for joiners in (_NAME_JOINERS, _NAME_JOINERS | {"and"}):
        joined = "".join("j" if token in joiners else kind for token, kind in zip(tokens, kinds, strict=True))
        for match in _NAME_RUN.finditer(joined):
            yield match.span()


def _numbers(tokens: list[str], kinds: str) -> _Spans:
    for run in re.finditer("N+", kinds):
        yield run.span()
        if kinds[run.end() : run.end() + 1] in (_NAME, _WORD):
            yield run.start(), run.end() + 1


def _dates(tokens: list[str], kinds: str) -> _Spans:
    for index, token in enumerate(tokens):
        if token in _MONTHS:
            first = index - 1 if kinds[index - 1 : index] == _NUMBER else index
            end = index + 2 if kinds[index + 1 : index + 2] == _NUMBER else index + 1
            yield first, end
            if kinds[end : end + 1] == _COMMA and _YEAR.fullmatch("".join(tokens[end + 1 : end + 2])):
                yield first, end + 2


def _phrases(tokens: list[str], kinds: str) -> _Spans:
    ends = dict(match.span() for match in _PHRASE.finditer(kinds))
    for first, end in ends.items():
        alone = kinds[first - 1 : first] in _BEFORE_ALONE and kinds[end : end + 1] in _AFTER_ALONE
        if end - first <= _MOST_CONTENT and (end - first > 1 or alone):
            yield first, end
        if kinds[end : end + 1] in (_OF, _CONJUNCTION):
            second = end + 2 if kinds[end + 1 : end + 2] == _DETERMINER else end + 1
            if second in ends and ends[second] - first <= _MOST_JOINED:
                yield first, ends[second]
        elif kinds[end : end + 1] == _COMMA and end + 1 in ends:
            third = ends[end + 1]
            third += kinds[third : third + 1] == _COMMA
            if kinds[third : third + 1] == _CONJUNCTION and third + 1 in ends:
                yield first, ends[third + 1]


RULES = (_names, _numbers, _dates, _phrases)
