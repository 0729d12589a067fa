"""Real contexts in the order in which a synthesis takes them, each with an answer where the task asks for one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from harness.data.examples import Answer
from harness.seeds import hash_order
from harness.synthesis.answers import CandidateFinder


@dataclass(frozen=True, slots=True)
class Given:
    """What a text is written about: nothing, a context, or a context and an answer in it."""

    context: str | None = None
    answer: Answer | None = None


@dataclass
class RealContexts:
    """All contexts in an order fixed by the seed, then once more, and so on.

    With `find_answers` each context comes with up to `answers_in_turn` of its candidates (in an order of its own), one
    after the other, before the next context; in the second round with as many others, and when none is left all begins
    anew. So the first rows of a dataset are about many contexts, and still those about one are written together.
    """

    text: Sequence[str]
    seed: int
    find_answers: CandidateFinder | None = None
    answers_in_turn: int = 1
    _taken: list[Given] = field(default_factory=list, repr=False)
    _rest: Iterator[Given] | None = field(default=None, repr=False)

    def at(self, number: int) -> Given | None:
        """The one of that number; None where no context has a candidate answer."""
        if self._rest is None:
            self._rest = self._all()
        self._taken += islice(self._rest, max(0, number + 1 - len(self._taken)))
        return self._taken[number] if number < len(self._taken) else None

    def _all(self) -> Iterator[Given]:
        order = hash_order(len(self.text), "contexts", self.seed)
        if self.find_answers is None:
            while True:
                for index in order:
                    yield Given(self.text[index])
        answers: dict[int, list[Answer]] = {}
        used = 0
        while True:
            given = False
            for index in order:
                if index not in answers:
                    found = self.find_answers(self.text[index])
                    answers[index] = [found[i] for i in hash_order(len(found), "answers", self.seed, index)]
                for answer in answers[index][used : used + self.answers_in_turn]:
                    given = True
                    yield Given(self.text[index], answer)
            if not given and not used:
                return
            used = used + self.answers_in_turn if given else 0
