"""Pseudo-sequences: what a user may have done in a domain, from items that were met together."""

from __future__ import annotations

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from modicum.data.histories import Histories
from modicum.data.windows import flat_ranges
from modicum.methods.crossdomain.item_graph import LightGCN

LATEST = 50
"""Events of a user that are counted: those of longer histories say little of each other."""
SHRINKAGE = 5.0
"""Users that are added to those of each item, so that a single common user makes no neighbours."""
ROUNDING = 1e-6
"""Sums below this are of users taken out again."""
PAIRS = 2**23
"""Pairs of events that are held at once while counting."""


def table_bytes(num_items: int, num_domains: int, size: int) -> int:
    """Return what the neighbours of all items take.

    >>> table_bytes(1_000_000, 2, 20) / 2**20
    305...
    """
    return 8 * num_domains * (num_items + 1) * size


class PseudoSequences(nn.Module):
    """Propose the items of a domain that are nearest to those of a history.

    It is inductive: any history will do; an item's score is the sum of its nearness to the items
    of the history. Nearness is either counted or learnt.

    Args:
        num_items: N.
        num_domains: 1 for a log without domains.
        size: proposals for a history at most, and neighbours kept of an item in each domain.

    >>> import polars as pl
    >>> from modicum.data.log import EventLog
    >>> events = {"user": [1, 1, 1, 2, 2, 3], "item": list("abcabd")}
    >>> histories = Histories.from_log(EventLog(pl.LazyFrame(events), source="example"))
    >>> proposals = PseudoSequences(4, 1, size=2)
    >>> proposals.count(histories)
    >>> proposals(torch.tensor([[1], [4]]), torch.tensor([0, 0]))  # b and c are with a, none with d
    tensor([[2, 3],
            [0, 0]])
    """

    neighbours: Tensor
    nearness: Tensor
    users: Tensor

    def __init__(self, num_items: int, num_domains: int, size: int) -> None:
        super().__init__()
        self.size = size
        shape = (num_domains, num_items + 1, 0)  # nothing is known before counting
        self.register_buffer("neighbours", torch.zeros(shape, dtype=torch.int32))
        self.register_buffer("nearness", torch.zeros(shape))
        self.register_buffer("users", torch.zeros(num_items + 1))

    def count(self, histories: Histories) -> None:
        """Take items as near as n_ij / √((n_i + s)(n_j + s)), of n_i users of i, n_ij of i and j.

        s is ``SHRINKAGE``; only training events are counted.
        """
        self._keep(*nearest_items(histories, self.neighbours.shape[0], self.size))

    def learn(self, histories: Histories) -> None:
        """Take items as near as the cosine of their vectors in a LightGCN of the training events.

        What a user had is in these vectors and cannot be taken out, so that a training target may
        be given away.
        """
        graph = LightGCN(histories)
        graph.train()
        codes = histories.vocabulary.domains
        domains = np.zeros(histories.num_items) if codes is None else codes
        found = [
            graph.nearest(torch.from_numpy(domains == domain), self.size)
            for domain in range(self.neighbours.shape[0])
        ]
        rows, cosines = (torch.stack(parts).numpy() for parts in zip(*found, strict=True))
        everybody = np.full(histories.num_items + 1, np.inf, dtype=np.float32)
        self._keep(rows.astype(np.int32), cosines, everybody)

    def _keep(self, neighbours: np.ndarray, nearness: np.ndarray, users: np.ndarray) -> None:
        device = self.users.device
        self.neighbours = torch.from_numpy(neighbours).to(device)
        self.nearness = torch.from_numpy(nearness).to(device)
        self.users = torch.from_numpy(users).to(device)

    def forward(
        self,
        items: Tensor,
        domain: Tensor,
        later: Tensor | None = None,
        counted: Tensor | None = None,
    ) -> Tensor:
        """Return (B, P) item rows, best first, pads (0) at the end; P is ``size`` at most.

        Args:
            items: (B, L) histories, whose items are not proposed.
            domain: (B,) code of the domain that is wanted.
            later: (B, M) what the same users had afterwards. Where it was counted, a user's own
                events are taken out, so that a training target is not given away.
            counted: (B, C) the users' events that were counted; None: all.
        """
        candidates = self.neighbours[domain[:, None], items].long()  # (B, L, K)
        nearness = self.nearness[domain[:, None], items]
        if later is not None:
            users = self.users + SHRINKAGE
            one_user = (users[items][..., None] * users[candidates]).rsqrt()
            own = contained(candidates.flatten(1), later).view_as(nearness)
            if counted is not None:
                own &= contained(candidates.flatten(1), counted).view_as(own)
                own &= contained(items, counted)[..., None]
            nearness = (nearness - own * one_user).clamp(min=0)
        candidates, nearness = candidates.flatten(1), nearness.flatten(1)
        nearness = nearness.masked_fill(contained(candidates, items), 0)
        totals, rows = summed(candidates, nearness)
        totals, order = totals.sort(dim=1, descending=True, stable=True)
        best = rows.gather(1, order)[:, : self.size]
        return best.masked_fill(totals[:, : self.size] <= ROUNDING, 0)


