"""A small log and a small network with dropout, on one thread."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from modicum.data.histories import Histories
from modicum.data.simulate import simulate_markov
from modicum.data.split import Split, split
from modicum.training.batches import Windows
from modicum.training.processes import Processes


@pytest.fixture(scope="session")
def parts() -> Split:
    return split(simulate_markov(60, 30, events_per_user=15.0, span_days=60.0, seed=0).log)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def windows(histories: Histories, **settings) -> Windows:
    alone = {"length": 8, "batch_size": 16, "every": True, "seed": 0, "processes": Processes(0, 1)}
    return Windows(histories, **alone | settings)
