"""What answers: a model that ranks its catalogue for many histories at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, Protocol

import numpy as np

from modicum.data.vocabulary import UNKNOWN, Vocabulary
from modicum.errors import DataError
from modicum.exported import Precision, Read
from modicum.serving.batching import LARGEST
from modicum.serving.explaining import Explainer, Reason
from modicum.serving.search.inverted import Inverted
from modicum.serving.search.scan import Scan
from modicum.serving.search.searching import Found, Search
from modicum.serving.search.shelves import Shelves

Source = Literal["model", "popularity"]

INVERTED_FROM = 400_000
"""Items from which an inverted file may be faster than the exact scan (benchmarks/topk.py)."""
SAMPLED_FROM = 100_000
"""Items from which an exact scan takes long enough to be fitted to users."""
SAMPLE = 512
"""Users to whom a search is fitted, and on whom the recall of an inverted file is measured."""


class Model(Protocol):
    """A user encoder and item vectors: an export, or a saved model."""

    @property
    def method(self) -> str:
        """Its word."""

    @property
    def precision(self) -> Precision:
        """Of the encoder and the item vectors."""

    @property
    def length(self) -> int:
        """Longest history that it reads, in events."""

    @property
    def vocabulary(self) -> Vocabulary:
        """N items by row."""

    @property
    def counts(self) -> np.ndarray:
        """(N + 1,) training events of each item row."""

    @property
    def items(self) -> np.ndarray:
        """(N, D) item vectors."""

    @property
    def by_domain(self) -> bool:
        """Whether it reads a history for one domain, which must be asked for."""

    @property
    def target_behaviour(self) -> str | None:
        """The behaviour that others are auxiliary to; None: all are alike."""

    def knows(self, read: Read) -> bool:
        """Tell whether there is something to encode."""

    def window(self, read: Read) -> Read:
        """Return what of it is read."""

    def encode_all(self, reads: Sequence[Read]) -> np.ndarray:
        """Return user vectors (B, D)."""


@dataclass(frozen=True)
class Query:
    """What is asked for.

    Args:
        items: of the history, oldest first: ids, or (domain, id) pairs.
        k: items to recommend.
        domain: recommend items of this domain; None: of all.
        excluded: items not to recommend.
        exclude_seen: do not recommend items of the history either.
        explain: say which events carried each item.
        stored: the history comes from a store, where nobody can correct it now: an item that is
            of a domain unknown here, or in several, counts as unknown.
        behaviours: of the items of the history, for a model with a target behaviour; where there
            are none, or one is empty, it is taken to be of that one.
    """

    items: Sequence[Any]
    k: int = 10
    domain: str | None = None
    excluded: Sequence[Any] = ()
    exclude_seen: bool = True
    explain: bool = False
    stored: bool = False
    behaviours: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class Prepared:
    """A query that was checked: answering it cannot fail for what it asks.

    Args:
        query: what was asked for.
        read: what of it the model is given.
        encoded: whether there is something in it for the model.
        left_out: rows of the items that are not to come.
    """

    query: Query
    read: Read
    encoded: bool
    left_out: np.ndarray

    @property
    def unknown(self) -> int:
        """How many items of the history the model does not know."""
        return len(self.query.items) - len(self.read.rows)


@dataclass(frozen=True)
class Answer:
    """What is recommended.

    Args:
        items: ids, best first.
        domains: of the items; empty where they have none.
        scores: of the items.
        source: what ranked them: the model, or popularity (within the domain asked for).
        unknown: how many items of the history the model does not know.
        reason: why popularity ranked them; None where the model did.
        because: the events that each item was recommended for, strongest first; empty lists where
            popularity ranked them, and empty where nobody asked.
    """

    items: list[Any]
    domains: list[str]
    scores: list[float]
    source: Source
    unknown: int = 0
    reason: str | None = None
    because: list[list[Reason]] = field(default_factory=list)


class Engine:
    """Ranks the catalogue of a model by inner products.

    Items and order are those of :meth:`modicum.methods.asking.Asked.recommend`: ties go to the
    item of the lower row, and a history without known items gets the most popular items. The
    search is exact unless a recall is named.

    Args:
        model: what is served.
        recall: share of the ten best to be found at least, above 0 and below 1, by an inverted file
            where there are enough items for one to be faster; None: the search is exact.
        threads: of one search.
        barred: rows of items that are never recommended (:mod:`modicum.serving.rules`).
        histories: of items, on which the recall is measured; without them, histories of one event,
            drawn as often as in training.

    Raises:
        SettingError: the recall is out of range.
        ResourceError: the index does not fit into memory.
        MissingExtraError: the extra ``serve`` is not installed.
    """

    def __init__(
        self,
        model: Model,
        *,
        recall: float | None = None,
        threads: int = 1,
        barred: np.ndarray | None = None,
        histories: Sequence[Sequence[Any]] = (),
    ) -> None:
        self.model = model
        self._recall, self._threads, self._histories = recall, threads, histories
        self._shelves = Shelves(
            np.ascontiguousarray(model.items, dtype=np.float32),
            model.counts[1:],
            model.vocabulary.domains,
            np.empty(0, dtype=np.int64) if barred is None else barred,
            self._search,
        )
        names = model.vocabulary.domain_names
        model.vocabulary.rows([(name, None) for name in names] or [None])  # looks up once, for all

    @property
    def description(self) -> str:
        """How the catalogue is searched, and what the answers are worth."""
        return self._shelves.description

    def prepare(self, query: Query) -> Prepared:
        """Return a query ready to be answered together with others.

        Raises:
            DataError: a domain is unknown, or not named to a model that reads a history for one;
                an id is of several domains; or the behaviours are not those of the items.
        """
        vocabulary = self.model.vocabulary
        domain = None if query.domain is None else vocabulary.domain_code(query.domain)
        if self.model.by_domain and domain is None:
            raise DataError(
                f"{self.model.method} reads a history for the domain that is asked for; name it, "
                f"one of {', '.join(vocabulary.domain_names)}"
            )
        rows = self._stored_rows(query.items) if query.stored else vocabulary.rows(query.items)
        known = rows > 0
        auxiliary = self._auxiliary(query)
        read = Read(rows[known], domain, None if auxiliary is None else auxiliary[known])
        out = vocabulary.rows(query.excluded)
        seen = known if auxiliary is None else known & ~auxiliary
        out = np.concatenate([out[out > 0], rows[seen] if query.exclude_seen else rows[:0]])
        encoded = len(read.rows) > 0 and self.model.knows(read)
        return Prepared(query, read, encoded, np.unique(out))

    def _auxiliary(self, query: Query) -> np.ndarray | None:
        """Return (E,) which events of a history are of another behaviour than the target."""
        target = self.model.target_behaviour
        if target is None or not query.behaviours:
            return None
        if len(query.behaviours) != len(query.items):
            raise DataError("behaviours must name one behaviour for each item of the history")
        return np.array([name not in ("", target) for name in query.behaviours])

    def answer(self, queries: Sequence[Query | Prepared]) -> list[Answer]:
        """Answer queries, prepared or not, in one pass of the encoder and one search.

        Raises:
            DataError: a query that was not prepared cannot be.
        """
        asked = [x if isinstance(x, Prepared) else self.prepare(x) for x in queries]
        read = [x for x in asked if x.encoded]
        best = iter(self._ranked(read) if read else ())
        ranked = [next(best) if x.encoded else self._popular(x) for x in asked]
        return self._named(asked, ranked)

    def _ranked(self, asked: Sequence[Prepared]) -> list[Found]:
        return self._shelves.best(
            self.model.encode_all([x.read for x in asked]),
            np.array([x.query.k for x in asked]),
            [x.read.domain for x in asked],
            [x.left_out for x in asked],
        )

    def _popular(self, asked: Prepared) -> Found:
        return self._shelves.popular(asked.query.k, asked.read.domain, asked.left_out)

    def popular(self, query: Query | Prepared, reason: str = "over budget") -> Answer:
        """Answer a query by popularity alone: what there is when the model takes too long.

        Raises:
            DataError: a query that was not prepared cannot be.
        """
        asked = query if isinstance(query, Prepared) else self.prepare(query)
        (answer,) = self._named([replace(asked, encoded=False)], [self._popular(asked)])
        return replace(answer, reason=reason)

    def try_out(self) -> None:
        """Answer for a history and for none, in each domain that can be asked for.

        The history has an item of every domain, so that each is read.
        """
        vocabulary = self.model.vocabulary
        past: list[Any] = vocabulary.names(np.array([1])).to_list()
        if vocabulary.domains is not None:
            first = 1 + np.unique(vocabulary.domains, return_index=True)[1]
            items = vocabulary.names(first).to_list()
            past = [*zip(vocabulary.domains_of(first).to_list(), items, strict=True)]
        names = vocabulary.domain_names if self.model.by_domain else (None,)
        self.answer([Query(items, domain=name) for name in names for items in (past, [])])

    def _named(self, asked: Sequence[Prepared], found: Sequence[Found]) -> list[Answer]:
        """Return answers; those of what was not encoded were found by popularity."""
        vocabulary = self.model.vocabulary
        rows = np.concatenate([np.empty(0, dtype=np.int64), *(rows for rows, _ in found)])
        ends = np.cumsum([len(rows) for rows, _ in found]).tolist()
        ids = vocabulary.ids  # a few are read faster one by one than gathered
        names = [ids[at] for at in (rows - 1).tolist()]
        domains = [] if vocabulary.domains is None else vocabulary.domains_of(rows).to_list()
        return [
            Answer(
                items=names[end - len(own) : end],
                domains=domains[end - len(own) : end],
                scores=scores.tolist(),
                source="model" if x.encoded else "popularity",
                unknown=x.unknown,
                reason=_why_not(x),
                because=self._because(x, own) if x.query.explain else [],
            )
            for x, (own, scores), end in zip(asked, found, ends, strict=True)
        ]

    def _because(self, asked: Prepared, rows: np.ndarray) -> list[list[Reason]]:
        return self._explainer.because(asked.read, rows) if asked.encoded else [[] for _ in rows]

    def _stored_rows(self, items: Sequence[Any]) -> np.ndarray:
        """Return the rows of items; one that cannot be told from others counts as unknown."""
        try:
            return self.model.vocabulary.rows(items)
        except DataError:
            return np.concatenate([self._stored_row(item) for item in items])

    def _stored_row(self, item: Any) -> np.ndarray:
        try:
            return self.model.vocabulary.rows([item])
        except DataError:
            return np.array([UNKNOWN])

    def _search(self, items: np.ndarray) -> Search:
        if self._recall is None or len(items) < INVERTED_FROM:
            sample = self._sample if len(items) >= SAMPLED_FROM else None
            return Scan(items, sample, threads=self._threads)
        return Inverted(items, self._sample, recall=self._recall, threads=self._threads)

    @cached_property
    def _sample(self) -> np.ndarray:
        """(Q, D) user vectors like those to come."""
        histories = [self._stored_rows(items) for items in self._histories]
        known = [rows[rows > 0] for rows in histories if (rows > 0).any()]
        if not known:
            often = self.model.counts[1:] + 1.0  # an item without events may be met later
            drawn = np.random.default_rng(0).choice(len(often), SAMPLE, p=often / often.sum())
            known = [np.array([at + 1]) for at in drawn]
        domains = self.model.vocabulary.domains if self.model.by_domain else None
        reads = [Read(rows, None if domains is None else domains[rows[-1] - 1]) for rows in known]
        blocks = [reads[at : at + LARGEST] for at in range(0, len(reads), LARGEST)]
        return np.concatenate([self.model.encode_all(block) for block in blocks])

    @cached_property
    def _explainer(self) -> Explainer:
        return Explainer(self.model)


def _why_not(asked: Prepared) -> str | None:
    """Return why popularity answers; None where the model does."""
    if asked.encoded:
        return None
    return "nothing to read" if len(asked.read.rows) else "no known items"