def interleave(items: Tensor, proposed: Tensor) -> Tensor:
    """Return (B, L + P): a history and its pseudo-sequence in turns, newest and best last.

    Args:
        items: (B, L) item rows, oldest first, pads at the end.
        proposed: (B, P) item rows, best first, pads at the end.

    >>> interleave(torch.tensor([[1, 2, 0], [0, 0, 0]]), torch.tensor([[9, 8, 7], [9, 0, 0]]))
    tensor([[7, 8, 1, 9, 2, 0],
            [9, 0, 0, 0, 0, 0]])
    """
    own, pseudo = items > 0, proposed > 0
    at = torch.arange(items.shape[1], device=items.device)
    age = 2 * (own.sum(1, keepdim=True) - 1 - at)
    place = 2 * torch.arange(proposed.shape[1], device=items.device) + 1
    from_end = torch.cat([age.where(own, -1), place.expand_as(proposed).where(pseudo, -1)], dim=1)
    order = from_end.argsort(dim=1, descending=True, stable=True)
    return torch.cat([items, proposed], dim=1).gather(1, order)


def contained(values: Tensor, sets: Tensor) -> Tensor:
    """Return (B, V) whether each of ``values`` (B, V) is among the ``sets`` (B, M) of its row.

    >>> contained(torch.tensor([[1, 2, 3]]), torch.tensor([[3, 1]]))
    tensor([[ True, False,  True]])
    """
    if not sets.shape[1]:
        return torch.zeros_like(values, dtype=torch.bool)
    ordered = sets.sort(dim=1).values
    at = torch.searchsorted(ordered, values.contiguous()).clamp(max=sets.shape[1] - 1)
    return ordered.gather(1, at) == values


def summed(rows: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Add up ``values`` (B, V) by row: (B, V) totals and (B, V) rows, ascending, the rest 0.

    >>> summed(torch.tensor([[2, 1, 2]]), torch.tensor([[1.0, 2.0, 3.0]]))
    (tensor([[2., 4., 0.]]), tensor([[1, 2, 0]]))
    """
    rows, order = rows.sort(dim=1, stable=True)
    run = torch.zeros_like(rows)
    run[:, 1:] = (rows[:, 1:] != rows[:, :-1]).cumsum(1)
    totals = torch.zeros_like(values).scatter_add_(1, run, values.gather(1, order))
    return totals, torch.zeros_like(rows).scatter_(1, run, rows)


def nearest_items(
    histories: Histories, num_domains: int, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count who had which items together, and keep the nearest of each item in each domain.

    Args:
        histories: training events.
        num_domains: D, 1 for a log without domains.
        size: K.

    Returns:
        (D, N + 1, K) int32 item rows, nearest first, pads (0) at the end; (D, N + 1, K) float32
        nearness of each; (N + 1,) float32 users of each item.
    """
    num_items = histories.num_items
    back = histories.offsets[1:][histories.event_users] - np.arange(histories.num_events)
    recent = back <= LATEST
    pairs = pl.DataFrame(
        {"user": histories.event_users[recent], "item": histories.item_rows[recent]}
    )
    pairs = pairs.unique().sort("user", "item")
    user, item = pairs["user"].to_numpy(), pairs["item"].to_numpy().astype(np.int64)
    offsets = np.searchsorted(user, np.arange(histories.num_users + 1))
    users = np.bincount(item, minlength=num_items + 1).astype(np.float32)
    codes = histories.vocabulary.domains
    domains = np.zeros(num_items + 1, dtype=np.int64)
    if codes is not None:
        domains[1:] = codes
    neighbours = np.zeros((num_domains, num_items + 1, size), dtype=np.int32)
    nearness = np.zeros((num_domains, num_items + 1, size), dtype=np.float32)
    by_item = np.argsort(item, kind="stable")
    first = np.searchsorted(item[by_item], np.arange(num_items + 2))  # of each item row
    work = np.concatenate([[0], np.cumsum(np.diff(offsets)[user[by_item]])])[first]
    begin = 1
    while begin <= num_items:
        end = int(np.searchsorted(work, work[begin] + PAIRS, side="right")) - 1
        end = max(begin + 1, end)
        events = by_item[first[begin] : first[end]]
        starts, ends = offsets[user[events]], offsets[user[events] + 1]
        one = np.repeat(item[events], ends - starts)
        other = item[flat_ranges(starts, ends)]
        counted = (
            pl.DataFrame({"one": one, "other": other})
            .filter(pl.col("one") != pl.col("other"))
            .group_by("one", "other")
            .agg(count=pl.len().cast(pl.Float32))
        )
        one, other = counted["one"].to_numpy(), counted["other"].to_numpy()
        count = counted["count"].to_numpy()
        near = count / np.sqrt((users[one] + SHRINKAGE) * (users[other] + SHRINKAGE))
        group = one * num_domains + domains[other]
        order = np.lexsort((other, -near, group))
        group = group[order]
        place = np.arange(len(group)) - np.searchsorted(group, group)
        order, place = order[place < size], place[place < size]
        at = domains[other[order]], one[order], place
        neighbours[at], nearness[at] = other[order], near[order]
        begin = end
    return neighbours, nearness, users
