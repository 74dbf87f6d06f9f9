"""Scores of a fitted network for many histories: each window is read once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from modicum.data.windows import InputWindows, Prefixes, input_starts, padded
from modicum.methods.network import CausalNetwork, Network
from modicum.training.batches import Batch

POSITIONS_PER_BATCH = 2**14
SCORES_PER_BLOCK = 2**24


@torch.inference_mode()
def score_blocks(
    network: Network,
    popularity: Tensor | None,
    prefixes: Prefixes,
    *,
    length: int,
    num_items: int,
    seen: Prefixes | None,
    item_domains: Tensor | None,
) -> Iterator[tuple[np.ndarray, Tensor]]:
    """Yield (queries, scores): positions (B,) among the prefixes and their scores (B, N).

    Items in the histories ``seen`` are at ``-inf``, and so are those whose domain by
    ``item_domains`` (N,) is not the one asked for. A query without history gets ``popularity``
    (N,), the one thing known that could be of use to it; without popularity it is left out.
    """
    block = max(1, SCORES_PER_BLOCK // num_items)
    for queries, users in encoded(network, prefixes, length):
        for begin in range(0, len(queries), block):
            chosen = queries[begin : begin + block]
            scores = network.scores(users[begin : begin + block])
            yield chosen, _restricted(scores, prefixes, chosen, seen, item_domains)
    if popularity is None:
        return
    empty = np.flatnonzero(prefixes.starts == prefixes.ends)
    for begin in range(0, len(empty), block):
        chosen = empty[begin : begin + block]
        scores = popularity.repeat(len(chosen), 1)
        yield chosen, _restricted(scores, prefixes, chosen, seen, item_domains)


def encoded(
    network: Network, prefixes: Prefixes, length: int
) -> Iterator[tuple[np.ndarray, Tensor]]:
    """Yield (queries, user vectors (B, D)) of all queries with a history, alike in length together."""
    queries = np.flatnonzero(prefixes.ends > prefixes.starts)
    ends = prefixes.ends[queries]
    starts = input_starts(prefixes.starts[queries], ends, length)
    domains = None
    if network.by_domain and prefixes.domains is not None:
        domains = prefixes.domains[queries].astype(np.int64)
    causal = isinstance(network, CausalNetwork)
    windows = InputWindows.of(starts, ends, shared=causal, kinds=domains)
    device = next(iter(network.state_dict(keep_vars=True).values())).device
    for batch_windows, inside in windows.batches(POSITIONS_PER_BATCH):
        bounds = windows.starts[batch_windows], windows.ends[batch_windows]
        row = windows.window[inside] - batch_windows.start
        batch = Batch(torch.from_numpy(padded(prefixes.item_rows, *bounds)))
        if domains is not None:
            asked = np.zeros(len(bounds[0]), dtype=np.int64)
            asked[row] = domains[inside]
            batch.extra["domain"] = torch.from_numpy(asked)
        if network.by_domain and prefixes.auxiliary is not None:
            auxiliary = padded(prefixes.auxiliary, *bounds) > 0
            batch.extra["auxiliary"] = torch.from_numpy(auxiliary)
        batch, at = batch.to(device), torch.from_numpy(row)
        if isinstance(network, CausalNetwork) and len(inside) > len(bounds[0]):
            column = torch.from_numpy(ends[inside] - starts[inside] - 1)
            yield queries[inside], network.states(batch)[at, column]
        else:
            yield queries[inside], network.encode(batch)[at]


def _restricted(
    scores: Tensor,
    prefixes: Prefixes,
    chosen: np.ndarray,
    seen: Prefixes | None,
    item_domains: Tensor | None,
) -> Tensor:
    """Leave out, for the queries ``chosen``, items of other domains and items seen."""
    if item_domains is not None and prefixes.domains is not None:
        asked = torch.from_numpy(prefixes.domains[chosen].astype(np.int64)).to(scores.device)
        scores.masked_fill_(item_domains.to(scores.device) != asked[:, None], float("-inf"))
    if seen is not None:
        query, item = (torch.from_numpy(x).to(scores.device) for x in seen.take(chosen).events())
        scores[query, item.long() - 1] = float("-inf")
    return scores
