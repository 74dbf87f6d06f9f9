"""Popularity: everybody is offered what most users took."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from modicum.data.histories import Histories
from modicum.methods.network import Catalogue, CountedNetwork
from modicum.methods.recommender import Recommender
from modicum.training.batches import Batch


@dataclass(kw_only=True)
class Popularity(Recommender):
    """Rank items by their training events, the same for every user.

    >>> import modicum as mo
    >>> mo.Popularity().name
    'popularity'
    """

    @property
    def length(self) -> int:
        return 2  # the least of which one can be left out; none is read

    def network(self, catalogue: Catalogue) -> Network:
        return Network(catalogue)


class Network(CountedNetwork):
    """One number for each item: its training events."""

    def __init__(self, catalogue: Catalogue) -> None:
        super().__init__()
        self.events: Tensor
        self.register_buffer("events", torch.zeros(len(catalogue), 1))

    def count(self, histories: Histories) -> None:
        self.events[:, 0] = torch.from_numpy(histories.item_counts[1:])

    def encode(self, batch: Batch) -> Tensor:
        return self.events.new_ones(batch.items.shape[0], 1)

    def item_vectors(self) -> Tensor:
        return self.events
