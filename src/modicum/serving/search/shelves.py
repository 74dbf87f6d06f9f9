"""The catalogue as it is searched: the items of each domain by themselves, without those barred."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from modicum.serving.search.searching import Found, Search, require_memory

NOWHERE = -1


class Shelf:
    """Items of one domain that may be recommended.

    Args:
        rows: (n,) their item rows, rising.
        search: among their vectors.
        counts: (n,) how often each occurred in training.
    """

    def __init__(self, rows: np.ndarray, search: Search, counts: np.ndarray) -> None:
        self.rows, self.search = rows, search
        self._counts = counts.astype(np.float32)
        self._by_popularity = np.argsort(-self._counts, kind="stable")

    def popular(self, wanted: int, left_out: np.ndarray) -> Found:
        """Return positions and counts of the most popular items that are not left out."""
        most = self._by_popularity[: wanted + len(left_out)]
        most = most[~np.isin(most, left_out)][:wanted]
        return most, self._counts[most]


class Shelves:
    """All items that may be recommended, one shelf for each domain.

    A domain is searched without touching the others, and all of them by merging what each gives.

    Args:
        items: (N, D) item vectors; position ``j`` belongs to item row ``j + 1``.
        counts: (N,) how often each occurred in training.
        domains: (N,) code of each item's domain; None where they have none.
        barred: rows of items that are never recommended.
        search: makes the search of a shelf from its item vectors.
    """

    def __init__(
        self,
        items: np.ndarray,
        counts: np.ndarray,
        domains: np.ndarray | None,
        barred: np.ndarray,
        search: Callable[[np.ndarray], Search],
    ) -> None:
        offered = np.ones(len(items), dtype=bool)
        offered[barred - 1] = False
        domains = np.zeros(len(items), dtype=np.int64) if domains is None else domains
        if len(np.unique(domains)) > 1 or not offered.all():
            require_memory(items.nbytes, "a copy of the item vectors by domain")
        self._shelf_of = np.full(len(items) + 1, NOWHERE)
        self._position_of = np.zeros(len(items) + 1, dtype=np.int64)
        self._shelves: dict[int, Shelf] = {}
        for code in np.unique(domains[offered]).tolist():
            at = np.flatnonzero(offered & (domains == code))
            vectors = items if len(at) == len(items) else items[at]
            self._shelves[code] = Shelf(at + 1, search(vectors), counts[at])
            self._shelf_of[at + 1], self._position_of[at + 1] = code, np.arange(len(at))

    @property
    def description(self) -> str:
        """How each shelf is searched."""
        told = [shelf.search.description for shelf in self._shelves.values()]
        return "; ".join(told) or "no item may be recommended"

    def best(
        self,
        users: np.ndarray,
        wanted: np.ndarray,
        domains: Sequence[int | None],
        left_out: Sequence[np.ndarray],
    ) -> list[Found]:
        """Return rows and scores of the best items of users (B, D), each in one domain or in all."""
        found: list[list[Found]] = [[] for _ in users]
        for code, shelf in self._shelves.items():
            which = [at for at, domain in enumerate(domains) if domain is None or domain == code]
            if which:
                outs = [self._inside(code, left_out[at]) for at in which]
                parts = shelf.search.best(users[which], wanted[which], outs)
                for at, (positions, scores) in zip(which, parts, strict=True):
                    found[at].append((shelf.rows[positions], scores))
        return [_merged(parts, int(number)) for parts, number in zip(found, wanted, strict=True)]

    def popular(self, wanted: int, domain: int | None, left_out: np.ndarray) -> Found:
        """Return rows and counts of the most popular items, in one domain or in all."""
        parts = []
        for code, shelf in self._shelves.items():
            if domain is None or domain == code:
                positions, counts = shelf.popular(wanted, self._inside(code, left_out))
                parts.append((shelf.rows[positions], counts))
        return _merged(parts, wanted)

    def _inside(self, code: int, rows: np.ndarray) -> np.ndarray:
        """Return the positions of those rows that stand on a shelf."""
        return self._position_of[rows[self._shelf_of[rows] == code]]


def _merged(parts: Sequence[Found], wanted: int) -> Found:
    """Return the best of several findings; of equal scores, the lower row first."""
    if len(parts) == 1:
        return parts[0]
    rows = np.concatenate([np.empty(0, dtype=np.int64), *(rows for rows, _ in parts)])
    scores = np.concatenate([np.empty(0, dtype=np.float32), *(scores for _, scores in parts)])
    first = np.lexsort((rows, -scores))[:wanted]
    return rows[first], scores[first]
