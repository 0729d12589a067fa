"""Trains a small causal PLM on plain text, as the embedded ones were made.

    python -m harness.generators.pretrain reviews.parquet --exclude test.parquet --size 06m --out my-plm

writes a Hugging Face folder that the harness (or anything else) loads offline. A run that was killed carries
on with the same command: its checkpoints stand beside in `my-plm.partial` until the folder is whole. How text
is read and packed stands in `pretrain_text.py`, how it is trained on in `pretrain_loop.py`.
"""

import argparse
import hashlib
import os
import platform
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from safetensors import SafetensorError
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, GPT2LMHeadModel, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from harness.errors import HarnessError
from harness.generators.pretrain_loop import (
    BETAS,
    CLIP_NORM,
    DECAY_SHARE,
    SIZES,
    WARM_UP_SHARE,
    WEIGHT_DECAY,
    Checkpoints,
    Machine,
    Recipe,
    Tick,
    build_model,
    train,
    validation_loss,
)
from harness.generators.pretrain_text import (
    END_OF_TEXT,
    Corpus,
    TokenIds,
    Windows,
    end_of_text_id,
    load_tokenizer,
    pack,
    read_corpus,
    train_tokenizer,
)

SMALLEST_VOCABULARY = 257
"""The 256 bytes and `<|endoftext|>`."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to train on, how and where to. `tokenizer`, a folder with one to share, overrules `vocab_size`."""

    sources: tuple[Path, ...]
    out: Path
    recipe: Recipe
    exclude: tuple[Path, ...] = ()
    column: str = "text"
    vocab_size: int = 8192
    tokenizer: Path | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What was measured. Tokens are counted with `<|endoftext|>`; the loss is in nats per token."""

    parameters: int
    vocab_size: int
    train_tokens: int
    held_out_tokens: int
    train_seconds: float
    validation_loss: float


@dataclass(frozen=True, slots=True)
class Material:
    """The text of a run, read and packed."""

    corpus: Corpus
    tokenizer: Tokenizer
    train: TokenIds
    held_out: TokenIds

    @property
    def digest(self) -> str:
        """A short hash of the tokenizer and everything it read, so that no run carries on with other text."""
        digest = hashlib.sha256(self.tokenizer.to_str().encode())
        for row in (self.train, self.held_out):
            digest.update(len(row).to_bytes(8, "little") + row.tobytes())
        return digest.hexdigest()[:16]


def pretrain(
    request: Request,
    report: Callable[[Tick], None] = lambda tick: None,
    say: Callable[[str], None] = lambda line: None,
    checkpoint_seconds: float = 60.0,
) -> Result:
    """Makes the folder `request.out`, or carries on making it; it appears whole or not at all.

    `report` is called after every step. Raises HarnessError for whatever a user can mend, OSError or
    SafetensorError where the disk refuses to be written.
    """
    _check(request)
    material = _prepare(request, say)
    machine, recipe = Machine.here(), request.recipe
    size, vocab_size = SIZES[recipe.size], material.tokenizer.get_vocab_size()
    run = {**asdict(recipe), "device": machine.device.type, "precision": machine.precision}
    with _workplace(request.out) as work:
        checkpoints = Checkpoints(work, {**run, "text": material.digest})
        windows = Windows(material.train, recipe.sequence_length, recipe.seed)
        model = build_model(size, vocab_size, end_of_text_id(material.tokenizer), recipe)
        train_seconds = train(model, windows, recipe, machine, checkpoints, checkpoint_seconds, report)
        folder = work / "model"
        result = Result(
            parameters=sum(weight.numel() for weight in model.parameters()),
            vocab_size=vocab_size,
            train_tokens=len(material.train),
            held_out_tokens=len(material.held_out),
            train_seconds=train_seconds,
            validation_loss=_export(model, material, folder, recipe, machine),
        )
        card = model_card(request, material.corpus, result, machine)
        (folder / "README.md").write_text(card, encoding="utf-8")
        folder.rename(request.out)
        shutil.rmtree(work)
    return result


def _check(request: Request) -> None:
    """Before any work: everything that can be seen to be wrong without reading the text."""
    request.recipe.check()
    if request.vocab_size < SMALLEST_VOCABULARY:
        raise HarnessError(
            f"--vocab-size: expected {SMALLEST_VOCABULARY} or more (256 bytes and {END_OF_TEXT}), "
            f"found {request.vocab_size}"
        )
    out = request.out
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise HarnessError(f"{out} exists already; name another folder or remove it first")


def _prepare(request: Request, say: Callable[[str], None]) -> Material:
    """Reads, tokenises and packs. Raises HarnessError where that is not enough text to train on."""
    corpus = read_corpus(request.sources, request.exclude, request.column)
    counts = f"{len(corpus.train):,} documents to train on, {len(corpus.held_out):,} held out"
    say(f"{counts}, {corpus.excluded:,} excluded")
    if request.tokenizer:
        tokenizer = load_tokenizer(request.tokenizer)
    else:
        tokenizer = train_tokenizer(corpus.train, request.vocab_size)
    material = Material(corpus, tokenizer, pack(tokenizer, corpus.train), pack(tokenizer, corpus.held_out))
    say(f"{len(material.train):,} tokens, vocabulary of {tokenizer.get_vocab_size():,}")
    if len(material.train) < 2 * request.recipe.sequence_length:
        raise HarnessError(
            f"expected at least {2 * request.recipe.sequence_length:,} tokens to train on, "
            f"found {len(material.train):,}; name more text or lower --sequence-length"
        )
    return material


@contextmanager
def _workplace(out: Path) -> Iterator[Path]:
    """The folder beside `out` where the run keeps what is unfinished, for one process at a time."""
    out = out.absolute()
    work = out.with_name(out.name + ".partial")
    work.mkdir(parents=True, exist_ok=True)
    lock = FileLock(work / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise HarnessError(f"another process is at work on {out}; wait for it or name another folder") from error
    try:
        yield work
    finally:
        lock.release()


def _export(model: GPT2LMHeadModel, material: Material, folder: Path, recipe: Recipe, machine: Machine) -> float:
    """Writes the Hugging Face folder; the validation loss of the weights it holds, rounded to bfloat16."""
    shutil.rmtree(folder, ignore_errors=True)
    model.bfloat16().save_pretrained(folder)
    PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=material.tokenizer,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        model_max_length=recipe.sequence_length,
        clean_up_tokenization_spaces=False,  # or decoding would not give the text back
    ).save_pretrained(folder)
    # safetensors makes its files readable for their owner alone.
    (folder / "model.safetensors").chmod((folder / "config.json").stat().st_mode)
    # The arithmetic is float32, so that the figure does not depend on how a machine rounds.
    saved = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return validation_loss(saved, material.held_out, recipe, machine.device)


def model_card(request: Request, corpus: Corpus, result: Result, machine: Machine) -> str:
    """The README.md of the folder: what was trained, on what, how, and what came of it."""
    recipe = request.recipe
    size = SIZES[recipe.size]
    seen = recipe.steps * recipe.batch_size * recipe.sequence_length
    hardware = torch.cuda.get_device_name() if machine.device.type == "cuda" else platform.machine()
    excluded = f", normalised form found in {_names(request.exclude)}" if request.exclude else ""
    return f"""---
