"""Explaining: which events of a history carried a recommendation, by leaving each out."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import polars as pl
import torch
from torch import Tensor

from modicum.data.vocabulary import Vocabulary
from modicum.data.windows import Prefixes, flat_ranges

Scores = Callable[[Prefixes], Iterator[tuple[np.ndarray, Tensor]]]
"""Gives (queries, scores (B, N)) of inputs, block by block; ``-inf`` are items left out. What has
nothing to read is not given, and then no item stands above another."""

ROUNDING = 1e-5
"""Differences of scores below this share of them are none."""


def reasons(
    scores_of: Scores,
    prefixes: Prefixes,
    queries: np.ndarray,
    rows: np.ndarray,
    vocabulary: Vocabulary,
) -> pl.Series:
    """Return, for each recommended item, the events that it was recommended for, strongest first.

    An event's part is how far the item falls without it, measured from the mean score of all items
    asked for; its share is that part of the sum of all events' parts without their signs, so a
    negative share speaks against the item. An only event has share 1.

    Args:
        scores_of: of the model.
        prefixes: what is read for each query; each of its events is left out in turn.
        queries, rows: (R,) query and item row of each recommended item.
        vocabulary: of the item rows.

    Returns:
        (R,) lists of ``event`` (item id), ``domain`` where items have one, and ``share``.
    """
    asked, number = np.unique(queries, return_inverse=True)
    whole = prefixes.take(asked)
    events = whole.ends - whole.starts
    at = flat_ranges(whole.starts, whole.ends)  # (V,) the event that each variant lacks
    query = np.repeat(np.arange(len(asked)), events)
    without = _without(whole, query, at)
    plain, first = _standing(scores_of, whole, number, rows), np.cumsum(events) - events
    item = np.repeat(np.arange(len(rows)), events[number])  # each recommended item, each event
    variant = flat_ranges(first[number], (first + events)[number])
    part = plain[item] - _standing(scores_of, without, variant, rows[item])
    part[np.abs(part) < ROUNDING * (1 + np.abs(plain[item]))] = 0.0
    part[(events == 1)[number][item]] = 1.0  # without it there is nothing to compare with
    total = np.bincount(item, weights=np.abs(part), minlength=len(rows))
    share = np.divide(part, total[item], out=np.zeros_like(part), where=total[item] > 0)
    order = np.lexsort((-share, item))
    event_rows = whole.item_rows[at[variant[order]]]
    columns = {"event": vocabulary.names(event_rows)}
    if vocabulary.domains is not None:
        columns["domain"] = vocabulary.domains_of(event_rows)
    columns["share"] = pl.Series(share[order].astype(np.float32))
    found = pl.DataFrame({"item": item, "because": pl.DataFrame(columns).to_struct()})
    lists = found.group_by("item", maintain_order=True).agg("because")
    every = pl.DataFrame({"item": np.arange(len(rows))}).join(lists, on="item", how="left")
    kind = pl.List(found.schema["because"])
    return every.sort("item")["because"].fill_null(pl.lit([], dtype=kind))


def _without(prefixes: Prefixes, query: np.ndarray, at: np.ndarray) -> Prefixes:
    """Return the histories of queries (V,), each without the event at a position ``at`` (V,)."""
    starts, ends = prefixes.starts[query], prefixes.ends[query]
    kept = flat_ranges(np.stack([starts, at + 1], 1).ravel(), np.stack([at, ends], 1).ravel())
    lengths = ends - starts - 1
    bounds = np.cumsum(lengths)
    auxiliary = None if prefixes.auxiliary is None else prefixes.auxiliary[kept]
    domains = None if prefixes.domains is None else prefixes.domains[query]
    return Prefixes(prefixes.item_rows[kept], bounds - lengths, bounds, auxiliary, domains)


def _standing(
    scores_of: Scores, prefixes: Prefixes, query: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """Return (R,) how far the items ``rows`` (R,) of queries (R,) stand above the mean item."""
    order = np.argsort(query, kind="stable")
    first = np.searchsorted(query[order], np.arange(len(prefixes) + 1))
    standing = np.zeros(len(rows))
    for which, scores in scores_of(prefixes):
        there = torch.isfinite(scores)
        mean = scores.masked_fill(~there, 0).double().sum(1) / there.sum(1).clamp(min=1)
        row = np.repeat(np.arange(len(which)), (first[1:] - first[:-1])[which])
        items = order[flat_ranges(first[:-1][which], first[1:][which])]
        found = scores.double()[torch.from_numpy(row), torch.from_numpy(rows[items] - 1)]
        standing[items] = (found - mean[torch.from_numpy(row)]).cpu().numpy()
    return standing
