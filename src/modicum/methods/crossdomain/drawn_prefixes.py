"""Training on prefixes: each row of a batch is a history and the one event that came next."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from modicum.data.histories import Histories
from modicum.data.windows import flat_ranges, padded
from modicum.training.batches import Batch, Windows


class DrawnPrefixes(Windows):
    """Of each training window some events are targets in an epoch, drawn anew for the next.

    A row of a batch has the last ``length`` events before a target, of all domains, and in
    ``extra`` the target's ``domain`` (B,), ``later`` (B, M), the target and up to ``length``
    events after it, for what must not be known, and ``counted`` (B, C), what counts say of the user.

    Args:
        histories: training events.
        per_window: targets of a window in an epoch; of a shorter one all are.
        length: longest input.
        counted: C, latest events of a user that are counted.
        windows: further arguments of :class:`~modicum.training.batches.Windows`; ``batch_size``
            counts windows.
    """

    def __init__(
        self, histories: Histories, *, per_window: int, length: int, counted: int, **windows: Any
    ) -> None:
        super().__init__(histories, length=length, **windows)
        self.per_window = per_window
        self.length = length
        self.counted = counted
        self.offsets = histories.offsets
        domains = histories.domains
        self.domains = np.zeros_like(self.item_rows) if domains is None else domains

    @property
    def targets(self) -> np.ndarray:
        return np.minimum(super().targets, self.per_window)

    def order(self, epoch: int) -> list[np.ndarray]:
        """Return the targets, as positions of events, of each batch, alike in length of input."""
        random = np.random.default_rng([self.seed, epoch])
        at = flat_ranges(self.starts + 1, self.ends)
        window = np.repeat(np.arange(len(self.starts)), self.ends - self.starts - 1)
        if self.predicted is not None:
            at, window = at[self.predicted[at]], window[self.predicted[at]]
        by_window = np.lexsort((random.random(len(at)), window))
        place = np.arange(len(at)) - np.searchsorted(window, window)
        at = at[by_window[place < self.per_window]]
        lengths = at - self._begins(at)
        jitter = random.uniform(0.0, 1.0, len(at))
        by_length = np.argsort(lengths + jitter * (1 + 0.1 * lengths), kind="stable")
        batches = np.array_split(at[by_length], len(self))
        return [batches[at] for at in random.permutation(len(batches))]

    def batch(self, which: np.ndarray) -> Batch:
        """Return the rows whose targets are the events at positions ``which``."""
        items = padded(self.item_rows, self._begins(which), which)
        newest = (items > 0).sum(1) - 1
        targets = np.zeros_like(items)
        targets[np.arange(len(items)), newest] = self.item_rows[which]
        user = np.searchsorted(self.offsets, which, side="right")
        last = self.offsets[user]
        first = np.maximum(self.offsets[user - 1], last - self.counted)
        ends = np.minimum(last, which + 1 + self.length)
        extra = {
            "domain": torch.from_numpy(self.domains[which].astype(np.int64)),
            "later": torch.from_numpy(padded(self.item_rows, which, ends)),
            "counted": torch.from_numpy(padded(self.item_rows, first, last)),
        }
        if self.auxiliary is not None:
            auxiliary = padded(self.auxiliary, self._begins(which), which) > 0
            extra["auxiliary"] = torch.from_numpy(auxiliary)
        return Batch(torch.from_numpy(items), torch.from_numpy(targets), extra)

    def _begins(self, at: np.ndarray) -> np.ndarray:
        """Return where the input of each target begins."""
        user = np.searchsorted(self.offsets, at, side="right") - 1
        return np.maximum(self.offsets[user], at - self.length)
