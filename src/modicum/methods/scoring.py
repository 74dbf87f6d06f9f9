"""Scores of a fitted network for many histories: each window is read once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from modicum.data.windows import Prefixes, input_starts, padded
from modicum.methods.network import CausalNetwork, Network
from modicum.training.batches import Batch

POSITIONS_PER_BATCH = 2**14
SCORES_PER_BLOCK = 2**24


@torch.inference_mode()
def score_blocks(
    network: Network,
    popularity: Tensor,
    prefixes: Prefixes,
    *,
    length: int,
    num_items: int,
    exclude_seen: bool,
) -> Iterator[tuple[np.ndarray, Tensor]]:
    """Yield (queries, scores): positions (B,) among the prefixes and their scores (B, N).

    Items of the history are at ``-inf`` with ``exclude_seen``. A query without history gets
    ``popularity`` (N,), the one thing known that could be of use to it.
    """
    block = max(1, SCORES_PER_BLOCK // num_items)
    for queries, users in _encoded(network, prefixes, length):
        for begin in range(0, len(queries), block):
            chosen = queries[begin : begin + block]
            yield (
                chosen,
                _without_seen(
                    network.scores(users[begin : begin + block]),
                    prefixes.take(chosen),
                    exclude_seen,
                ),
            )
    empty = np.flatnonzero(prefixes.starts == prefixes.ends)
    for begin in range(0, len(empty), block):
        chosen = empty[begin : begin + block]
        yield chosen, popularity.repeat(len(chosen), 1)


def _encoded(
    network: Network, prefixes: Prefixes, length: int
) -> Iterator[tuple[np.ndarray, Tensor]]:
    """Yield (queries, user vectors) of all queries with a history, alike in length together."""
    queries = np.flatnonzero(prefixes.ends > prefixes.starts)
    ends = prefixes.ends[queries]
    starts = input_starts(prefixes.starts[queries], ends, length)
    shared = (
        starts
        if isinstance(network, CausalNetwork)
        else starts * (len(prefixes.item_rows) + 1) + ends
    )
    _, window = np.unique(shared, return_inverse=True)
    window_starts = np.zeros(window.max(initial=-1) + 1, dtype=np.int64)
    window_ends = np.zeros_like(window_starts)
    window_starts[window] = starts
    np.maximum.at(window_ends, window, ends)
    device = next(iter(network.state_dict().values())).device
    by_length = np.argsort(window_ends - window_starts, kind="stable")
    place = np.empty_like(by_length)
    place[by_length] = np.arange(len(by_length))
    order = np.argsort(place[window], kind="stable")
    first = np.searchsorted(place[window[order]], np.arange(len(by_length) + 1))
    for begin, end in _ranges((window_ends - window_starts)[by_length]):
        windows = by_length[begin:end]
        items = padded(prefixes.item_rows, window_starts[windows], window_ends[windows])
        batch = Batch(torch.from_numpy(items).to(device))
        inside = order[first[begin] : first[end]]
        row = torch.from_numpy(place[window[inside]] - begin)
        if isinstance(network, CausalNetwork) and len(inside) > len(windows):
            column = torch.from_numpy(ends[inside] - starts[inside] - 1)
            yield queries[inside], network.states(batch)[row, column]
        else:
            yield queries[inside], network.encode(batch)[row]


def _ranges(lengths: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield ranges of ascending ``lengths`` whose padded matrices have a bounded size."""
    begin = 0
    while begin < len(lengths):
        end = begin + max(1, POSITIONS_PER_BATCH // int(lengths[begin]))
        while end > begin + 1 and (
            end > len(lengths) or lengths[end - 1] * (end - begin) > POSITIONS_PER_BATCH
        ):
            end = begin + max(1, (end - begin) * 3 // 4)
        yield begin, end
        begin = end


def _without_seen(scores: Tensor, prefixes: Prefixes, exclude_seen: bool) -> Tensor:
    if exclude_seen:
        query, item = (torch.from_numpy(x).to(scores.device) for x in prefixes.events())
        scores[query, item.long() - 1] = float("-inf")
    return scores
