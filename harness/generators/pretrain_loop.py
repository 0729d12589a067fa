"""The training of a small causal PLM: sizes, model, schedule, checkpoints, validation loss.

A step is a function of the weights, the optimiser's state and the step's number alone, so a run that is
killed at any instant and carries on from its last checkpoint ends with the weights of an undisturbed one, bit
for bit, on the same machine with the same libraries and threads.
"""

import json
import math
import re
import shutil
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel

from harness.errors import HarnessError, did_you_mean, one_of
from harness.generators.pretrain_text import TokenIds, Windows

MAX_SEQUENCE_LENGTH = 1024
BETAS = (0.9, 0.98)
WEIGHT_DECAY = 0.1
CLIP_NORM = 1.0
WARM_UP_SHARE = 0.05
DECAY_SHARE = 0.4
PART_TOKENS = 512
"""A processor takes a batch in parts of so many tokens, whose logits stay in its cache: the smallest PLM
trains 1.8 times as fast, the largest as fast as before."""


@dataclass(frozen=True, slots=True)
class Size:
    """A shape of the GPT-2 architecture, with the peak learning rate and steps of the embedded PLM."""

    layers: int
    width: int
    heads: int
    learning_rate: float
    steps: int


SIZES: Mapping[str, Size] = {
    "7m": Size(layers=6, width=256, heads=8, learning_rate=2e-3, steps=6796),
    "2m": Size(layers=4, width=128, heads=4, learning_rate=4e-3, steps=2785),
    "06m": Size(layers=2, width=64, heads=2, learning_rate=4e-3, steps=2460),
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train. `batch_size` counts sequences, `sequence_length` tokens; `learning_rate` is the peak."""

    size: str
    steps: int
    learning_rate: float
    batch_size: int = 32
    sequence_length: int = 128
    seed: int = 13

    def check(self) -> None:
        """Raises HarnessError for a setting that cannot be trained with."""
        if self.size not in SIZES:
            hint = did_you_mean(self.size, SIZES)
            raise HarnessError(f"--size: expected one of {one_of(SIZES)}, found '{self.size}'{hint}")
        for flag, value in (("--steps", self.steps), ("--batch-size", self.batch_size)):
            if value < 1:
                raise HarnessError(f"{flag}: expected 1 or more, found {value}")
        if not 1 <= self.sequence_length <= MAX_SEQUENCE_LENGTH:
            raise HarnessError(f"--sequence-length: expected 1 to {MAX_SEQUENCE_LENGTH}, found {self.sequence_length}")
        if not 0 < self.learning_rate < math.inf:
            raise HarnessError(f"--learning-rate: expected a number above 0, found {self.learning_rate}")
        if not 0 <= self.seed < 2**63:
            raise HarnessError(f"--seed: expected 0 or more, found {self.seed}")

    def rate(self, step: int) -> float:
        """The learning rate of step 0 … steps - 1: linear warm-up, constant, linear decay towards 0."""
        warm_up = max(1, round(WARM_UP_SHARE * self.steps))
        decay = max(1, round(DECAY_SHARE * self.steps))
        return self.learning_rate * min(1.0, (step + 1) / warm_up, (self.steps - step) / decay)


@dataclass(frozen=True, slots=True)
class Machine:
    """What the training runs on; both go into what a checkpoint must agree with."""

    device: torch.device
    bfloat16: bool

    @classmethod
    def here(cls) -> "Machine":
        """The GPU where there is one, else the processor; bfloat16 where it is computed in hardware."""
        if torch.cuda.is_available():
            return cls(torch.device("cuda"), torch.cuda.is_bf16_supported(including_emulation=False))
        # torch tells only by private functions. Without the file (not Linux) float32 is the safe choice.
        processor = Path("/proc/cpuinfo")
        flags = set(processor.read_text().split()) if processor.exists() else set()
        return cls(torch.device("cpu"), bool(flags & {"avx512_bf16", "amx_bf16", "bf16"}))

    @property
    def precision(self) -> str:
        return "bfloat16 autocast" if self.bfloat16 else "float32"


@dataclass(frozen=True, slots=True)
class Tick:
    """Where the training stands. `loss` is the mean of the last 50 steps, in nats per token."""

    step: int
    steps: int
    loss: float
    tokens_per_second: float
    seconds_left: float


def build_model(size: Size, vocab_size: int, end_of_text: int, recipe: Recipe) -> GPT2LMHeadModel:
    """A fresh model with float32 weights drawn from the recipe's seed; torch's own generator is left as it was.

    It has the positions that it will be trained on and no others: one more would hold noise.
    """
    config = GPT2Config(
        vocab_size=vocab_size,
        n_positions=recipe.sequence_length,
        n_embd=size.width,
        n_layer=size.layers,
        n_head=size.heads,
        resid_pdrop=0.0,  # less than two epochs: nothing to gain from dropout
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=end_of_text,
        eos_token_id=end_of_text,
        pad_token_id=end_of_text,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = GPT2LMHeadModel(config)
    # At 128 tokens faster on a processor than torch's fused attention, and deterministic on a GPU too.
    model.set_attn_implementation("eager")
    return model


def build_optimizer(model: torch.nn.Module) -> torch.optim.AdamW:
    """AdamW with weight decay on the matrices alone: biases and norms have no scale to keep small."""
    matrices = [weight for weight in model.parameters() if weight.dim() > 1]
    vectors = [weight for weight in model.parameters() if weight.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, betas=BETAS, fused=True)


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The checkpoints of one run in a folder. To carry on, a run must have the same settings, `run`."""

    folder: Path
    run: Mapping[str, str | int | float]

    def save(self, step: int, train_seconds: float, model: torch.nn.Module, optimizer: torch.optim.AdamW) -> None:
        """Written beside, then renamed; the older ones go when the new one is in place."""
        beside = self.folder / "unfinished"
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
        # Parameters, not the state dict: that one holds the tied embedding twice.
        save_file({name: weight.detach() for name, weight in model.named_parameters()}, beside / "model.safetensors")
        state = optimizer.state_dict()["state"]
        moments = {f"{index}.{name}": value for index, part in state.items() for name, value in part.items()}
        save_file(moments, beside / "optimizer.safetensors")
        about = {"step": step, "train_seconds": train_seconds, "run": dict(self.run)}
        (beside / "state.json").write_text(json.dumps(about, indent=2), encoding="utf-8")
        older = self._complete()
        beside.rename(self.folder / f"step-{step:09d}")
        for path in older:
            shutil.rmtree(path)

    def load(self, model: torch.nn.Module, optimizer: torch.optim.AdamW) -> tuple[int, float]:
        """Puts the newest checkpoint into both. The steps done and their seconds; (0, 0.0) without one.

        Raises HarnessError for a checkpoint of a run with other settings or other text.
        """
        complete = self._complete()
        if not complete:
            return 0, 0.0
        path = complete[-1]
        try:
            about = json.loads((path / "state.json").read_text(encoding="utf-8"))
            self._check_same_run(about["run"])
            weights = load_file(path / "model.safetensors")
            moments = load_file(path / "optimizer.safetensors")
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise HarnessError(f"{path} cannot be read: {error}; remove it to carry on without it") from error
        with torch.no_grad():
            for name, weight in model.named_parameters():
                weight.copy_(weights[name])
        state: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in moments.items():
            index, name = key.split(".")
            state.setdefault(int(index), {})[name] = value
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
        return int(about["step"]), float(about["train_seconds"])

    def _complete(self) -> list[Path]:
        return sorted(path for path in self.folder.iterdir() if re.fullmatch(r"step-\d{9}", path.name))

    def _check_same_run(self, found: Mapping[str, str | int | float]) -> None:
        differing = [
            f"{name} {found.get(name)} there, {value} here"
            for name, value in self.run.items()
            if found.get(name) != value
        ]
        if differing:
            raise HarnessError(
                f"{self.folder} holds an unfinished run with other settings ({'; '.join(differing)}); "
                "repeat its command to carry on, or remove that folder to start anew"
            )


def train(
    model: torch.nn.Module,
    windows: Windows,
    recipe: Recipe,
    machine: Machine,
    checkpoints: Checkpoints,
    checkpoint_seconds: float,
    report: Callable[[Tick], None],
) -> float:
    """Trains in place from the newest checkpoint to the last step; the wall-clock seconds that it took.

    Steps lost to a kill are made again and timed once. Raises HarnessError when the loss is no longer finite.
    """
    model.to(machine.device).train()
    optimizer = build_optimizer(model)
    done, seconds_before = checkpoints.load(model, optimizer)
    recent: deque[float] = deque(maxlen=50)
    started = saved = time.perf_counter()
    for step in range(done, recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate(step)
        recent.append(_step(model, optimizer, windows.batch(step, recipe.batch_size), machine))
        if not math.isfinite(recent[-1]):
            raise HarnessError(f"the loss is {recent[-1]} at step {step + 1}; lower --learning-rate")
        now = time.perf_counter()
        if now - saved >= checkpoint_seconds or step + 1 == recipe.steps:
            checkpoints.save(step + 1, seconds_before + now - started, model, optimizer)
            saved = now
        per_step = (now - started) / (step + 1 - done)
        report(
            Tick(
                step=step + 1,
                steps=recipe.steps,
                loss=sum(recent) / len(recent),
                tokens_per_second=recipe.batch_size * recipe.sequence_length / per_step,
                seconds_left=per_step * (recipe.steps - step - 1),
            )
        )
    return seconds_before + time.perf_counter() - started


def _step(model: torch.nn.Module, optimizer: torch.optim.AdamW, batch: NDArray[np.int64], machine: Machine) -> float:
    """One update on a batch, shape (sequences, tokens + 1); the loss before it, in nats per token."""
    ids = torch.from_numpy(batch).to(machine.device)
    targets = ids[:, 1:]
    part = max(1, PART_TOKENS // targets.shape[1]) if machine.device.type == "cpu" else len(ids)
    total = 0.0
    optimizer.zero_grad()
    for rows in (slice(start, start + part) for start in range(0, len(ids), part)):
        with torch.autocast(machine.device.type, torch.bfloat16, enabled=machine.bfloat16):
            logits = model(input_ids=ids[rows, :-1], use_cache=False).logits
        summed = F.cross_entropy(logits.float().flatten(0, 1), targets[rows].flatten(), reduction="sum")
        loss = summed / targets.numel()
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
    optimizer.step()
    return total


@torch.no_grad()
def validation_loss(model: torch.nn.Module, tokens: TokenIds, recipe: Recipe, device: torch.device) -> float:
    """Mean loss in nats per token over a row of tokens, shape (tokens,), each but the first predicted once.

    The row is cut every `sequence_length` tokens and a token sees only what stands before it in its own cut,
    as in training.
    """
    model.to(device).eval()
    ids = torch.from_numpy(tokens.astype("int64"))
    length, size = recipe.sequence_length, recipe.batch_size
    full = (len(ids) - 1) // length
    cuts = [ids[start : start + length + 1] for start in range(0, full * length, length)]
    batches = [torch.stack(cuts[start : start + size]) for start in range(0, full, size)]
    if full * length < len(ids) - 1:
        batches.append(ids[None, full * length :])
    total = 0.0
    for batch in batches:
        batch = batch.to(device)
        logits = model(input_ids=batch[:, :-1], use_cache=False).logits
        total += F.cross_entropy(logits.flatten(0, 1).double(), batch[:, 1:].flatten(), reduction="sum").item()
    return total / (len(ids) - 1)
