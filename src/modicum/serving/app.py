"""The HTTP application: recommend, keep events, show and erase histories."""

from __future__ import annotations

import json
import time
from functools import partial
from typing import Annotated

from anyio import to_thread
from fastapi import FastAPI, Path, Response, status

from modicum.serving.keys import Keys
from modicum.serving.live import Live
from modicum.serving.messages import (
    MOST_ITEMS,
    Ask,
    Domains,
    Erased,
    History,
    Kept,
    NewEvent,
    NewEvents,
    PastEvent,
    Recommendations,
    User,
)
from modicum.serving.observing import Metrics
from modicum.serving.recommending import Recommending, told
from modicum.serving.shell import Limits, shell
from modicum.serving.store import Event

UserId = Annotated[User, Path()]


def create_app(live: Live, limits: Limits | None = None, *, keys: Keys | None = None) -> FastAPI:
    """Return the application for a model and its store; it closes neither.

    Args:
        live: what recommends.
        limits: on time and load.
        keys: of which every request needs one; None: none does.
    """
    limits, metrics, store = limits or Limits(), Metrics(), live.store
    recommending = Recommending(live, budget_s=limits.budget_s, waiting=limits.waiting)
    clock = Clock()
    live.observe = metrics.batch.observe
    app = shell(
        "Recommendations from live histories",
        metrics=metrics,
        limits=limits,
        keys=keys,
        refresh=[metrics.following(live.refresh, lambda: live.current.described)],
        check=store.check,
    )

    @app.post("/recommend", response_model=Recommendations)
    async def recommend(ask: Ask) -> Response:
        answer, loaded = await recommending.answer(ask)
        metrics.answers.labels(answer.source, answer.reason or "").inc()
        return Response(json.dumps(told(answer, loaded)), media_type="application/json")

    @app.get("/domains")
    async def domains() -> Domains:
        model = live.current.engine.model
        return Domains(domains=[*model.vocabulary.domain_names], required=model.by_domain)

    @app.post("/events", status_code=status.HTTP_201_CREATED)
    async def keep(new: NewEvents) -> Kept:
        events = [_event(event, clock.now()) for event in new.events]
        kept = await to_thread.run_sync(store.append, events)
        metrics.events.inc(kept)
        return Kept(sent=len(events), new=kept)

    @app.get("/users/{user:path}/history")
    async def history(user: UserId) -> History:
        past = await to_thread.run_sync(partial(store.history, user, MOST_ITEMS))
        return History(user=user, events=[_past(event) for event in past])

    @app.delete("/users/{user:path}/history")
    async def erase(user: UserId) -> Erased:
        return Erased(user=user, erased=await to_thread.run_sync(store.erase, user))

    return app


class Clock:
    """Seconds since 1970 that never go back, even where the machine's clock does."""

    def __init__(self) -> None:
        self._latest = 0.0

    def now(self) -> float:
        self._latest = max(self._latest, time.time())
        return self._latest


def _event(new: NewEvent, now: float) -> Event:
    return Event(
        id=new.id,
        user=new.user,
        item=new.item,
        time=now if new.time is None else new.time,
        domain=new.domain or "",
        behaviour=new.behaviour or "",
    )


def _past(event: Event) -> PastEvent:
    return PastEvent(
        id=event.id,
        item=event.item,
        time=event.time,
        domain=event.domain or None,
        behaviour=event.behaviour or None,
    )
