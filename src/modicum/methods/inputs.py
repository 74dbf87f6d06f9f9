"""Inputs of queries as a model reads them: from ids, from known users, from a split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from modicum.data.histories import Histories
from modicum.data.split import Queries
from modicum.data.vocabulary import UNKNOWN, Vocabulary
from modicum.data.windows import Prefixes
from modicum.errors import DataError


def of_items(
    histories: Sequence[Sequence[Any]],
    vocabulary: Vocabulary,
    behaviours: Sequence[Sequence[str]] | None = None,
    target: str | None = None,
) -> Prefixes:
    """Return the inputs of histories of item ids.

    Args:
        histories: ids or (domain, id) pairs, oldest first.
        vocabulary: the items that the model knows.
        behaviours: of each item; ``""`` is the target.
        target: the behaviour that others are auxiliary to; None: all are alike.

    Raises:
        DataError: these are no lists of items, an item is of several domains, or the behaviours are
            not as many as the items.

    >>> import polars as pl
    >>> of_items([["a", "z"], ["b", "a"]], Vocabulary(pl.Series(["a", "b"]))).item_rows
    array([1, 2, 1])
    """
    _length(histories)
    lengths = np.array([_length(history) for history in histories], dtype=np.int64)
    flat = [item for history in histories for item in history]
    ends = np.cumsum(lengths)
    auxiliary = None
    if behaviours is not None:
        if [len(each) for each in behaviours] != lengths.tolist():
            raise DataError("behaviours must name one behaviour for each item of the histories")
        if target is not None:
            named = [name not in ("", target) for each in behaviours for name in each]
            auxiliary = np.array(named, dtype=bool)
    return Prefixes.of(vocabulary.rows(flat), ends - lengths, ends, auxiliary)


def _length(items: Any) -> int:
    """Return the length of a list of items, or of histories.

    Raises:
        DataError: it is no such list.
    """
    try:
        if isinstance(items, str | bytes | Mapping):
            raise TypeError
        return len(items)
    except TypeError:
        raise DataError(
            "each history is a list of items: give histories=[[item, ...], ...]"
        ) from None


def of_users(
    users: Sequence[Any], histories: Histories, auxiliary: np.ndarray | None = None
) -> Prefixes:
    """Return the training events of users as inputs.

    Raises:
        DataError: a user is unknown.
    """
    at = histories.find(list(users))
    if (at == UNKNOWN).any():
        unknown = users[int(np.argmax(at == UNKNOWN))]
        raise DataError(
            f"user {unknown!r} has no training event; pass histories=[[item, ...], ...] instead"
        )
    offsets = histories.offsets
    return Prefixes(histories.item_rows, offsets[at], offsets[at + 1], auxiliary)


def of_queries(
    queries: Queries,
    rows: np.ndarray,
    vocabulary: Vocabulary,
    auxiliary: np.ndarray | None = None,
) -> Prefixes:
    """Return the inputs of queries, each asking for the domain of its target.

    Args:
        queries: Q queries.
        rows: (E,) row in ``vocabulary`` of each event of their histories, below 1 where unknown.
        vocabulary: the items that the model knows.
        auxiliary: (E,) true for events of another behaviour than the model's target.
    """
    domains = queries.domains
    if domains is None or vocabulary.domains is None:
        return Prefixes.of(rows, queries.starts, queries.targets, auxiliary)
    asked = vocabulary.domain_codes(queries.histories.vocabulary.domain_names)[domains]
    starts = np.where(asked == UNKNOWN, queries.targets, queries.starts)  # nothing can be said
    return Prefixes.of(rows, starts, queries.targets, auxiliary, asked)


def without_auxiliary(prefixes: Prefixes) -> Prefixes:
    """Return the inputs without auxiliary events: what counts as seen."""
    if prefixes.auxiliary is None:
        return prefixes
    rows = np.where(prefixes.auxiliary, UNKNOWN, prefixes.item_rows)
    return Prefixes.of(rows, prefixes.starts, prefixes.ends)
