"""How a request for recommendations is answered in time, whatever fails on the way."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

from anyio import to_thread

from modicum.errors import ResourceError, StoreError
from modicum.serving.engine import Answer, Query
from modicum.serving.live import Live, Loaded
from modicum.serving.messages import MOST_ITEMS, Ask, Recommendations, Recommended
from modicum.serving.store import Event, HistoryStore

logger = logging.getLogger("modicum.serving")

Reason = Literal["no known items", "over budget", "no history store"]


class Recommending:
    """Answers by the model within a time budget, and by popularity where that cannot be.

    Args:
        live: what ranks.
        store: where the histories of users are.
        budget_s: seconds until popularity answers.
        waiting: requests that wait for the model at most; more are turned away.
    """

    def __init__(self, live: Live, store: HistoryStore, *, budget_s: float, waiting: int) -> None:
        self.live, self.store = live, store
        self.budget_s, self.waiting = budget_s, waiting

    async def answer(self, ask: Ask) -> Recommendations:
        """Return what is recommended, what ranked it, and why that did.

        Raises:
            DataError: an id is of several domains, or a domain is unknown.
            ResourceError: too many requests wait already.
        """
        until = time.monotonic() + self.budget_s
        if self.live.current.waiting >= self.waiting:
            raise ResourceError("too many requests wait already; ask again later")
        reason: Reason | None = None
        past: list[Event] = []
        if ask.user is not None:
            try:
                past = await self._past(ask.user, until)
            except StoreError as error:
                logger.error("%s", error)
                reason = "no history store"
            except TimeoutError:
                reason = "over budget"
        loaded = self.live.current
        query = _query(ask, past, loaded)
        if reason is not None:
            return _told(await to_thread.run_sync(loaded.engine.popular, query), reason, loaded)
        try:
            loaded, answer = await self._ranked(ask, past, loaded, query, until)
        except TimeoutError:
            popular = await to_thread.run_sync(loaded.engine.popular, query)
            return _told(popular, "over budget", loaded)
        return _told(answer, None if answer.source == "model" else "no known items", loaded)

    async def _past(self, user: str, until: float) -> list[Event]:
        read = partial(self.store.history, user, MOST_ITEMS)
        return await asyncio.wait_for(
            to_thread.run_sync(read, abandon_on_cancel=True), until - time.monotonic()
        )

    async def _ranked(
        self, ask: Ask, past: list[Event], loaded: Loaded, query: Query, until: float
    ) -> tuple[Loaded, Answer]:
        """Ask the model; ask the next one if it was replaced in between."""
        try:
            pending = loaded.ask(query)
        except ResourceError:
            if self.live.current is loaded:
                raise
            loaded = self.live.current
            pending = loaded.ask(_query(ask, past, loaded))
        left_s = until - time.monotonic()
        return loaded, await asyncio.wait_for(asyncio.wrap_future(pending), left_s)


def _query(ask: Ask, past: Sequence[Event], loaded: Loaded) -> Query:
    """Return what is asked of a model: its vocabulary says how items are named."""
    by_domain = loaded.engine.model.vocabulary.domains is not None
    items: list[Any] = [*(ask.history or ())]
    if ask.user is not None:
        items = [(x.domain, x.item) if by_domain and x.domain else x.item for x in past]
    return Query(items, ask.k, ask.domain, ask.exclude, ask.exclude_seen)


def _told(answer: Answer, reason: Reason | None, loaded: Loaded) -> Recommendations:
    domains: Sequence[str | None] = answer.domains or [None] * len(answer.items)
    return Recommendations(
        items=[
            Recommended(item=item, score=score, rank=rank, domain=domain)
            for rank, (item, score, domain) in enumerate(
                zip(answer.items, answer.scores, domains, strict=True), start=1
            )
        ],
        source=answer.source,
        reason=reason,
        unknown_items=answer.unknown,
        model=loaded.method,
        version=loaded.version,
    )
