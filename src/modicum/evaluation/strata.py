"""From one value per query to one value per user, overall and in each stratum."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from modicum.data.split import Queries

ALL = "all"
"""The stratum of all queries."""


def average_by_user(queries: Queries, values: Mapping[str, np.ndarray]) -> pl.DataFrame:
    """Average the values of each user's queries, so that busy users count as much as others.

    Args:
        queries: Q queries; their strata are averaged apart, and all of them together.
        values: metric name -> (Q,).

    Returns:
        One row per stratum and user who has queries in it: ``user``, ``stratum``, ``queries``
        (how many), and the metrics; strata in the order of ``queries.strata`` after ``"all"``,
        users ascending.
    """
    everyone = np.ones(len(queries), dtype=bool)
    masks = {ALL: everyone} | queries.strata
    num_users = queries.histories.num_users
    frames = []
    for stratum, mask in masks.items():
        users = queries.users[mask]
        counts = np.bincount(users, minlength=num_users)
        there = np.flatnonzero(counts)
        counts = counts[there]
        means = {
            name: np.bincount(users, weights=value[mask], minlength=num_users)[there] / counts
            for name, value in values.items()
        }
        frames.append(
            pl.DataFrame(
                {
                    "user": queries.histories.user_ids.gather(there),
                    "stratum": pl.repeat(stratum, len(there), dtype=pl.String, eager=True),
                    "queries": counts,
                }
                | means
            )
        )
    return pl.concat(frames)
