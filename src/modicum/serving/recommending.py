"""How a request for recommendations is answered in time, whatever fails on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from anyio import to_thread

from modicum.errors import ResourceError
from modicum.serving.engine import Answer, Query
from modicum.serving.live import Live, Loaded, Of
from modicum.serving.messages import Ask


class Recommending:
    """Answers by the model within a time budget, and by popularity where that cannot be.

    Args:
        live: what ranks.
        budget_s: seconds until popularity answers.
        waiting: requests that wait for the model at most; more are turned away.
    """

    def __init__(self, live: Live, *, budget_s: float, waiting: int) -> None:
        self.live, self.budget_s, self.waiting = live, budget_s, waiting

    async def answer(self, ask: Ask) -> tuple[Answer, Loaded]:
        """Return what is recommended, and the model that was asked.

        Raises:
            DataError: an id is of several domains, or a domain is unknown.
            ResourceError: too many requests wait already.
        """
        if self.live.current.waiting >= self.waiting:
            raise ResourceError("too many requests wait already; ask again later")
        past = ask.history or ()
        query = Query(
            items=[_named(item) for item in past],
            k=ask.k,
            domain=ask.domain,
            excluded=[_named(item) for item in ask.exclude],
            exclude_seen=ask.exclude_seen,
            explain=ask.explain,
            behaviours=[getattr(item, "behaviour", None) or "" for item in past],
        )
        loaded, pending = self._asked(query if ask.user is None else Of(ask.user, query))
        try:
            async with asyncio.timeout(self.budget_s):
                return await pending, loaded
        except TimeoutError:
            return await to_thread.run_sync(loaded.engine.popular, query), loaded

    def _asked(self, asked: Query | Of) -> tuple[Loaded, asyncio.Future[Answer]]:
        """Ask the model; ask the next one if it was replaced in between."""
        loaded = self.live.current
        try:
            return loaded, loaded.ask(asked)
        except ResourceError:
            if self.live.current is loaded:
                raise
            return self._asked(asked)


def _named(item: Any) -> Any:
    """Return an item as the engine names it: an id, or a pair of its domain and its id."""
    if isinstance(item, str | int):
        return item
    return item.item if item.domain is None else (item.domain, item.item)


def told(answer: Answer, loaded: Loaded) -> dict[str, Any]:
    """Return an answer as it is sent: the fields of ``Recommendations``."""
    domains: Sequence[str | None] = answer.domains or [None] * len(answer.items)
    rows: list[dict[str, Any]] = [
        {"item": item, "score": score, "rank": rank, "domain": domain}
        for rank, (item, score, domain) in enumerate(
            zip(answer.items, answer.scores, domains, strict=True), start=1
        )
    ]
    for row, because in zip(rows, answer.because, strict=False):
        row["because"] = [
            {"item": reason.event, "domain": reason.domain, "share": reason.share}
            for reason in because
        ]
    return {
        "items": rows,
        "source": answer.source,
        "reason": answer.reason,
        "unknown_items": answer.unknown,
        "model": loaded.method,
        "version": loaded.version,
    }
