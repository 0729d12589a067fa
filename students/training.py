"""How students that learn by gradient steps are trained: rows held out, epochs in batches, the best epoch kept.

Selection looks at held-out training rows only. Whatever is random comes from the seed: torch's part inside `seeded`,
the order of the rows from a numpy stream of the student's own.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pydantic import Field

from students.protocol import History, Report, StudentSettings
from students.words import length_batches

if TYPE_CHECKING:
    import torch

Rows = npt.NDArray[np.int64]


class TrainingSettings(StudentSettings):
    """What `train_epochs` reads; `held_out` is the share of the rows that epochs are chosen by."""

    batch_size: int = Field(32, ge=1, le=65_536)
    epochs: int = Field(20, ge=1, le=1000)
    patience: int = Field(5, ge=1)
    gradient_clip: float = Field(10.0, gt=0)
    held_out: float = Field(0.1, gt=0, lt=1)


def hold_out(count: int, share: float, stream: np.random.Generator) -> tuple[list[int], list[int]]:
    """Random row numbers to train on and to hold out, at least one of each where there are two rows."""
    order = stream.permutation(count).tolist()
    held = min(max(1, round(share * count)), count - 1)
    return order[held:], order[:held]


def device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch for the time of a training and leave its global random streams as they were."""
    import torch

    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def _by_held_out_loss(epoch: dict[str, float]) -> float:
    return -epoch["held_out_loss"]


def train_epochs(
    network: "torch.nn.Module",
    optimizer: "torch.optim.Optimizer",
    loss: "Callable[[Rows], torch.Tensor]",
    evaluate: Callable[[], dict[str, float]],
    lengths: Sequence[int],
    settings: TrainingSettings,
    stream: np.random.Generator,
    report: Report,
    *,
    score: Callable[[dict[str, float]], float] = _by_held_out_loss,
    after_step: Callable[[], None] | None = None,
    kept: "torch.nn.Module | None" = None,
) -> History:
    """Train `network`, and leave `kept` (default: `network` itself) with the weights it had after the best epoch.

    `loss` is the mean loss of some training rows, `lengths` their lengths; `evaluate` gives numbers on held-out rows,
    whose `score`, the higher the better, ranks the epochs. `after_step` follows every step of the optimizer: learning
    rate schedules, averages of weights. `History.chosen` has the best `epoch`.

    Raises:
        ValueError: no epoch's score is a number.
    """
    import torch

    kept = network if kept is None else kept
    rows, history = len(lengths), History()
    best, best_epoch, best_state = float("-inf"), 0, dict[str, torch.Tensor]()
    for epoch in range(1, settings.epochs + 1):
        network.train()
        total = done = 0.0
        for batch in length_batches(lengths, settings.batch_size, stream):
            batch_loss = loss(batch)
            optimizer.zero_grad(set_to_none=True)
            batch_loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(network.parameters(), settings.gradient_clip)
            optimizer.step()
            if after_step is not None:
                after_step()
            total, done = total + float(batch_loss.detach()) * len(batch), done + len(batch)
            report((epoch - 1) * rows + done, settings.epochs * rows, f"epoch {epoch}")
        history.epochs.append({"loss": total / done, **evaluate()})
        found = score(history.epochs[-1])
        if found > best:
            best, best_epoch = found, epoch
            best_state = {name: value.detach().cpu().clone() for name, value in kept.state_dict().items()}
        elif epoch - best_epoch >= settings.patience:
            break
    if not best_epoch:
        raise ValueError("the loss on held-out rows was never a number: lower 'learning_rate'")
    kept.load_state_dict(best_state)
    history.chosen["epoch"] = best_epoch
    return history
