"""Student `bilstm`: the paper's LSTM for text classification (Ye et al., EMNLP 2022), embeddings from scratch.

One bidirectional layer of 150 units a direction on embeddings of 100, dropout 0.5, the 50,000 most frequent words of
the training rows, lower-cased; Adam 1e-4, batches of 32, at most 20 epochs, gradients clipped at 10. A tenth of the
training rows is held out: the epoch with the lowest loss on them is kept, and 5 epochs without a better one end the
training.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from pydantic import Field

from students.protocol import Examples, Family, History, Probabilities, Report, StudentSettings, Target
from students.words import Vocabulary, length_batches, pad

if TYPE_CHECKING:
    import torch

    from students.networks import BiLstmClassifier

MODEL, VOCABULARY = "bilstm.safetensors", "bilstm.json"
_PREDICT_BATCH = 128


class Settings(StudentSettings):
    """The recipe; the defaults are the paper's, `max_words` bounds the cost of a text."""

    embedding: int = Field(100, ge=1, le=4096)
    hidden: int = Field(150, ge=1, le=4096)
    dropout: float = Field(0.5, ge=0, lt=1)
    vocabulary: int = Field(50_000, ge=1, le=1_000_000)
    max_words: int = Field(400, ge=1, le=10_000)
    learning_rate: float = Field(1e-4, gt=0, le=1)
    batch_size: int = Field(32, ge=1, le=65_536)
    epochs: int = Field(20, ge=1, le=1000)
    patience: int = Field(5, ge=1)
    gradient_clip: float = Field(10.0, gt=0)
    held_out: float = Field(0.1, gt=0, lt=1)


class Student:
    """See the module."""

    VERSION: ClassVar[int] = 1
    FAMILIES: ClassVar[tuple[Family, ...]] = ("text-classification",)

    def __init__(self, settings: Settings, target: Target) -> None:
        self.settings = settings
        self.labels = list(target.labels)
        self._vocabulary = Vocabulary(())
        self._network: BiLstmClassifier | None = None

    def fit(self, examples: Examples, seed: int, report: Report) -> History:
        """Train from scratch.

        Raises:
            ValueError: fewer than two labels have rows.
        """
        import torch

        found = sorted(set(examples.label))
        if len(found) < 2:
            raise ValueError(f"expected rows of at least two labels, found only {found}")
        stream = np.random.Generator(np.random.Philox(seed))
        order = stream.permutation(len(examples)).tolist()
        held = min(max(1, round(self.settings.held_out * len(examples))), len(examples) - 1)
        train, validation = examples.take(order[held:]), examples.take(order[:held])
        self._vocabulary = Vocabulary.build(train.text, self.settings.vocabulary)
        with torch.random.fork_rng(devices=_cuda_devices()):
            torch.manual_seed(seed)
            self._network = self._new_network()
            return self._train(self._network, train, validation, stream, report)

    def _new_network(self) -> "BiLstmClassifier":
        from students.networks import BiLstmClassifier

        settings = self.settings
        network = BiLstmClassifier(
            len(self._vocabulary), settings.embedding, settings.hidden, len(self.labels), settings.dropout
        )
        return network.to(_device())

    def _train(
        self,
        network: "BiLstmClassifier",
        train: Examples,
        validation: Examples,
        stream: np.random.Generator,
        report: Report,
    ) -> History:
        import torch

        settings = self.settings
        rows, targets = self._encode(train)
        held_rows, held_targets = self._encode(validation)
        optimizer = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
        lengths = [len(row) for row in rows]
        history, best, best_epoch = History(), float("inf"), 0
        best_state: dict[str, torch.Tensor] = {}
        for epoch in range(1, settings.epochs + 1):
            network.train()
            total = done = 0.0
            for batch in length_batches(lengths, settings.batch_size, stream):
                loss = torch.nn.functional.cross_entropy(
                    self._logits(network, [rows[i] for i in batch]),
                    targets[torch.from_numpy(batch)].to(_device()),
                )
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(network.parameters(), settings.gradient_clip)
                optimizer.step()
                total, done = total + float(loss.detach()) * len(batch), done + len(batch)
                report((epoch - 1) * len(rows) + done, settings.epochs * len(rows), f"epoch {epoch}")
            held_logits = self._all_logits(network, held_rows)
            held_loss = float(torch.nn.functional.cross_entropy(held_logits, held_targets))
            held_accuracy = float((held_logits.argmax(1) == held_targets).float().mean())
            history.epochs.append(
                {"loss": total / done, "held_out_loss": held_loss, "held_out_accuracy": held_accuracy}
            )
            if held_loss < best:
                best, best_epoch = held_loss, epoch
                best_state = {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
            elif epoch - best_epoch >= settings.patience:
                break
        network.load_state_dict(best_state)
        history.chosen = {
            "epoch": best_epoch,
            "held_out_rows": len(held_rows),
            "words": len(self._vocabulary),
        }
        return history

    def _encode(self, examples: Examples) -> "tuple[list[list[int]], torch.Tensor]":
        import torch

        targets = torch.tensor([self.labels.index(label) for label in examples.label])
        return self._vocabulary.encode(examples.text, self.settings.max_words), targets

    def _logits(self, network: "BiLstmClassifier", rows: Sequence[Sequence[int]]) -> "torch.Tensor":
        import torch

        lengths = torch.tensor([len(row) for row in rows])
        logits: torch.Tensor = network(torch.from_numpy(pad(rows)).to(_device()), lengths)
        return logits

    def _all_logits(self, network: "BiLstmClassifier", rows: Sequence[Sequence[int]]) -> "torch.Tensor":
        """[rows, labels] on the CPU, computed in batches of similar length."""
        import torch

        network.eval()
        order = np.argsort([len(row) for row in rows], kind="stable")
        result = torch.zeros((len(rows), len(self.labels)))
        with torch.inference_mode():
            for start in range(0, len(rows), _PREDICT_BATCH):
                batch = order[start : start + _PREDICT_BATCH]
                result[torch.from_numpy(batch)] = self._logits(network, [rows[i] for i in batch]).cpu()
        return result

    def predict_proba(self, examples: Examples) -> Probabilities:
        assert self._network is not None, "fit or load first"
        rows = self._vocabulary.encode(examples.text, self.settings.max_words)
        return np.asarray(self._all_logits(self._network, rows).double().softmax(1).numpy())

    def parameters(self) -> dict[str, int]:
        assert self._network is not None, "fit or load first"
        total = sum(parameter.numel() for parameter in self._network.parameters())
        return {"total": total, "without_embedding": total - self._network.embedding.weight.numel()}

    def save(self, folder: Path) -> None:
        from safetensors.torch import save

        assert self._network is not None, "fit or load first"
        weights = {name: value.cpu().contiguous() for name, value in self._network.state_dict().items()}
        (folder / MODEL).write_bytes(save(weights))
        described: dict[str, Any] = {
            "settings": self.settings.model_dump(),
            "labels": self.labels,
            "words": self._vocabulary.words,
        }
        (folder / VOCABULARY).write_text(json.dumps(described, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        from safetensors.torch import load_file

        described = json.loads((folder / VOCABULARY).read_text(encoding="utf-8"))
        student = cls(Settings(**described["settings"]), Target("text-classification", tuple(described["labels"])))
        student._vocabulary = Vocabulary(tuple(described["words"]))
        student._network = student._new_network()
        student._network.load_state_dict(load_file(folder / MODEL))
        student._network.eval()
        return student


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _cuda_devices() -> list[int]:
    import torch

    return [torch.cuda.current_device()] if torch.cuda.is_available() else []
