"""What answers: an exported model that ranks its catalogue for many histories at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from modicum.data.windows import input_starts
from modicum.exported import Exported

Source = Literal["model", "popularity"]


@dataclass(frozen=True)
class Query:
    """What is asked for.

    Args:
        items: of the history, oldest first: ids, or (domain, id) pairs.
        k: items to recommend.
        domain: recommend items of this domain; None: of all.
        excluded: items not to recommend.
        exclude_seen: do not recommend items of the history either.
    """

    items: Sequence[Any]
    k: int = 10
    domain: str | None = None
    excluded: Sequence[Any] = ()
    exclude_seen: bool = True


@dataclass(frozen=True)
class Answer:
    """What is recommended.

    Args:
        items: ids, best first.
        domains: of the items; empty where they have none.
        scores: of the items.
        source: what ranked them: the model, or popularity where it had nothing to go by.
        unknown: how many items of the history the model does not know.
    """

    items: list[Any]
    domains: list[str]
    scores: list[float]
    source: Source
    unknown: int = field(default=0)


class Engine:
    """Ranks the catalogue of an exported model by inner products, exactly.

    Scores and order are those of :meth:`modicum.methods.asking.Asked.recommend`: ties go to the
    item of the lower row, and a history without known items gets the most popular items.

    Args:
        model: what is served.
    """

    def __init__(self, model: Exported) -> None:
        self.model = model
        self._items = np.ascontiguousarray(model.items.T, dtype=np.float32)  # (D, N)
        self._popularity = model.counts[1:].astype(np.float32)

    def answer(self, queries: Sequence[Query]) -> list[Answer]:
        """Answer queries in one pass of the encoder.

        Raises:
            DataError: a domain is unknown, or an id is of several domains.
        """
        rows = [self.model.vocabulary.rows(query.items) for query in queries]
        known = [found[found > 0] for found in rows]
        read = [at for at, found in enumerate(known) if len(found)]
        scores = np.tile(self._popularity, (len(queries), 1))
        if read:
            users = self.model.encode(self._padded([known[at] for at in read]))
            scores[read] = users @ self._items
        answers = []
        for at, query in enumerate(queries):
            self._leave_out(scores[at], query, known[at])
            unknown = len(rows[at]) - len(known[at])
            answers.append(self._best(scores[at], query.k, bool(len(known[at])), unknown))
        return answers

    def popular(self, query: Query) -> Answer:
        """Answer a query by popularity alone: what there is when the model takes too long."""
        rows = self.model.vocabulary.rows(query.items)
        scores = self._popularity.copy()
        self._leave_out(scores, query, rows[rows > 0])
        return self._best(scores, query.k, False, int((rows < 1).sum()))

    def _padded(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """Return (B, L) the rows of histories that the model reads, pads (0) at the end."""
        ends = np.array([len(history) for history in histories])
        starts = input_starts(np.zeros_like(ends), ends, self.model.length)
        latest = [history[start:] for history, start in zip(histories, starts, strict=True)]
        lengths = ends - starts
        matrix = np.zeros((len(latest), lengths.max()), dtype=np.int64)
        matrix[np.arange(matrix.shape[1]) < lengths[:, None]] = np.concatenate(latest)
        return matrix

    def _leave_out(self, scores: np.ndarray, query: Query, seen: np.ndarray) -> None:
        vocabulary = self.model.vocabulary
        if query.domain is not None:
            code = vocabulary.domain_code(query.domain)
            scores[vocabulary.domains != code] = -np.inf
        if query.exclude_seen:
            scores[seen - 1] = -np.inf
        if query.excluded:
            rows = vocabulary.rows(query.excluded)
            scores[rows[rows > 0] - 1] = -np.inf

    def _best(self, scores: np.ndarray, k: int, by_model: bool, unknown: int) -> Answer:
        k = min(k, len(scores))
        least = np.partition(scores, -k)[-k]
        candidates = np.flatnonzero(scores >= least)
        best = candidates[np.argsort(-scores[candidates], kind="stable")][:k]
        best = best[np.isfinite(scores[best])]
        vocabulary = self.model.vocabulary
        return Answer(
            items=vocabulary.names(best + 1).to_list(),
            domains=[] if vocabulary.domains is None else list(vocabulary.domains_of(best + 1)),
            scores=scores[best].tolist(),
            source="model" if by_model else "popularity",
            unknown=unknown,
        )