library_name: transformers
pipeline_tag: text-generation
---

# {request.out.absolute().name}

A small causal language model. GPT-2 architecture, {result.parameters:,} parameters
({size.layers} layers, width {size.width}, {size.heads} heads, {recipe.sequence_length} positions, tied embeddings),
byte-level BPE of {result.vocab_size:,} entries, weights in bfloat16 safetensors.

## Text

| | |
|---|---|
| sources | {_names(request.sources)} |
| rows read | {corpus.rows:,} |
| empty | {corpus.empty:,} |
| left out{excluded} | {corpus.excluded:,} |
| held out for validation | {len(corpus.held_out):,} ({result.held_out_tokens:,} tokens) |
| trained on | {len(corpus.train):,} ({result.train_tokens:,} tokens) |

Line-break tags became newlines; `{END_OF_TEXT}` stands before each document.

## Training

{recipe.steps:,} steps of {recipe.batch_size} × {recipe.sequence_length} tokens: {seen:,} tokens,
{seen / result.train_tokens:.2f} epochs. AdamW {BETAS}, weight decay {WEIGHT_DECAY} on matrices,
peak learning rate {recipe.learning_rate}, linear warm-up over {WARM_UP_SHARE:.0%} of the steps, constant,
linear decay over the last {DECAY_SHARE:.0%}, gradient norm clipped at {CLIP_NORM}, {machine.precision},
seed {recipe.seed}.
{result.train_seconds:,.0f} seconds on {machine.device.type} ({hardware}, threads: {torch.get_num_threads()});
torch {version("torch")}, transformers {version("transformers")}.

**Validation loss: {result.validation_loss:.4f} nats per token**, on the held-out documents, in the saved
bfloat16 weights.

```
{_command(request)}
```

## Limits

