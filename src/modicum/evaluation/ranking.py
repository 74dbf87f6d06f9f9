"""What a recommender says about queries, before any metric is computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from modicum.data.split import Queries
from modicum.data.vocabulary import Vocabulary


@dataclass(frozen=True)
class Ranking:
    """The place of each target, and what stands on top of it.

    Args:
        ranks: (Q,) float64 rank of the target from 1, tied items getting their expected rank;
            ``inf`` where the target could not be recommended: an item the model does not know,
            or one that was excluded because the user has seen it.
        top: (Q, k) int32 rows of the recommended items in the model's vocabulary, best first;
            0 where there are fewer than k.
    """

    ranks: np.ndarray
    top: np.ndarray


@runtime_checkable
class Ranker(Protocol):
    """What evaluation asks of a model; every fitted recommender is one."""

    @property
    def name(self) -> str: ...

    @property
    def vocabulary(self) -> Vocabulary:
        """The items the model can recommend."""
        ...

    def rank(
        self,
        queries: Queries,
        k: int,
        *,
        exclude_seen: bool = True,
        candidates: np.ndarray | None = None,
    ) -> Ranking:
        """Rank each target among the whole catalogue, or among the target and its candidates.

        Where items have domains, the catalogue is that of the target's domain.

        Args:
            queries: Q queries; their item rows are those of ``queries.histories.vocabulary``.
            k: length of the lists.
            exclude_seen: leave out items of the query's history.
            candidates: (Q, C) item rows in the numbering of the queries, target not included.
        """
        ...
