"""Student `bidaf`: bidirectional attention flow for extractive question answering (Seo et al., ICLR 2017).

Embeddings of 100 from scratch, characters through 100 filters of width 5, two highway layers, LSTMs of 100 units a
direction, dropout 0.2; Adadelta 0.5, batches of 60, weights averaged with decay 0.999. A question is answered by the
average of the weights; while there have been few steps it looks back less far, min(0.999, (1 + t) / (10 + t)) after t.
A tenth of the training rows is held out, and the epoch with the lowest loss on them is kept.

Contexts of training rows end after 400 words, and rows whose answer lies beyond are left out. At prediction a longer
context is read in windows of as many, each half over the one before, and the best span of any is the answer.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

import numpy as np
from pydantic import Field

from students.protocol import Examples, Family, History, Report, Target
from students.spans import Words, best_spans, check_answers, split, windows
from students.training import Rows, TrainingSettings, device, hold_out, seeded, train_epochs
from students.words import PAD, UNKNOWN, Vocabulary, pad

if TYPE_CHECKING:
    import torch

    from students.networks import BiDaf

MODEL, VOCABULARY = "bidaf.safetensors", "bidaf.json"
_PREDICT_BATCH = 64
_WORD_CHARACTERS = 16
_CHARACTERS = 1000
"""Letters of a word that are read, and different characters that are known, most frequent first."""


class Settings(TrainingSettings):
    """The recipe. `max_words` bounds a training context (at prediction a window), `max_answer` an answer, in words."""

    embedding: int = Field(100, ge=1, le=4096)
    filters: int = Field(100, ge=1, le=4096)
    filter_width: int = Field(5, ge=1, le=_WORD_CHARACTERS)
    hidden: int = Field(100, ge=1, le=4096)
    dropout: float = Field(0.2, ge=0, lt=1)
    vocabulary: int = Field(50_000, ge=1, le=1_000_000)
    max_words: int = Field(400, ge=1, le=10_000)
    max_question: int = Field(60, ge=1, le=1000)
    max_answer: int = Field(30, ge=1, le=1000)
    learning_rate: float = Field(0.5, gt=0, le=10)
    average_decay: float = Field(0.999, ge=0, lt=1)
    batch_size: int = Field(60, ge=1, le=65_536)


@dataclass(frozen=True)
class _Row:
    """A question about (a part of) a context, as numbers of words as they are written."""

    context: Sequence[int]
    question: Sequence[int]


class _Forms:
    """Words as they are written, each with a number, the id of its lower-cased word and the ids of its characters."""

    def __init__(self, words: Vocabulary, characters: Vocabulary) -> None:
        self._words, self._characters = words.ids(), characters.ids()
        self._numbers: dict[str, int] = {}
        self.word: list[int] = []
        self.characters: list[list[int]] = []

    def number(self, form: str) -> int:
        found = self._numbers.get(form)
        if found is None:
            found = self._numbers[form] = len(self.word)
            self.word.append(self._words.get(form.lower(), UNKNOWN))
            self.characters.append([self._characters.get(letter, UNKNOWN) for letter in form[:_WORD_CHARACTERS]])
        return found

    def numbers(self, words: Sequence[str]) -> list[int]:
        """A text without a word is one unknown word without characters."""
        return [self.number(word) for word in words] or [self.number("")]


class Student:
    """See the module."""

    VERSION: ClassVar[int] = 1
    FAMILIES: ClassVar[tuple[Family, ...]] = ("extractive-qa",)

    def __init__(self, settings: Settings, target: Target) -> None:
        self.settings = settings
        self._words = Vocabulary(())
        self._characters = Vocabulary(())
        self._network: BiDaf | None = None

    def fit(self, examples: Examples, seed: int, report: Report) -> History:
        """Train from scratch.

        Raises:
            ValueError: an answer is not where it says in its context, or fewer than two rows can be learnt from.
        """
        import torch
        from torch.optim.swa_utils import AveragedModel

        check_answers(examples)
        settings = self.settings
        contexts, gold, usable = _answered(examples, settings.max_words)
        if len(usable) < 2:
            raise ValueError(
                f"expected at least two rows with their answer in the first {settings.max_words} words of the context, "
                f"found {len(usable)}"
            )
        stream = np.random.Generator(np.random.Philox(seed))
        train, held = ([usable[row] for row in rows] for rows in hold_out(len(usable), settings.held_out, stream))
        questions = [split(question).words[: settings.max_question] for question in examples.question]
        self._learn_words([contexts[row] for row in train], [questions[row] for row in train])
        forms = _Forms(self._words, self._characters)
        rows = {row: _Row(forms.numbers(contexts[row]), forms.numbers(questions[row])) for row in usable}
        spans = torch.tensor([gold.get(row, (0, 0)) for row in range(len(examples))])
        held_spans = spans[held]
        with seeded(seed):
            network = self._new_network().to(device())
            optimizer = torch.optim.Adadelta(network.parameters(), lr=settings.learning_rate)
            average = AveragedModel(network, multi_avg_fn=_average(settings.average_decay))
            kept = self._network = cast("BiDaf", average.module)

            def loss(batch: Rows) -> torch.Tensor:
                chosen = [train[index] for index in batch]
                starts, ends = self._scores(network, forms, [rows[row] for row in chosen])
                first, last = spans[chosen].to(device()).unbind(1)
                return torch.nn.functional.cross_entropy(starts, first) + torch.nn.functional.cross_entropy(ends, last)

            def evaluate() -> dict[str, float]:
                return self._held_out(forms, [rows[row] for row in held], held_spans)

            history = train_epochs(
                network,
                optimizer,
                loss,
                evaluate,
                [len(rows[row].context) for row in train],
                settings,
                stream,
                report,
                after_step=lambda: average.update_parameters(network),
                kept=kept,
            )
        history.chosen |= {
            "held_out_rows": len(held),
            "dropped_rows": len(examples) - len(usable),
            "words": len(self._words),
            "characters": len(self._characters),
        }
        return history

    def _learn_words(self, contexts: Sequence[Sequence[str]], questions: Sequence[Sequence[str]]) -> None:
        """A context counts once, however many questions there are about it."""
        texts = [*{tuple(words): None for words in contexts}, *questions]
        counts = Counter(word for words in texts for word in words)
        lower: Counter[str] = Counter()
        characters: Counter[str] = Counter()
        for word, count in counts.items():
            lower[word.lower()] += count
            for letter in word[:_WORD_CHARACTERS]:
                characters[letter] += count
        self._words = Vocabulary.of(lower, self.settings.vocabulary)
        self._characters = Vocabulary.of(characters, _CHARACTERS)

    def _new_network(self) -> "BiDaf":
        from students.networks import BiDaf

        settings = self.settings
        return BiDaf(
            len(self._words),
            len(self._characters),
            settings.embedding,
            settings.filters,
            settings.filter_width,
            settings.hidden,
            settings.dropout,
        )

    def _scores(self, network: "BiDaf", forms: _Forms, rows: Sequence[_Row]) -> "tuple[torch.Tensor, torch.Tensor]":
        """[rows, words] of each row as the first and as the last word of the answer, on the device."""
        import torch

        texts = [pad([row.context for row in rows]), pad([row.question for row in rows])]
        distinct, places = np.unique(np.concatenate([text.ravel() for text in texts]), return_inverse=True)
        context, question = np.split(places, [texts[0].size])
        characters = pad([[*forms.characters[form], PAD] for form in distinct])

        def tensor(values: Any) -> torch.Tensor:
            return torch.as_tensor(values).to(device())

        scores: tuple[torch.Tensor, torch.Tensor] = network(
            tensor([forms.word[form] for form in distinct]),
            tensor(characters),
            tensor(context.reshape(texts[0].shape)),
            tensor([len(row.context) for row in rows]),
            tensor(question.reshape(texts[1].shape)),
            tensor([len(row.question) for row in rows]),
        )
        return scores

    def _held_out(self, forms: _Forms, rows: Sequence[_Row], spans: "torch.Tensor") -> dict[str, float]:
        """Loss, share of spans found exactly, and mean F1 of their words by place, on held-out rows."""
        import torch

        assert self._network is not None
        self._network.eval()
        loss = exact = f1 = 0.0
        order = np.argsort([len(row.context) for row in rows], kind="stable")
        with torch.inference_mode():
            for begin in range(0, len(rows), _PREDICT_BATCH):
                batch = order[begin : begin + _PREDICT_BATCH]
                starts, ends = self._scores(self._network, forms, [rows[index] for index in batch])
                gold = spans[torch.from_numpy(batch)].to(device())
                for scores, place in zip((starts, ends), gold.unbind(1), strict=True):
                    loss += float(torch.nn.functional.cross_entropy(scores, place, reduction="sum"))
                first, last, _ = best_spans(starts, ends, self.settings.max_answer)
                common = (torch.minimum(last, gold[:, 1]) - torch.maximum(first, gold[:, 0]) + 1).clamp(min=0)
                both = last - first + gold[:, 1] - gold[:, 0] + 2
                exact += float((torch.stack([first, last], dim=1) == gold).all(dim=1).sum())
                f1 += float((2 * common / both).sum())
        count = len(rows)
        return {"held_out_loss": loss / count, "held_out_exact": exact / count, "held_out_f1": f1 / count}

    def predict_answers(self, examples: Examples) -> list[str]:
        """From the first character of the best span's first word to the last of its last; "" if there is no word."""
        import torch

        assert self._network is not None, "fit or load first"
        self._network.eval()
        settings, forms = self.settings, _Forms(self._words, self._characters)
        split_contexts: dict[str, Words] = {context: split(context) for context in set(examples.context)}
        contexts = [split_contexts[context] for context in examples.context]
        rows: list[tuple[int, int, _Row]] = []
        for index, question in enumerate(examples.question):
            asked = forms.numbers(split(question).words[: settings.max_question])
            words = forms.numbers(contexts[index].words)
            rows += [
                (index, begin, _Row(words[begin : begin + settings.max_words], asked))
                for begin in windows(len(words), settings.max_words)
            ]
        best: list[tuple[float, int, int]] = [(-np.inf, 0, 0)] * len(contexts)
        order = np.argsort([len(row.context) for _, _, row in rows], kind="stable")
        with torch.inference_mode():
            for start in range(0, len(rows), _PREDICT_BATCH):
                batch = [rows[place] for place in order[start : start + _PREDICT_BATCH]]
                scores = self._scores(self._network, forms, [row for _, _, row in batch])
                found = (values.tolist() for values in best_spans(*scores, settings.max_answer))
                for (index, begin, _), first, last, score in zip(batch, *found, strict=True):
                    best[index] = max(best[index], (score, begin + first, begin + last))
        return [
            text[words.start[first] : words.end[last]] if words.words else ""
            for text, words, (_, first, last) in zip(examples.context, contexts, best, strict=True)
        ]

    def parameters(self) -> dict[str, int]:
        assert self._network is not None, "fit or load first"
        total = sum(parameter.numel() for parameter in self._network.parameters())
        return {"total": total, "without_embedding": total - self._network.embedding.weight.numel()}

    def save(self, folder: Path) -> None:
        from safetensors.torch import save

        assert self._network is not None, "fit or load first"
        weights = {name: value.cpu().contiguous() for name, value in self._network.state_dict().items()}
        (folder / MODEL).write_bytes(save(weights))
        described = {
            "settings": self.settings.model_dump(),
            "words": self._words.words,
            "characters": self._characters.words,
        }
        (folder / VOCABULARY).write_text(json.dumps(described, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        from safetensors.torch import load_file

        described = json.loads((folder / VOCABULARY).read_text(encoding="utf-8"))
        student = cls(Settings(**described["settings"]), Target("extractive-qa"))
        student._words = Vocabulary(tuple(described["words"]))
        student._characters = Vocabulary(tuple(described["characters"]))
        network = student._new_network()
        network.load_state_dict(load_file(folder / MODEL))
        student._network = network.to(device()).eval()
        return student


def _answered(examples: Examples, max_words: int) -> tuple[list[list[str]], dict[int, tuple[int, int]], list[int]]:
    """The words of each context, at most `max_words`; the first answer's word span and number of each row within."""
    contexts, spans = [], dict[int, tuple[int, int]]()
    cache: dict[str, Words] = {}
    for row, (context, answers) in enumerate(zip(examples.context, examples.answers, strict=True)):
        if context not in cache:
            cache[context] = split(context)
        words = cache[context]
        contexts.append(words.words[:max_words])
        span = words.span_of(answers[0])
        if span is not None and span[1] < max_words:
            spans[row] = span
    return contexts, spans, list(spans)


def _average(decay: float) -> Any:
    """The update of torch's `AveragedModel`: an exponential average that looks back less far in the beginning."""
    import torch

    def update(average: Any, current: Any, steps: Any) -> None:
        done = int(steps)
        torch._foreach_lerp_(average, current, 1 - min(decay, (1 + done) / (10 + done)))

    return update
