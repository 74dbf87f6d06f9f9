"""The loop: the best epoch's weights, what is logged, and the step itself."""

from itertools import pairwise

import pytest
import torch

from modicum.errors import SettingError
from modicum.training.loop import train
from modicum.training.progress import ProgressBar
from modicum.training.settings import TrainingFields

from .conftest import windows

SILENT = ProgressBar("test", shown=False)


class Bigrams(torch.nn.Module):
    """Logits of the next item by the one before, in two named terms."""

    def __init__(self, num_items: int) -> None:
        super().__init__()
        self.logits = torch.nn.Parameter(torch.zeros(num_items + 1, num_items))

    def losses(self, batch):
        there = batch.targets > 0
        own = self.logits[batch.items[there]]
        loss = torch.nn.functional.cross_entropy(own, batch.targets[there] - 1)
        return {"softmax": loss, "weight": 0.01 * self.logits.square().mean()}


def settings(**fields) -> TrainingFields:
    return TrainingFields(**{"epochs": 6, "learning_rate": 0.1, "warmup_steps": 0} | fields)


def fit(parts, network=None, validate=None, **fields):
    network = Bigrams(parts.train.num_items) if network is None else network
    chosen = settings(**fields)
    return network, train(network, windows(parts.train), chosen, validate=validate, bar=SILENT)


def test_every_term_is_logged_as_its_mean_over_targets(parts):
    network, log = fit(parts, epochs=1, learning_rate=1e-12)
    (record,) = log
    everything = next(windows(parts.train, length=100, batch_size=10**6).epoch(0))
    expected = {name: float(term.detach()) for name, term in network.losses(everything).items()}
    assert record["losses"].keys() == {"softmax", "weight"}
    assert record["losses"]["softmax"] == pytest.approx(expected["softmax"], abs=1e-5)
    assert record["targets"] == parts.train.num_events - parts.train.num_users
    assert record["epoch"] == 1 and record["validation"] is None and record["seconds"] >= 0


class Exploding(Bigrams):
    """A loss that is no number from its 20th batch on."""

    asked = 0

    def losses(self, batch):
        self.asked += 1
        terms = super().losses(batch)
        return terms | {"softmax": terms["softmax"] * (1 if self.asked < 20 else float("nan"))}


@pytest.mark.parametrize("best", ["", " or stop at the best epoch with epochs=1"])
def test_a_training_that_diverges_is_stopped(parts, best):
    network = Exploding(parts.train.num_items)
    values = iter([0.5, *[0.1] * 20])
    validate = (lambda: next(values)) if best else None
    with pytest.raises(SettingError, match=rf"20 steps: softmax is nan; lower .*{best}$"):
        fit(parts, network, validate)


def test_the_weights_of_the_best_epoch_are_kept(parts):
    values = iter([0.1, 0.3, 0.2, 0.3, 0.25])
    seen = []

    def validate() -> float:
        seen.append(network.logits.detach().clone())
        return next(values)

    network = Bigrams(parts.train.num_items)
    _, log = fit(parts, network, validate, patience=3)
    assert [record["validation"] for record in log] == [0.1, 0.3, 0.2, 0.3, 0.25]
    assert torch.equal(network.logits, seen[1]) and not torch.equal(seen[1], seen[-1])
    assert not network.training


@pytest.mark.parametrize(("patience", "epochs"), [(1, 3), (2, 4), (0, 6)])
def test_patience_counts_epochs_without_a_better_value(parts, patience, epochs):
    values = iter([0.1, 0.3, 0.2, 0.2, 0.2, 0.2])
    _, log = fit(parts, validate=lambda: next(values), patience=patience)
    assert len(log) == epochs


def test_validation_sees_an_evaluating_network(parts):
    network = Bigrams(parts.train.num_items)
    modes = []
    fit(parts, network, lambda: modes.append(network.training) or 0.0, patience=0)
    assert modes == [False] * 6


def test_without_validation_the_last_weights_stay(parts):
    longer, _ = fit(parts, epochs=3)
    shorter, _ = fit(parts, epochs=2)
    assert not torch.equal(longer.logits, shorter.logits)


def steps_of(parts, **fields) -> list[torch.Tensor]:
    """Return the logits after each batch of an epoch."""
    network, states = Bigrams(parts.train.num_items), []

    class Watch(ProgressBar):
        def advance(self, standing):
            states.append(network.logits.detach().clone())

    train(
        network, windows(parts.train), settings(epochs=1, **fields), bar=Watch("test", shown=False)
    )
    return states


def test_the_first_steps_are_small_and_grow(parts):
    slow, fast = steps_of(parts, warmup_steps=4), steps_of(parts)
    sizes = [float((b - a).abs().max()) for a, b in pairwise([torch.zeros_like(slow[0]), *slow])]
    assert sizes[0] == pytest.approx(0.1 / 4, rel=1e-3) and sizes[0] == min(sizes[:4])
    assert float(fast[0].abs().max()) == pytest.approx(0.1, rel=1e-3)


def test_clipping_bounds_the_gradient(parts):
    norms = []

    class Watched(Bigrams):
        def losses(self, batch):
            if self.logits.grad is not None:
                norms.append(float(self.logits.grad.norm()))
            return {"softmax": 100 * super().losses(batch)["softmax"]}

    fit(parts, Watched(parts.train.num_items), epochs=2, clip_norm=0.5)
    assert norms and max(norms) <= 0.5 + 1e-5
    norms.clear()
    fit(parts, Watched(parts.train.num_items), epochs=2, clip_norm=0.0)
    assert max(norms) > 0.5


def test_frozen_parameters_stay(parts):
    network = Bigrams(parts.train.num_items)
    network.frozen = torch.nn.Parameter(torch.ones(3), requires_grad=False)
    fit(parts, network, epochs=2)
    assert torch.equal(network.frozen, torch.ones(3))


def test_without_a_terminal_each_epoch_is_a_line(parts, capsys):
    network = Bigrams(parts.train.num_items)
    values = iter([0.25, 0.5])
    train(
        network,
        windows(parts.train),
        settings(epochs=2),
        validate=lambda: next(values),
        bar=ProgressBar("bigrams", shown=True),
    )
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("bigrams: epoch 1/2  loss ") and "validation 0.2500" in first
    assert "best 0.5000, epoch 2" in second and "targets/s" in second
