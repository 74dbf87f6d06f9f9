"""How much there is to learn from: counts, sparsity, tails, and their curves; or too little."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from modicum.data.audit.findings import Finding
from modicum.data.histories import Histories
from modicum.data.split import TAIL_EVENTS

BINS = 60
"""Bars of a picture."""


def measure(events: Histories, timed: bool) -> tuple[dict[str, Any], dict[str, pl.DataFrame]]:
    """Return sizes, and the frames of the pictures: events in time, lengths, popularity."""
    lengths = events.lengths
    counts = np.sort(events.item_counts[events.item_counts > 0])[::-1]
    pairs = pl.Series(events.event_users * (events.num_items + 1) + events.item_rows).n_unique()
    top = max(1, round(0.01 * len(counts)))
    low, middle, high = (float(x) for x in np.quantile(lengths, (0.1, 0.5, 0.9)))
    measured: dict[str, Any] = {
        "events": events.num_events,
        "users": events.num_users,
        "items": len(counts),
        "sparsity": 1 - pairs / (events.num_users * len(counts)),
        "events_per_user_mean": float(lengths.mean()),
        "events_per_user_median": middle,
        "events_per_user_10_to_90": f"{low:g} to {high:g}",
        "users_in_tail": float((lengths < TAIL_EVENTS).mean()),
        "items_in_tail": float((counts < TAIL_EVENTS).mean()),
        "events_on_tail_items": float(counts[counts < TAIL_EVENTS].sum() / counts.sum()),
        "events_on_top_1_percent_items": float(counts[:top].sum() / counts.sum()),
    }
    tables = {
        "lengths": _lengths(lengths),
        "popularity": _popularity(counts),
    }
    if timed and events.times.max() > events.times.min():
        edges = np.linspace(float(events.times.min()), float(events.times.max()), BINS + 1)
        number, _ = np.histogram(events.times.astype(np.float64), edges)
        begin = pl.Series(edges[:-1].astype(np.int64)).cast(pl.Datetime("us"))
        tables["events"] = pl.DataFrame({"from": begin, "events": number.astype(np.int64)})
    return measured, tables


def too_little(events: Histories) -> list[Finding]:
    """Find that there is nothing to learn: a single item, or no user with a second event."""
    items, longest = int((events.item_counts > 0).sum()), int(events.lengths.max())
    reasons = []
    if items == 1:
        reasons.append("all events are on one item, so there is nothing to choose from")
    if longest == 1:
        reasons.append("no user has two events, so nothing comes after anything")
    if not reasons:
        return []
    return [
        Finding(
            "too-little",
            "error",
            f"Nothing can be learnt from {events.num_events:,} events of {events.num_users:,} users "
            f"on {items:,} items: {'; '.join(reasons)}. Check that the log is whole and that its "
            "columns were read as what they are.",
            {"items": items, "longest_history": longest},
        )
    ]


def _lengths(lengths: np.ndarray) -> pl.DataFrame:
    """Count users by history length, in bins that widen as powers."""
    edges = np.unique(np.geomspace(1, lengths.max() + 1, 30).round().astype(np.int64))
    number, _ = np.histogram(lengths, edges) if len(edges) > 1 else (np.array([0]), None)
    return pl.DataFrame({"from": edges[:-1], "below": edges[1:], "users": number.astype(np.int64)})


def _popularity(counts: np.ndarray) -> pl.DataFrame:
    """Return the events of the item at some ranks, evenly spread over the logarithm."""
    ranks = np.unique(np.geomspace(1, len(counts), 100).round().astype(np.int64))
    return pl.DataFrame({"rank": ranks, "events": counts[ranks - 1]})
