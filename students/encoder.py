"""Student `encoder`: a pre-trained encoder from Hugging Face, fine-tuned whole with a head for the task's family.

A head for sequences where there are labels (the model's own or, with `pooling: mean`, a linear one over the mean of the
tokens' states, as sentence-transformers are trained), a head for spans (start and end) for extractive QA. The
defaults are the paper's recipe (Ye et al., EMNLP 2022): DistilBERT, 3 epochs of batches of 32, AdamW 2e-5 that falls
linearly to 0, weight decay 0.01, at most 128 tokens, a tenth of the rows held out to choose the epoch by; for QA
windows of 384 tokens that share 128.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from students.pretrained import even_batches, load_encoder, positions, quiet
from students.protocol import Examples, Family, History, ModelPlace, Probabilities, Report, Target
from students.tokens import TokenRows, Windows, token_rows, windows
from students.training import Rows, TrainingSettings, device, hold_out, seeded, train_epochs

if TYPE_CHECKING:
    import torch

DESCRIPTION, HEAD = "encoder.json", "head.safetensors"
_ADAM_EPSILON = 1e-8
_LONGEST_ANSWER = 30
_PREDICT_TOKENS = 4096
"""Tokens read together at prediction, padding included."""


DISTILBERT, DISTILBERT_REVISION = "distilbert/distilbert-base-uncased", "12040accade4e8a0f71eabdb258fecc2e7e948be"


class Settings(TrainingSettings):
    """The recipe. `warmup` is the share of the steps over which the learning rate rises; then it falls linearly to 0.

    `dtype` is what the products of matrices are trained in (the weights stay float32); `auto` is bfloat16 where the
    device is made for it, and a board puts in its place what that comes to.
    `max_tokens` bounds a row with a label, and `pooling` is what its head sees; `window` and `overlap` are of the
    windows over a context, in tokens.
    """

    model: str = Field(DISTILBERT, min_length=1)
    revision: str | None = Field(None, pattern=r"^[0-9a-f]{40}$")
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    learning_rate: float = Field(2e-5, gt=0, le=1)
    weight_decay: float = Field(0.01, ge=0, le=1)
    warmup: float = Field(0.0, ge=0, lt=1)
    epochs: int = Field(3, ge=1, le=1000)
    gradient_clip: float = Field(1.0, gt=0)
    pooling: Literal["head", "mean"] = "head"
    max_tokens: int = Field(128, ge=8, le=100_000)
    window: int = Field(384, ge=32, le=100_000)
    overlap: int = Field(128, ge=0, le=100_000)

    @model_validator(mode="before")
    @classmethod
    def _default_revision(cls, data: Any) -> Any:
        """The pinned commit is that of the default model and of no other."""
        if isinstance(data, dict) and data.get("model", DISTILBERT) == DISTILBERT:
            return {"revision": DISTILBERT_REVISION, **data}
        return data


class Student:
    """See the module."""

    VERSION: ClassVar[int] = 1
    FAMILIES: ClassVar[tuple[Family, ...]] = ("text-classification", "text-pair-classification", "extractive-qa")

    def __init__(self, settings: Settings, target: Target) -> None:
        self.settings = settings
        self.target = target
        self._network: Any = None
        self._tokenizer: Any = None

    def fit(self, examples: Examples, seed: int, report: Report) -> History:
        """Start from the pre-trained weights, with a random head.

        Raises:
            ValueError: fewer than two labels have rows; an answer is not in its context at its offset, or no window has
                one; the pre-trained files cannot be loaded or are not whole.
        """
        import torch

        from students.spans import check_answers

        if self.target.family == "extractive-qa":
            check_answers(examples)
        elif len(found := sorted(set(examples.label))) < 2:
            raise ValueError(f"expected rows of at least two labels, found only {found}")
        assert self.target.pretrained is not None, "the harness finds the files of 'model'"
        settings = self.settings
        stream = np.random.Generator(np.random.Philox(seed))
        train_rows, held_rows = hold_out(len(examples), settings.held_out, stream)
        with seeded(seed):
            self._network, self._tokenizer = _pretrained(self.target.pretrained, self.target, settings.pooling)
            self._network.to(device())
            encode = self._encode_spans if self.target.family == "extractive-qa" else self._encode_labelled
            rows, targets = encode(examples, train_rows)
            held_out, held_targets = encode(examples, held_rows)
            if not len(rows) or not len(held_out):
                raise ValueError(
                    "expected whole answers in windows, to train on and to hold out; add rows or raise 'window'"
                )
            steps = settings.epochs * -(-len(rows) // settings.batch_size)
            optimizer, schedule = _optimizer(self._network, settings, steps)

            def loss(batch: Rows) -> torch.Tensor:
                with _mixed_precision(settings.dtype):
                    scores = self._scores(rows.take(batch.tolist()))
                return _cross_entropy(scores, targets[torch.from_numpy(batch)])

            history = train_epochs(
                self._network,
                optimizer,
                loss,
                lambda: self._evaluate(held_out, held_targets),
                rows.lengths(),
                settings,
                stream,
                report,
                score=_by_accuracy,
                after_step=schedule.step,
            )
        self._network.eval()
        history.chosen |= {"held_out_rows": len(held_rows), "precision": _precision(settings.dtype)}
        return history

    @property
    def _max_tokens(self) -> int:
        wanted = self.settings.window if self.target.family == "extractive-qa" else self.settings.max_tokens
        return min(wanted, positions(self._network, self._tokenizer))

    def _token_rows(self, examples: Examples) -> TokenRows:
        is_pair = self.target.family == "text-pair-classification"
        columns = (examples.text, examples.text_pair) if is_pair else (examples.text,)
        return token_rows(self._tokenizer, columns, self._max_tokens)

    def _windows(self, examples: Examples) -> Windows:
        return windows(self._tokenizer, examples.question, examples.context, self._max_tokens, self.settings.overlap)

    def _encode_labelled(self, examples: Examples, rows: Sequence[int]) -> "tuple[TokenRows, torch.Tensor]":
        """The rows' tokens, and the numbers of their labels [rows, 1]."""
        import torch

        some = examples.take(rows)
        return self._token_rows(some), torch.tensor([[self.target.labels.index(label)] for label in some.label])

    def _encode_spans(self, examples: Examples, rows: Sequence[int]) -> "tuple[TokenRows, torch.Tensor]":
        """The rows' windows, and the first and last token of the answer in each [windows, 2].

        Where a window has not the whole answer, both are its CLS token; a window of a model without one is left out.
        """
        import torch

        some = examples.take(rows)
        found = self._windows(some)
        kept, targets = list[int](), list[tuple[int, int]]()
        for window, question in enumerate(found.question):
            span = found.span_of(some.answers[question][0], window)
            if span is None and self._tokenizer.cls_token_id is not None:
                null = np.flatnonzero(found.rows.ids[window] == self._tokenizer.cls_token_id)[:1].tolist()
                span = (null[0], null[0]) if null else None
            if span is not None:
                kept.append(window)
                targets.append(span)
        return found.rows.take(kept), torch.tensor(targets).reshape(-1, 2)

    def _scores(self, rows: TokenRows) -> "torch.Tensor":
        """Logits of labels [rows, 1, labels], or of each token as start and as end [rows, 2, tokens], on the device."""
        import torch

        batch = {
            name: torch.from_numpy(array).to(device())
            for name, array in rows.batch(self._tokenizer.pad_token_id).items()
        }
        output = self._network(**batch)
        if self.target.family != "extractive-qa":
            labels: torch.Tensor = output.logits[:, None].float()
            return labels
        spans = torch.stack([output.start_logits, output.end_logits], dim=1).float()
        # Padding is no place: with it in the softmax a row's loss would depend on the rows beside it.
        return spans.masked_fill(batch["attention_mask"][:, None] == 0, -torch.inf)

    def _evaluate(self, rows: TokenRows, targets: "torch.Tensor") -> dict[str, float]:
        """Mean loss, and the share of rows (or windows) whose targets all have the highest score."""
        loss, right = 0.0, 0

        def add(batch: list[int], scores: "torch.Tensor") -> None:
            nonlocal loss, right
            loss += float(_cross_entropy(scores, targets[batch])) * len(batch)
            right += int((scores.argmax(2).cpu() == targets[batch]).all(1).sum())

        self._predict(rows, add)
        return {"held_out_loss": loss / len(rows), "held_out_accuracy": right / len(rows)}

    def _predict(self, rows: TokenRows, take: "Callable[[list[int], torch.Tensor], None]") -> None:
        """Hand the scores of all rows to `take`, in batches of similar length; in float32."""
        import torch

        self._network.eval()
        with torch.inference_mode():
            for batch in even_batches(rows.lengths(), _PREDICT_TOKENS):
                take(batch, self._scores(rows.take(batch)))

    def predict_proba(self, examples: Examples) -> Probabilities:
        rows = self._token_rows(examples)
        result = np.zeros((len(rows), len(self.target.labels)))

        def put(batch: list[int], scores: "torch.Tensor") -> None:
            result[batch] = scores[:, 0].double().softmax(1).cpu().numpy()

        self._predict(rows, put)
        return result

    def predict_answers(self, examples: Examples) -> list[str]:
        """The span with the highest start + end over all windows of a context; of at most 30 tokens."""
        import torch

        from students.spans import best_spans

        found = self._windows(examples)
        answers, best = [""] * len(examples), np.full(len(examples), -np.inf)

        def put(batch: list[int], scores: "torch.Tensor") -> None:
            barred = torch.ones_like(scores[:, 0], dtype=torch.bool)
            for row, window in enumerate(batch):
                may = torch.from_numpy(found.may_answer(window))
                barred[row, : len(may)] = ~may.to(barred.device)
            scores = scores.masked_fill(barred[:, None], -torch.inf)
            spans = best_spans(scores[:, 0], scores[:, 1], _LONGEST_ANSWER)
            for window, first, last, score in zip(batch, *(column.tolist() for column in spans), strict=True):
                question = found.question[window]
                if score > best[question]:
                    best[question] = score
                    answers[question] = examples.context[question][found.characters(window, first, last)]

        self._predict(found.rows, put)
        return answers

    def parameters(self) -> dict[str, int]:
        """`without_embedding` leaves all tables out that are looked up: of words, positions, types of tokens."""
        from torch import nn

        tables = {
            id(table.weight): table.weight.numel()
            for table in self._network.modules()
            if isinstance(table, nn.Embedding)
        }
        total = sum(parameter.numel() for parameter in self._network.parameters())
        return {"total": total, "without_embedding": total - sum(tables.values())}

    def save(self, folder: Path) -> None:
        from safetensors.torch import save_model

        from students.pooled import MeanPooled

        network = self._network
        with quiet():
            if isinstance(network, MeanPooled):
                save_model(network.classifier, str(folder / HEAD))
                network = network.encoder
            network.save_pretrained(folder)
            self._tokenizer.save_pretrained(folder)
        described = {
            "settings": self.settings.model_dump(exclude={"model", "revision"}),  # the weights are here
            "family": self.target.family,
            "labels": self.target.labels,
        }
        (folder / DESCRIPTION).write_text(json.dumps(described, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        from safetensors.torch import load_model

        from students.pooled import MeanPooled

        described = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        target = Target(described["family"], tuple(described["labels"]), ModelPlace(str(folder), None, "", None))
        student = cls(Settings(**described["settings"]), target)
        place = ModelPlace(str(folder), None, "", None)
        network, student._tokenizer = _pretrained(place, target, student.settings.pooling)
        if isinstance(network, MeanPooled):
            load_model(network.classifier, folder / HEAD)
        student._network = network.to(device()).eval()
        return student


def _pretrained(place: ModelPlace, target: Target, pooling: str) -> tuple[Any, Any]:
    """Network (float32, on the CPU) and tokenizer; what the files lack of the head is drawn by torch's random stream.

    Raises:
        ValueError: the files cannot be read, or lack weights of the encoder itself.
    """
    from transformers import AutoModel, AutoModelForQuestionAnswering, AutoModelForSequenceClassification

    from students.pooled import MeanPooled

    # On a CPU the fused attention is the slower one in training: with dropout it has no kernel of its own there.
    options: dict[str, Any] = {"attn_implementation": "eager"} if device() == "cpu" else {}
    if pooling == "mean" and target.family != "extractive-qa":
        encoder, tokenizer = load_encoder(place, AutoModel, **options)
        return MeanPooled(encoder, len(target.labels)), tokenizer
    options["ignore_mismatched_sizes"] = True  # a head for other labels
    if target.family == "extractive-qa":
        return load_encoder(place, AutoModelForQuestionAnswering, **options)
    options["id2label"] = dict(enumerate(target.labels))
    options["label2id"] = {label: number for number, label in enumerate(target.labels)}
    return load_encoder(place, AutoModelForSequenceClassification, **options)


def _optimizer(network: Any, settings: Settings, steps: int) -> "tuple[Any, Any]":
    """AdamW, without decay of biases and of the weights of norms, and its learning rate by step."""
    import torch

    weights = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {"params": [weight for weight in weights if weight.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [weight for weight in weights if weight.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, eps=_ADAM_EPSILON, fused=True)
    warmup = round(settings.warmup * steps)

    def share(step: int) -> float:
        return step / warmup if step < warmup else (steps - step) / max(1, steps - warmup)

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, share)


def _cross_entropy(scores: "torch.Tensor", targets: "torch.Tensor") -> "torch.Tensor":
    """Mean over all targets; scores [rows, targets, choices], targets [rows, targets]."""
    import torch

    return torch.nn.functional.cross_entropy(scores.flatten(0, 1), targets.flatten().to(scores.device))


def _by_accuracy(epoch: dict[str, float]) -> float:
    """Held-out accuracy, equal ones by loss: a fine-tuned encoder grows too sure of itself before it grows worse."""
    return epoch["held_out_accuracy"] - 1e-6 * epoch["held_out_loss"]


def _precision(dtype: str) -> str:
    """What the products of matrices are trained in."""
    from harness.machine import automatic_dtype

    return automatic_dtype() if dtype == "auto" else dtype


@contextmanager
def _mixed_precision(dtype: str) -> Iterator[None]:
    """Products of matrices in bfloat16 where that is wanted; the weights stay float32."""
    import torch

    with torch.autocast(device(), torch.bfloat16, enabled=_precision(dtype) == "bfloat16"):
        yield
