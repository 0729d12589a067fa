"""The training loop that students share, with a network of one weight and held-out numbers that the test makes up."""

import numpy as np
import pytest
import torch
from torch import nn

from students.protocol import History
from students.training import TrainingSettings, hold_out, seeded, train_epochs

ROWS = 10


def train(
    scores: list[float], settings: TrainingSettings, kept: nn.Module | None = None
) -> tuple[History, nn.Linear, list[float], list[int]]:
    """A run whose epochs get these held-out losses: history, network, its weight after each epoch, size of batches."""
    network = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(network.weight)
    weights: list[float] = []
    batches: list[int] = []

    def loss(batch: np.ndarray) -> torch.Tensor:
        batches.append(len(batch))
        result: torch.Tensor = network(torch.ones(1)).sum()
        return result

    def evaluate() -> dict[str, float]:
        weights.append(float(network.weight.detach()))
        return {"held_out_loss": scores[len(weights) - 1]}

    def after_step() -> None:
        if kept is not None:
            kept.load_state_dict({name: 10 * value for name, value in network.state_dict().items()})

    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    history = train_epochs(
        network,
        optimizer,
        loss,
        evaluate,
        [1] * ROWS,
        settings,
        np.random.default_rng(1),
        lambda done, total, note: None,
        after_step=after_step,
        kept=kept,
    )
    return history, network, weights, batches


def test_the_network_ends_with_the_weights_of_the_best_epoch() -> None:
    history, network, weights, batches = train([3, 1, 2, 1], TrainingSettings(epochs=4, batch_size=4))
    assert history.chosen == {"epoch": 2}
    assert weights == [-3, -6, -9, -12]  # three batches an epoch, gradient 1, learning rate 1
    assert float(network.weight.detach()) == -6
    assert sorted(batches) == [2] * 4 + [4] * 8


def test_patience_counts_epochs_since_the_best() -> None:
    history, *_ = train([3, 1, 2, 2, 2, 0], TrainingSettings(epochs=6, patience=3))
    assert len(history.epochs) == 5


def test_what_is_kept_may_be_an_average_of_the_weights() -> None:
    average = nn.Linear(1, 1, bias=False)
    _, network, weights, _ = train([3, 1, 2], TrainingSettings(epochs=3, batch_size=5), average)
    assert float(average.weight.detach()) == 10 * weights[1]
    assert float(network.weight.detach()) == weights[2]


def test_gradients_are_clipped() -> None:
    *_, weights, _ = train([1], TrainingSettings(epochs=1, batch_size=ROWS, gradient_clip=0.25))
    assert weights == [pytest.approx(-0.25, rel=1e-4)]


def test_a_loss_that_is_no_number_is_no_best_epoch() -> None:
    history, *_ = train([float("nan"), 1], TrainingSettings(epochs=2))
    assert history.chosen == {"epoch": 2}
    with pytest.raises(ValueError, match="learning_rate"):
        train([float("nan")], TrainingSettings(epochs=1))


@pytest.mark.parametrize(("count", "share", "held"), [(2, 0.01, 1), (2, 0.99, 1), (100, 0.1, 10), (100, 0.995, 99)])
def test_every_row_is_either_held_out_or_trained_on(count: int, share: float, held: int) -> None:
    train_rows, held_rows = hold_out(count, share, np.random.default_rng(1))
    assert len(held_rows) == held
    assert sorted([*train_rows, *held_rows]) == list(range(count))


def test_a_seed_fixes_what_torch_draws_and_the_global_stream_goes_on_as_if_nothing_had_been() -> None:
    torch.manual_seed(4)
    expected = torch.rand(2)
    torch.manual_seed(4)
    drawn = []
    for seed in (1, 1, 2):
        with seeded(seed):
            drawn.append(float(torch.rand(1)))
    assert drawn[0] == drawn[1] != drawn[2]
    assert torch.equal(torch.rand(2), expected)
