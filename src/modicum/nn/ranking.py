"""Ranks of targets and the best items, from full rows of scores."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def expected_ranks(scores: Tensor, targets: Tensor) -> Tensor:
    """Return the rank of each target from 1; tied items share the mean of their places.

    Args:
        scores: (B, N); ``-inf`` marks items that are left out.
        targets: (B,) item rows from 1. A target that is left out, or 0, ranks at infinity; one
            whose score is no number has no rank, but NaN.

    >>> expected_ranks(torch.tensor([[3.0, 1.0, 1.0]]), torch.tensor([3]))
    tensor([2.5000], dtype=torch.float64)
    """
    own = scores.gather(1, (targets - 1).clamp(min=0)[:, None])
    above = _count(scores > own)
    tied = _count(scores >= own) - above
    ranks = (above + (tied + 1) / 2).masked_fill(own[:, 0].isnan(), float("nan"))
    return ranks.masked_fill((targets < 1) | own[:, 0].isneginf(), float("inf"))


def _count(mask: Tensor) -> Tensor:
    """Return how many are true in each row; NumPy counts bytes several times faster than torch."""
    if mask.device.type == "cpu":
        return torch.from_numpy(np.count_nonzero(mask.numpy(), axis=1)).double()
    return mask.sum(1).double()


def best_items(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return values (B, k) and item rows (B, k) of the highest scores, best first.

    Of equal scores, the lower row comes first. Places that no item fills, because N is below ``k``
    or items are left out, hold row 0.

    >>> best_items(torch.tensor([[3.0, float("-inf"), 5.0, 3.0]]), 2)[1]
    tensor([[3, 1]])
    """
    k, missing = min(k, scores.shape[1]), max(0, k - scores.shape[1])
    values, at = scores.topk(min(k + 1, scores.shape[1]), dim=1)
    if values.shape[1] > k:
        cut = torch.nonzero(values[:, k - 1] == values[:, k])[:, 0]
        values, at = values[:, :k], at[:, :k]
        if len(cut):
            at[cut] = _first_of_tied(scores[cut], values[cut], at[cut])
    at, order = at.sort(dim=1)
    values, order = values.gather(1, order).sort(dim=1, descending=True, stable=True)
    rows = (at.gather(1, order) + 1).masked_fill(values.isneginf(), 0)
    if missing:
        rows = torch.nn.functional.pad(rows, (0, missing))
        values = torch.nn.functional.pad(values, (0, missing), value=float("-inf"))
    return values, rows


def _first_of_tied(scores: Tensor, values: Tensor, at: Tensor) -> Tensor:
    """Return positions (T, k) of the best of ``scores`` (T, N), where the last of their ``values``
    (T, k) goes on after ``k``: of those items, the first ones come."""
    num_items, last = scores.shape[1], values[:, -1:]
    from_end = torch.arange(num_items, 0, -1, device=scores.device)
    first = num_items - torch.where(scores == last, from_end, 0).topk(values.shape[1], dim=1).values
    tied = values == last
    place = (tied.cumsum(1) - 1).clamp(min=0)
    return torch.where(tied, first.gather(1, place), at)
