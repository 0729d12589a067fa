"""What classifiers share that learn their words from the training rows: `bilstm` and `pair_bilstm`."""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from pydantic import Field

from students.protocol import Examples, Family, History, Probabilities, Report, Target
from students.training import Rows, TrainingSettings, device, hold_out, seeded, train_epochs
from students.words import Vocabulary, pad

if TYPE_CHECKING:
    import torch
    from torch import nn

_PREDICT_BATCH = 128

Row = Sequence[Sequence[int]]
"""The word ids of each text of a row, none of them empty."""


class WordClassifierSettings(TrainingSettings):
    """The recipe; `max_words` bounds the cost of a text."""

    embedding: int = Field(100, ge=1, le=4096)
    hidden: int = Field(150, ge=1, le=4096)
    dropout: float = Field(0.5, ge=0, lt=1)
    vocabulary: int = Field(50_000, ge=1, le=1_000_000)
    max_words: int = Field(400, ge=1, le=10_000)
    learning_rate: float = Field(1e-4, gt=0, le=1)


class WordClassifier(ABC):
    """A student with a network from padded word ids and their lengths to logits; a subclass brings the network.

    The ids of `rows` rows with two texts each are [2 * rows, words], the first texts above the second ones.
    """

    VERSION: ClassVar[int]
    FAMILIES: ClassVar[tuple[Family, ...]]
    NAME: ClassVar[str]
    SETTINGS: ClassVar[type[WordClassifierSettings]]

    def __init__(self, settings: WordClassifierSettings, target: Target) -> None:
        self.settings = settings
        self.labels = list(target.labels)
        self._vocabulary = Vocabulary(())
        self._network: nn.Module | None = None

    @abstractmethod
    def _new_network(self) -> "nn.Module":
        """A network for the vocabulary and the labels, on the CPU, not trained; its `embedding` is of words."""

    def _texts(self, examples: Examples) -> list[Sequence[str]]:
        """The columns of texts that a row has."""
        return [examples.text]

    def fit(self, examples: Examples, seed: int, report: Report) -> History:
        """Train from scratch.

        Raises:
            ValueError: fewer than two labels have rows.
        """
        import torch

        found = sorted(set(examples.label))
        if len(found) < 2:
            raise ValueError(f"expected rows of at least two labels, found only {found}")
        settings = self.settings
        stream = np.random.Generator(np.random.Philox(seed))
        train_rows, held_rows = hold_out(len(examples), settings.held_out, stream)
        train, held = examples.take(train_rows), examples.take(held_rows)
        self._vocabulary = Vocabulary.build(
            (text for column in self._texts(train) for text in column), settings.vocabulary
        )
        rows, targets = self._encode(train), self._targets(train)
        held_out, held_targets = self._encode(held), self._targets(held)
        with seeded(seed):
            network = self._network = self._new_network().to(device())
            optimizer = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)

            def loss(batch: Rows) -> torch.Tensor:
                logits = self._logits(network, [rows[index] for index in batch])
                return torch.nn.functional.cross_entropy(logits, targets[torch.from_numpy(batch)].to(device()))

            def evaluate() -> dict[str, float]:
                logits = self._all_logits(held_out)
                return {
                    "held_out_loss": float(torch.nn.functional.cross_entropy(logits, held_targets)),
                    "held_out_accuracy": float((logits.argmax(1) == held_targets).float().mean()),
                }

            lengths = [_length(row) for row in rows]
            history = train_epochs(network, optimizer, loss, evaluate, lengths, settings, stream, report)
        history.chosen |= {"held_out_rows": len(held_rows), "words": len(self._vocabulary)}
        return history

    def _encode(self, examples: Examples) -> list[Row]:
        columns = [self._vocabulary.encode(texts, self.settings.max_words) for texts in self._texts(examples)]
        return list(zip(*columns, strict=True))

    def _targets(self, examples: Examples) -> "torch.Tensor":
        import torch

        return torch.tensor([self.labels.index(label) for label in examples.label])

    def _logits(self, network: "nn.Module", rows: Sequence[Row]) -> "torch.Tensor":
        import torch

        texts = [row[column] for column in range(len(rows[0])) for row in rows]
        lengths = torch.tensor([len(text) for text in texts])
        logits: torch.Tensor = network(torch.from_numpy(pad(texts)).to(device()), lengths)
        return logits

    def _all_logits(self, rows: Sequence[Row]) -> "torch.Tensor":
        """[rows, labels] on the CPU, computed in batches of similar length."""
        import torch

        assert self._network is not None, "fit or load first"
        self._network.eval()
        order = np.argsort([_length(row) for row in rows], kind="stable")
        result = torch.zeros((len(rows), len(self.labels)))
        with torch.inference_mode():
            for start in range(0, len(rows), _PREDICT_BATCH):
                batch = order[start : start + _PREDICT_BATCH]
                result[torch.from_numpy(batch)] = self._logits(self._network, [rows[i] for i in batch]).cpu()
        return result

    def predict_proba(self, examples: Examples) -> Probabilities:
        return np.asarray(self._all_logits(self._encode(examples)).double().softmax(1).numpy())

    def parameters(self) -> dict[str, int]:
        assert self._network is not None, "fit or load first"
        total = sum(parameter.numel() for parameter in self._network.parameters())
        return {"total": total, "without_embedding": total - self._network.get_parameter("embedding.weight").numel()}

    def save(self, folder: Path) -> None:
        from safetensors.torch import save

        assert self._network is not None, "fit or load first"
        weights = {name: value.cpu().contiguous() for name, value in self._network.state_dict().items()}
        (folder / f"{self.NAME}.safetensors").write_bytes(save(weights))
        described: dict[str, Any] = {
            "settings": self.settings.model_dump(),
            "labels": self.labels,
            "words": self._vocabulary.words,
        }
        (folder / f"{self.NAME}.json").write_text(json.dumps(described, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        from safetensors.torch import load_file

        described = json.loads((folder / f"{cls.NAME}.json").read_text(encoding="utf-8"))
        student = cls(cls.SETTINGS(**described["settings"]), Target(cls.FAMILIES[0], tuple(described["labels"])))
        student._vocabulary = Vocabulary(tuple(described["words"]))
        network = student._new_network()
        network.load_state_dict(load_file(folder / f"{cls.NAME}.safetensors"))
        student._network = network.to(device()).eval()
        return student


def _length(row: Row) -> int:
    """The padded length of a row alone: its longest text."""
    return max(len(text) for text in row)
