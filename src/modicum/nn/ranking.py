"""Ranks of targets and the best items, from full rows of scores."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def expected_ranks(scores: Tensor, targets: Tensor) -> Tensor:
    """Return the rank of each target from 1; tied items share the mean of their places.

    Args:
        scores: (B, N); ``-inf`` marks items that are left out.
        targets: (B,) item rows from 1. A target that is left out, or 0, ranks at infinity.

    >>> expected_ranks(torch.tensor([[3.0, 1.0, 1.0]]), torch.tensor([3]))
    tensor([2.5000], dtype=torch.float64)
    """
    own = scores.gather(1, (targets - 1).clamp(min=0)[:, None])
    above = _count(scores > own)
    tied = _count(scores >= own) - above
    ranks = above + (tied + 1) / 2
    return ranks.masked_fill((targets < 1) | own[:, 0].isneginf(), float("inf"))


def _count(mask: Tensor) -> Tensor:
    """Return how many are true in each row; NumPy counts bytes several times faster than torch."""
    if mask.device.type == "cpu":
        return torch.from_numpy(np.count_nonzero(mask.numpy(), axis=1)).double()
    return mask.sum(1).double()


def best_items(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return values (B, k) and item rows (B, k) of the highest scores, best first.

    Among tied items the lower row comes first. Places that no item fills, because N is below ``k``
    or items are left out, hold row 0.

    >>> best_items(torch.tensor([[3.0, float("-inf"), 5.0], [0.0, 7.0, 7.0]]), 2)[1]
    tensor([[3, 1],
            [2, 3]])
    """
    most = min(k, scores.shape[1])
    values, at = scores.topk(min(most + 1, scores.shape[1]), dim=1)  # one more shows a tied last
    tied = (values[:, 1:] == values[:, :-1]).any(1).nonzero()[:, 0]
    values, at = values[:, :most], at[:, :most]
    if len(tied):
        values[tied], at[tied] = _best_of_tied(scores[tied], values[tied, -1:], most)
    rows = (at + 1).masked_fill(values.isneginf(), 0)
    missing = k - rows.shape[1]
    if missing > 0:
        rows = torch.nn.functional.pad(rows, (0, missing))
        values = torch.nn.functional.pad(values, (0, missing), value=float("-inf"))
    return values, rows


def _best_of_tied(scores: Tensor, least: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return values and positions (B, k) of the highest scores (B, N), tied ones by position.

    ``least`` (B, 1) is the k-th highest score; of the scores tied with it the first ones stay.
    """
    row, at = (scores >= least).nonzero(as_tuple=True)
    last = scores[row, at] == least[row, 0]
    above = torch.bincount(row[~last], minlength=len(scores))
    before = last.cumsum(0) - last.long()  # of the tied ones, over all rows
    first = torch.searchsorted(row, torch.arange(len(scores), device=row.device))
    kept = ~last | (before - before[first][row] < (k - above)[row])
    at = at[kept].reshape(len(scores), k)
    values, order = scores.gather(1, at).sort(dim=1, descending=True, stable=True)
    return values, at.gather(1, order)
