"""Judge a model by what it has not seen, and put the figures in a report."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Sequence
from contextlib import closing
from numbers import Integral
from typing import Any, overload

import numpy as np
import polars as pl

from modicum.data.split import Queries, Split
from modicum.data.vocabulary import UNKNOWN
from modicum.errors import DataError, SettingError
from modicum.evaluation.candidates import FULL, sample_negatives, sample_size
from modicum.evaluation.metrics import coverage, ranking_metrics
from modicum.evaluation.prediction_report import PredictionReport, judge_predictions
from modicum.evaluation.predictions import Predictor
from modicum.evaluation.progress import followed
from modicum.evaluation.ranking import Ranker, Ranking
from modicum.evaluation.report import Report
from modicum.evaluation.strata import average_by_user

QUERIES_PER_PART, MOST_PARTS = 4096, 64
"""Queries are ranked in parts, so that progress shows; many queries in larger parts."""


@overload
def evaluate(
    model: Ranker,
    queries: Queries,
    k: int | Sequence[int] = ...,
    *,
    exclude_seen: bool = ...,
    candidates: str | None = ...,
    seed: int = ...,
    progress: bool = ...,
) -> Report: ...
@overload
def evaluate(
    model: Predictor, queries: Any, k: int | Sequence[int] = ..., *, seed: int = ...
) -> PredictionReport: ...
def evaluate(
    model: Any,
    queries: Any,
    k: int | Sequence[int] = (1, 5, 10),
    *,
    exclude_seen: bool = True,
    candidates: str | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Report | PredictionReport:
    """Rank the target of each query among all items, and average the metrics by user; or judge
    predicted probabilities by what came of the rows.

    In a log with domains, all items are those of the target's domain. A model that predicts
    probabilities is judged by each task's AUC, log loss, Brier score, calibration error and lift.

    Args:
        model: a fitted recommender, or a model that predicts probabilities.
        queries: what to predict, such as ``split.test``, or a table of rows with their outcomes.
        k: lengths of the lists for HR@k, NDCG@k and coverage@k; of probabilities, the percentages
            of the likeliest rows for lift@k%.
        exclude_seen: leave out items of the query's history; a target among them cannot be found.
        candidates: by name only, ``"sampled-999"``: rank each target among 999 random training
            items that its user never had, or among all of them where fewer are left. Such figures
            flatter every model and can reverse their order, so the report is marked in all its
            forms; coverage is left out.
        seed: of the sampled candidates and of the report's intervals.
        progress: show on standard error how many queries are ranked, if it takes its time.

    Raises:
        DataError: this is no model, there are no queries, a whole split was passed, or the model
            broke the contract of ``Ranker``.
        SettingError: ``k`` or ``candidates`` is not usable.

    >>> from datetime import datetime
    >>> from modicum.data.log import EventLog
    >>> from modicum.data.split import split
    >>> days = [datetime(2024, 1, day) for day in range(1, 21)]
    >>> log = EventLog(pl.LazyFrame({"user": [1, 2] * 10, "item": 1, "time": days}), "example")
    >>> parts = split(log)
    >>> class Second:
    ...     name, vocabulary = "second", parts.train.vocabulary
    ...     def rank(self, queries, k, **settings):
    ...         n = len(queries)
    ...         return Ranking(ranks=np.full(n, 2.0), top=np.zeros((n, k), dtype=np.int32))
    >>> evaluate(Second(), parts.test, k=3).per_user.drop("ndcg@3")
    shape: (2, 4)
    ┌──────┬─────────┬──────┬─────┐
    │ user ┆ queries ┆ hr@3 ┆ mrr │
    │ ---  ┆ ---     ┆ ---  ┆ --- │
    │ i64  ┆ i64     ┆ f64  ┆ f64 │
    ╞══════╪═════════╪══════╪═════╡
    │ 1    ┆ 1       ┆ 1.0  ┆ 0.5 │
    │ 2    ┆ 1       ┆ 1.0  ┆ 0.5 │
    └──────┴─────────┴──────┴─────┘
    """
    _require_model(model)
    cuts = _cuts(k)
    if isinstance(model, Predictor):
        return judge_predictions(model.name, model.predictions(queries), k=cuts, seed=seed)
    _require_queries(queries)
    queries = queries.take(np.argsort(queries.targets, kind="stable"))
    negatives, fewer = None, 0.0
    if candidates is not None:
        size = sample_size(candidates)
        negatives = sample_negatives(queries, size, seed=seed)
        fewer = float(((negatives > 0).sum(1) < size).mean())
    title = f"evaluate {model.name}"
    rankings = []
    with closing(followed(title, _parts(queries), shown=progress)) as parts:
        for part in parts:
            found = model.rank(
                queries.take(part),
                cuts[-1],
                exclude_seen=exclude_seen,
                candidates=None if negatives is None else negatives[part],
            )
            _require_ranking(model, found, part.stop - part.start, cuts[-1])
            rankings.append(found)
    ranks = np.concatenate([ranking.ranks for ranking in rankings])
    top = np.concatenate([ranking.top for ranking in rankings])
    catalogue = _catalogue(model, queries)
    num_items = catalogue["catalogue"]
    return Report(
        per_stratum=average_by_user(queries, ranking_metrics(ranks, cuts)),
        coverage=coverage(top, num_items, cuts) if candidates is None else {},
        protocol={
            "model": model.name,
            **queries.protocol,
            "candidates": candidates or FULL,
            **({"fewer candidates": fewer} if fewer else {}),
            **catalogue,
            "exclude_seen": exclude_seen,
            "k": cuts,
            "queries": len(queries),
            "users": len(np.unique(queries.users)),
            "unknown targets": _unknown_share(model, queries),
            "excluded targets": _seen_share(queries) if exclude_seen else 0.0,
            "seed": seed,
            "queries digest": _digest(queries),
        },
    )


def _require_model(model: Any) -> None:
    if isinstance(model, type) or not isinstance(model, Ranker | Predictor):
        name = type(model).__name__
        what = f"the class {model.__name__}" if isinstance(model, type) else f"a {name}"
        lacking = [way for way in ("name", "vocabulary", "rank") if not hasattr(model, way)]
        told = f" (it has no {lacking[0]})" if len(lacking) == 1 else ""
        raise DataError(
            f"evaluate got {what}{told} where a model belongs; pass a fitted model, or "
            "mo.load(folder) of a saved one, and then what to judge it by"
        )


def _require_queries(queries: Any) -> None:
    if isinstance(queries, Split):
        raise DataError(
            "evaluate got a whole split; pass the queries to judge by: split.test for the final "
            "word, split.validation for choosing"
        )
    if not isinstance(queries, Queries):
        raise DataError(
            f"evaluate got a {type(queries).__name__} where queries belong; pass split.test or "
            "split.validation of mo.split(log)"
        )
    if not len(queries):
        raise DataError(
            "there are no queries to evaluate; check the split or the mask they are from"
        )


def _cuts(k: int | Sequence[int]) -> list[int]:
    given: Any = [k] if isinstance(k, Integral) else k
    try:
        cuts = sorted({operator.index(cut) for cut in given})
    except TypeError:
        cuts = []
    if not cuts or cuts[0] < 1:
        raise SettingError(
            f"k={k!r}: lists have a length of 1 or more, a whole number, such as k=(1, 5, 10)"
        )
    return cuts


def _parts(queries: Queries) -> list[slice]:
    """Return slices of the queries, which are in order of users; those of a user stay together."""
    size = max(QUERIES_PER_PART, -(-len(queries) // MOST_PARTS))
    first = np.flatnonzero(np.diff(queries.users, prepend=-1))
    wanted = np.arange(0, len(queries), size)
    begins = np.unique(first[np.minimum(np.searchsorted(first, wanted), len(first) - 1)])
    ends = np.append(begins[1:], len(queries))
    return [slice(int(begin), int(end)) for begin, end in zip(begins, ends, strict=True)]


def _require_ranking(model: Ranker, ranking: Ranking, num_queries: int, k: int) -> None:
    wanted = ((num_queries,), (num_queries, k))
    shapes = (ranking.ranks.shape, ranking.top.shape)
    if shapes != wanted:
        raise DataError(
            f"{model.name}.rank returned ranks and top of shapes {shapes}; wanted {wanted}"
        )
    if not (ranking.ranks >= 1).all():
        raise DataError(f"{model.name}.rank returned ranks below 1 or NaN; ranks count from 1")


def _catalogue(model: Ranker, queries: Queries) -> dict[str, Any]:
    """Say among how many items, and of which domain, targets are ranked."""
    own, asked = model.vocabulary, queries.domains
    if own.domains is None or asked is None:
        return {"catalogue": len(own)}
    names = [queries.histories.vocabulary.domain_names[code] for code in np.unique(asked)]
    counts = np.bincount(own.domains, minlength=len(own.domain_names))
    codes = own.domain_codes(names)
    size = int(counts[codes[codes != UNKNOWN]].sum())
    among = names[0] if len(names) == 1 else f"the target's domain ({', '.join(names)})"
    return {"catalogue": size, "catalogue of": among}


def _unknown_share(model: Ranker, queries: Queries) -> float:
    """Return the share of targets that the model cannot recommend."""
    rows, counts = np.unique(queries.target_rows, return_counts=True)
    known = model.vocabulary.rows_of(queries.histories.vocabulary.take(rows - 1))
    return float(counts[known == UNKNOWN].sum() / len(queries))


def _seen_share(queries: Queries) -> float:
    """Return the share of targets that their user had before."""
    histories = queries.histories
    pairs = histories.event_users * (histories.num_items + 1) + queries.seen_rows
    first = pl.Series(pairs).is_first_distinct().to_numpy()
    return float(1 - first[queries.targets].mean())


def _digest(queries: Queries) -> str:
    """Return what tells these queries from others: users, times and items of the targets."""
    histories = queries.histories
    columns = (
        queries.targets,
        queries.users,
        histories.times[queries.targets],
        queries.target_rows,
    )
    content = b"".join(np.ascontiguousarray(column, dtype="<i8").tobytes() for column in columns)
    return hashlib.sha256(content).hexdigest()[:16]
