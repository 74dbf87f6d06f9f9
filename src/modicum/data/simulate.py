"""Simulators: event logs whose truth is known, for tests and for a first try."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from modicum.data.log import EventLog
from modicum.errors import DataError

START = 1_577_836_800_000_000
"""Microseconds from 1970 to 2020-01-01."""


@dataclass(frozen=True)
class MarkovLog:
    """Simulated events and the chain that made them.

    Args:
        log: users ``0..``, items ``0..``, in order of time.
        transitions: (N, N) probability of each next item, row by row.
        start: (N,) probability of each first item.
    """

    log: EventLog
    transitions: np.ndarray
    start: np.ndarray


def simulate_markov(
    num_users: int,
    num_items: int,
    *,
    events_per_user: float = 20.0,
    sharpness: float = 3.0,
    span_days: float = 365.0,
    seed: int,
) -> MarkovLog:
    """Simulate users who walk the same Markov chain over items.

    Rows of the transition matrix are the softmax of ``sharpness`` times normal numbers, without
    the step from an item to itself. A user's number of events is 1 + Poisson; a user starts at a
    random time, and events follow at exponential intervals. All times are distinct.

    Args:
        num_users, num_items: at least 1 and 2.
        events_per_user: mean number of events, at least 1.
        sharpness: 0 makes all next items equally likely; the larger, the more certain they are.
        span_days: within which users begin.
        seed: of the random generator.

    Raises:
        DataError: an argument is out of range.

    >>> simulated = simulate_markov(3, 4, events_per_user=5, seed=0)
    >>> simulated.transitions.shape, simulated.log.frame["user"].n_unique()
    ((4, 4), 3)
    """
    if num_users < 1 or num_items < 2 or events_per_user < 1 or sharpness < 0 or span_days <= 0:
        raise DataError(
            "a simulation needs num_users >= 1, num_items >= 2, events_per_user >= 1, "
            "sharpness >= 0 and span_days > 0"
        )
    rng = np.random.default_rng(seed)
    weights = np.exp(sharpness * rng.standard_normal((num_items, num_items)))
    np.fill_diagonal(weights, 0)
    transitions = weights / weights.sum(axis=1, keepdims=True)
    start = rng.dirichlet(np.ones(num_items))
    lengths = 1 + rng.poisson(events_per_user - 1, num_users)
    steps = int(lengths.max())
    cumulative = transitions.cumsum(axis=1)
    items = np.empty((num_users, steps), dtype=np.int64)
    items[:, 0] = rng.choice(num_items, num_users, p=start)
    for step in range(1, steps):  # over time, all users at once
        draws = rng.random((num_users, 1))
        reached = (cumulative[items[:, step - 1]] <= draws).sum(axis=1)
        items[:, step] = np.minimum(reached, num_items - 1)
    day = 86_400_000_000
    gaps = rng.exponential(day, (num_users, steps))
    gaps[:, 0] = rng.uniform(0, span_days * day, num_users)
    there = np.arange(steps) < lengths[:, None]
    times = gaps.cumsum(axis=1)[there]
    order = np.argsort(times, kind="stable")
    moments = START + times[order].astype(np.int64) + np.arange(len(order))
    frame = pl.DataFrame(
        {
            "user": np.repeat(np.arange(num_users), lengths)[order],
            "item": items[there][order],
            "time": pl.Series(moments).cast(pl.Datetime("us")),
        }
    )
    return MarkovLog(EventLog(frame.lazy(), source="simulated"), transitions, start)