It continues text of the kind it was trained on, errors and prejudice included.
What it writes, and how much of it is learnt by heart, has not been measured.
"""


def _names(paths: Sequence[Path]) -> str:
    """File names alone: a card is published, the folders of the machine that made it are not."""
    return ", ".join(f"`{path.absolute().name}`" for path in paths)


def _command(request: Request) -> str:
    recipe = request.recipe
    words = ["python", "-m", "harness.generators.pretrain"]
    words += [path.absolute().name for path in request.sources]
    for path in request.exclude:
        words += ["--exclude", path.absolute().name]
    if request.tokenizer:
        words += ["--tokenizer", request.tokenizer.absolute().name]
    else:
        words += ["--vocab-size", str(request.vocab_size)]
    words += ["--column", request.column, "--size", recipe.size, "--steps", str(recipe.steps)]
    words += ["--sequence-length", str(recipe.sequence_length), "--batch-size", str(recipe.batch_size)]
    words += ["--learning-rate", str(recipe.learning_rate), "--seed", str(recipe.seed)]
    return shlex.join([*words, "--out", request.out.absolute().name])


@contextmanager
def progress(console: Console) -> Iterator[Callable[[Tick], None]]:
    """Shows the steps: a bar on a terminal, elsewhere a plain line every ten seconds and one at the end."""
    if not console.is_terminal:
        yield _plain_lines()
        return
    columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=None)
        yield lambda tick: bar.update(task, total=tick.steps, completed=tick.step, description=_figures(tick))


def _plain_lines() -> Callable[[Tick], None]:
    shown = time.perf_counter()

    def show(tick: Tick) -> None:
        nonlocal shown
        if tick.step == tick.steps or time.perf_counter() - shown >= 10:
            shown = time.perf_counter()
            _say(f"step {tick.step:,} of {tick.steps:,}: {_figures(tick)}")

    return show


def _figures(tick: Tick) -> str:
    minutes, seconds = divmod(round(tick.seconds_left), 60)
    return f"loss {tick.loss:.3f}, {tick.tokens_per_second:,.0f} tokens/s, {minutes}:{seconds:02d} left"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m harness.generators.pretrain",
        description="Train a small causal PLM on plain text and write it as a Hugging Face folder.",
        epilog="A run that was killed carries on with the same command.",
    )
    kinds = "a .txt, .jsonl, .csv or .parquet file, a folder of such files, or a folder that `datasets` saved"
    parser.add_argument("sources", nargs="+", type=Path, metavar="SOURCE", help=kinds)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to make")
    parser.add_argument("--column", default="text", help="the column that holds the text (default: text)")
    parser.add_argument(
        "--exclude", type=Path, action="append", default=[], metavar="SOURCE", help="leave these texts out"
    )
    parser.add_argument("--size", choices=sorted(SIZES), default="7m", help="default: 7m")
    words = parser.add_mutually_exclusive_group()
    words.add_argument("--vocab-size", type=int, default=8192, metavar="N", help="default: 8192")
    words.add_argument("--tokenizer", type=Path, metavar="DIR", help="use this tokenizer, train none")
    parser.add_argument("--sequence-length", type=int, default=128, metavar="N", help="tokens; default: 128")
    parser.add_argument("--batch-size", type=int, default=32, metavar="N", help="sequences; default: 32")
    parser.add_argument("--steps", type=int, metavar="N", help="default: as the embedded PLM of this size")
    parser.add_argument("--learning-rate", type=float, metavar="RATE", help="peak; default: likewise")
    parser.add_argument("--seed", type=int, default=13, metavar="N", help="default: 13")
    return parser


def _request(arguments: argparse.Namespace) -> Request:
    size = SIZES[arguments.size]
    recipe = Recipe(
        size=arguments.size,
        steps=size.steps if arguments.steps is None else arguments.steps,
        learning_rate=size.learning_rate if arguments.learning_rate is None else arguments.learning_rate,
        batch_size=arguments.batch_size,
        sequence_length=arguments.sequence_length,
        seed=arguments.seed,
    )
    return Request(
        sources=tuple(arguments.sources),
        out=arguments.out,
        recipe=recipe,
        exclude=tuple(arguments.exclude),
        column=arguments.column,
        vocab_size=arguments.vocab_size,
        tokenizer=arguments.tokenizer,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; 0 when the folder stands, 2 for an error of the user's, 130 when interrupted."""
    request = _request(_parser().parse_args(argv))
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    if torch.cuda.is_available():
        # Sums in a fixed order, so that a run carries on to the same weights on a GPU too.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with progress(Console(stderr=True)) as report:
            result = pretrain(request, report, _say)
    except (HarnessError, OSError, SafetensorError) as error:
        _say(f"error: {error}")
        return 2
    except KeyboardInterrupt:
        _say("stopped; the same command carries on")
        return 130
    print(f"{request.out}: validation loss {result.validation_loss:.4f} nats per token")
    return 0


if __name__ == "__main__":
    sys.exit(main())
