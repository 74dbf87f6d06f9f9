"""Transitions: what users took right after the items of the history."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from modicum.data.histories import Histories
from modicum.errors import SettingError
from modicum.methods.network import Catalogue, CountedNetwork
from modicum.methods.recommender import Recommender
from modicum.training.batches import Batch


@dataclass(kw_only=True)
class Transitions(Recommender):
    """First-order item-to-item transitions, summed over the latest items with decaying weight.

    The score of item ``j`` is ``sum_a decay^a P(j | i_a)`` over the latest items ``i_0, i_1, ...``,
    where ``P`` is the share of ``j`` among what followed ``i_a`` in training. Popularity breaks
    ties, scaled so that it never outweighs a transition.

    Args:
        recent: how many of the latest items count.
        decay: weight of an item relative to the one after it, in (0, 1].

    >>> import modicum as mo
    >>> mo.Transitions().recent
    5
    """

    recent: int = 5
    decay: float = 0.5

    @property
    def length(self) -> int:
        return 2 * self.recent  # a window may lack a quarter of its length, never the latest items

    def check(self) -> None:
        super().check()
        if self.recent < 1 or not 0 < self.decay <= 1:
            raise SettingError(
                f"recent={self.recent} must be 1 or more, decay={self.decay} in (0, 1]"
            )

    def network(self, catalogue: Catalogue) -> Network:
        return Network(self, catalogue)


class Network(CountedNetwork):
    """Transition shares as sparse rows: ``shares[first[i]:first[i + 1]]`` belong to item row ``i``."""

    def __init__(self, settings: Transitions, catalogue: Catalogue) -> None:
        super().__init__()
        self.recent, self.decay = settings.recent, settings.decay
        self.first: Tensor
        self.following: Tensor
        self.shares: Tensor
        self.popularity: Tensor
        self.register_buffer("first", torch.zeros(len(catalogue) + 2, dtype=torch.int64))
        self.register_buffer("following", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("shares", torch.zeros(0))
        self.register_buffer("popularity", torch.zeros(len(catalogue)))

    def count(self, histories: Histories) -> None:
        rows = histories.item_rows.astype(np.int64)
        inside = np.ones(len(rows), dtype=bool)
        inside[histories.offsets[:-1]] = False
        size = histories.num_items + 1
        pairs, counts = np.unique(
            rows[:-1][inside[1:]] * size + rows[1:][inside[1:]], return_counts=True
        )
        source, following = np.divmod(pairs, size)
        totals = np.bincount(source, weights=counts, minlength=size)
        self.first = torch.from_numpy(np.searchsorted(source, np.arange(size + 1)))
        self.following = torch.from_numpy(following)
        self.shares = torch.from_numpy((counts / totals[source]).astype(np.float32))
        popularity = histories.item_counts[1:].astype(np.float32)
        self.popularity = torch.from_numpy(popularity / popularity.sum() * 1e-6)

    def encode(self, batch: Batch) -> Tensor:
        """Return the latest item rows, newest first, (B, recent), 0 where there are fewer."""
        at = batch.lengths[:, None] - 1 - torch.arange(self.recent, device=batch.items.device)
        return torch.where(at >= 0, batch.items.gather(1, at.clamp(min=0)), 0)

    def scores(self, users: Tensor) -> Tensor:
        scores = self.popularity.repeat(len(users), 1)
        for age in range(self.recent):
            begin, end = self.first[users[:, age]], self.first[users[:, age] + 1]
            lengths = end - begin
            row = torch.repeat_interleave(lengths)
            before = torch.cumsum(lengths, 0) - lengths
            at = torch.arange(len(row), device=row.device) + (begin - before)[row]
            flat = row * scores.shape[1] + self.following[at] - 1
            scores.view(-1).index_add_(0, flat, self.shares[at] * self.decay**age)
        return scores
