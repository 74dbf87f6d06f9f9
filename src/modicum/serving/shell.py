"""What every server of modicum has around its endpoints: guards, health, metrics, plain problems."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from anyio import to_thread
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from modicum import __version__
from modicum.errors import DataError, ModicumError, ResourceError, SettingError, StoreError
from modicum.serving.guards import BodyLimit, Crowd, KeyGuard, RateLimit
from modicum.serving.keys import Keys
from modicum.serving.messages import Problem, State
from modicum.serving.observing import Metrics, Observed

logger = logging.getLogger("modicum.serving")

NO_STORE = "the history store does not answer; try again later"

OWN_NAMES = ("127.0.0.1", "localhost", "[::1]")
"""What a server on loopback is called."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a server grants.

    Args:
        budget_s: time to answer by the model; after it, popularity answers.
        waiting: requests that wait for the model at most; more are turned away.
        under_way: requests under way at most, waiting or not; more are turned away.
        rate: requests a second of each caller; None: as many as it likes.
        body_bytes: of a request at most.
        body_s: time that a body may take to come.
        refresh_s: time between looks for a new model and new keys.
        hosts: names that a request may call this server by, ``"*"`` for any; a name that is not
            its own may be a web page's trick.
    """

    budget_s: float = 0.5
    waiting: int = 512
    under_way: int = 1_024
    rate: float | None = None
    body_bytes: int = 2**20
    body_s: float = 10.0
    refresh_s: float = 2.0
    hosts: tuple[str, ...] = OWN_NAMES

    def check(self) -> None:
        """Raise SettingError where a limit cannot be kept."""
        if not 0 < self.budget_s < float("inf"):
            raise SettingError(f"budget_s={self.budget_s} must be above 0")
        if self.rate is not None and not 0 < self.rate < float("inf"):
            raise SettingError(f"rate={self.rate} must be above 0")


def shell(
    summary: str,
    *,
    metrics: Metrics,
    limits: Limits,
    keys: Keys | None,
    refresh: Sequence[Callable[[], object]],
    check: Callable[[], object],
) -> FastAPI:
    """Return an application without endpoints of its own but with all that is around them.

    Args:
        summary: of what it serves.
        metrics: where requests are counted.
        limits: on time and load.
        keys: of which every request needs one; None: none does.
        refresh: called every now and then; errors of modicum are logged.
        check: raises StoreError where the server is not ready.
    """
    refresh = [*refresh] if keys is None else [*refresh, keys.refresh]

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        looking = asyncio.create_task(_look(refresh, limits.refresh_s))
        yield
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking

    app = FastAPI(
        title="modicum",
        summary=summary,
        version=__version__,
        lifespan=life,
        responses={code: {"model": Problem} for code in (401, 408, 413, 422, 429, 503)},
    )
    # The last one added is the first to be asked.
    app.add_middleware(BodyLimit, largest=limits.body_bytes, patience_s=limits.body_s)
    app.add_middleware(Crowd, most=limits.under_way)
    if limits.rate is not None:
        app.add_middleware(RateLimit, rate=limits.rate)
    app.add_middleware(KeyGuard, keys=keys)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(limits.hosts))
    app.add_middleware(Observed, metrics=metrics)
    _tell_problems(app)

    @app.get("/healthz")
    async def alive() -> State:
        return State(status="ok")

    @app.get("/readyz", responses={503: {"model": State}})
    async def ready() -> Any:
        try:
            await asyncio.wait_for(to_thread.run_sync(check, abandon_on_cancel=True), limits.body_s)
        except (StoreError, TimeoutError) as error:
            logger.error("%s", error or "the history store did not answer in time")
            return JSONResponse(State(status="not ready", detail=NO_STORE).model_dump(), 503)
        return State(status="ok")

    @app.get("/metrics", response_class=Response)
    async def measured() -> Response:
        return Response(metrics.text(), media_type=metrics.media_type)

    return app


async def _look(refresh: Sequence[Callable[[], object]], every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        for look in refresh:
            try:
                await to_thread.run_sync(look)
            except ModicumError as error:
                logger.error("%s; what was there before goes on", error)
            except Exception:
                logger.exception("what has changed cannot be used; what was there before goes on")


def _tell_problems(app: FastAPI) -> None:
    """Answer errors of modicum, and what FastAPI refuses, as one kind of message."""

    def told(code: int, text: str) -> JSONResponse:
        return JSONResponse(Problem(error=text).model_dump(), code)

    @app.exception_handler(DataError)
    async def unusable(_: Request, error: DataError) -> JSONResponse:
        return told(422, str(error))

    @app.exception_handler(ResourceError)
    async def busy(_: Request, error: ResourceError) -> JSONResponse:
        return told(503, str(error))

    @app.exception_handler(StoreError)
    async def no_store(_: Request, error: StoreError) -> JSONResponse:
        logger.error("%s", error)  # it names the file, which is nobody's business outside
        return told(503, NO_STORE)

    @app.exception_handler(RequestValidationError)
    async def malformed(_: Request, error: RequestValidationError) -> JSONResponse:
        found = [f"{'.'.join(map(str, x['loc']))[:80]}: {x['msg']}" for x in error.errors()[:5]]
        return told(422, "; ".join(found))

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> JSONResponse:
        answer = told(error.status_code, str(error.detail))
        answer.headers.update(error.headers or {})
        return answer
