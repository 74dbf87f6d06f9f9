"""The model that answers now, and how a new one takes its place without a pause."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

from modicum.errors import StoreError
from modicum.serving.batching import Batcher
from modicum.serving.engine import Answer, Engine, Model, Prepared, Query
from modicum.serving.messages import MOST_ITEMS
from modicum.serving.source import Source
from modicum.serving.store import HistoryStore

logger = logging.getLogger("modicum.serving")


@dataclass(frozen=True)
class Of:
    """A query for a user of the history store.

    Args:
        user: whose history it is to be.
        query: what is asked for, without the history.
    """

    user: str
    query: Query


class Loaded:
    """One model that answers, and the threads that read histories and run it.

    Args:
        engine: the model, ready to rank.
        version: tells this model from another one of the same method.
        store: where the histories of users are.
        observe: told how many requests each batch has.
    """

    def __init__(
        self,
        engine: Engine,
        version: str,
        store: HistoryStore,
        observe: Callable[[int], object],
    ) -> None:
        self.engine, self.version, self.store = engine, version, store
        self._observe = observe
        self._batcher: Batcher[Prepared | Of, Answer] = Batcher(self._answers)
        # Reasons take a pass of the encoder for each event: nobody else is to wait for them.
        self._explaining: Batcher[Prepared | Of, Answer] = Batcher(self._answers, largest=1)

    @property
    def method(self) -> str:
        """Word of the method."""
        return self.engine.model.method

    @property
    def described(self) -> dict[str, str]:
        """What answers, in words."""
        model = self.engine.model
        return {
            "method": model.method,
            "version": self.version,
            "precision": model.precision,
            "items": str(len(model.vocabulary)),
            "search": self.engine.description,
        }

    @property
    def waiting(self) -> int:
        """How many requests wait for the model."""
        return self._batcher.waiting + self._explaining.waiting

    def ask(self, asked: Query | Of) -> asyncio.Future[Answer]:
        """Return the answer to come.

        Raises:
            DataError: an id is of several domains, or a domain is unknown.
            ResourceError: this model has been replaced, or the server stops.
        """
        query = asked.query if isinstance(asked, Of) else asked
        prepared = self.engine.prepare(query)  # what is wrong with it is told now
        batcher = self._explaining if query.explain else self._batcher
        return batcher.ask(asked if isinstance(asked, Of) else prepared)

    def close(self) -> None:
        """Answer what has been asked, then stop."""
        self._batcher.close()
        self._explaining.close()

    def _answers(self, asked: Sequence[Prepared | Of]) -> list[Answer]:
        self._observe(len(asked))
        found: list[Query | Prepared | None] = []
        down = False  # a store that fails once is not waited for again in this batch
        for one in asked:
            if isinstance(one, Prepared):
                found.append(one)
                continue
            try:
                found.append(None if down else self._with_history(one))
            except StoreError as error:
                logger.error("%s", error)
                down = True
                found.append(None)
        answers = iter(self.engine.answer([query for query in found if query is not None]))
        return [
            self.engine.popular(one.query, "no history store") if query is None else next(answers)
            for one, query in zip(asked, found, strict=True)
        ]

    def _with_history(self, asked: Of) -> Query:
        """Return the query with what the history of its user holds, as the model names it."""
        past = self.store.items(asked.user, MOST_ITEMS)
        several = self.engine.model.vocabulary.domains is not None
        items = [(domain, item) if several and domain else item for domain, item, _ in past]
        behaviours = [behaviour for *_, behaviour in past]
        return replace(asked.query, items=items, behaviours=behaviours, stored=True)


class Live:
    """What answers at this moment.

    Args:
        source: where the model is read from, now and whenever it has changed.
        store: where the histories of users are.
        build: makes an engine of a model.

    Raises:
        BundleError: there is no model to begin with.
    """

    def __init__(
        self, source: Source, store: HistoryStore, build: Callable[[Model], Engine] = Engine
    ) -> None:
        self.source, self.store, self.build = source, store, build
        self.observe: Callable[[int], object] = lambda size: None
        """Told how many requests each batch has."""
        self._stamp = source.stamp()
        self.current = self._load()
        _settle()

    def refresh(self) -> bool:
        """Put a new model in the place of the one that answers, if there is one; say whether.

        It is read and tried aside first. What the old one was asked, it still answers.

        Raises:
            ModicumError: the new model cannot be used; the old one goes on.
        """
        stamp = self.source.stamp()
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        old, self.current = self.current, self._load()
        old.close()
        del old
        _settle()
        return True

    def close(self) -> None:
        """Answer what has been asked, then stop."""
        self.current.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _load(self) -> Loaded:
        model, version = self.source.read()
        engine = self.build(model)
        engine.try_out()
        return Loaded(engine, version, self.store, lambda size: self.observe(size))


def _settle() -> None:
    """Let the garbage collector leave alone what stays: walking over it holds requests up."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
