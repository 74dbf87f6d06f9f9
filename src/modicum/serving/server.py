"""What is served and how: settings that make the application in whichever process serves it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI

from modicum.card import CONFIG as BUNDLE
from modicum.errors import BundleError, SettingError
from modicum.exported import CONFIG
from modicum.serving.app import create_app
from modicum.serving.engine import Engine, Model
from modicum.serving.keys import Keys
from modicum.serving.live import Live
from modicum.serving.observing import log_to_stderr
from modicum.serving.pages import add_page
from modicum.serving.predicting import LivePredictor, create_predict_app
from modicum.serving.rules import read_barred
from modicum.serving.shell import Limits
from modicum.serving.source import Source
from modicum.serving.store import open_store

PREDICTING = ("conversion", "rating")
"""First words of the methods that predict for rows."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """A model, and all that a server of it needs.

    Args:
        model: folder of an export or of a saved model, or a link to one.
        store: of histories: a file, or the url of a Redis server.
        kept: events that are kept of each user.
        threads: of the encoder and of the search.
        recall: share of the best items that a search must find; None: all.
        barred: file of items that are never recommended; None: there are none.
        keys: file of keys; None: none is needed.
        limits: on time and load.
        log_requests: whether each request is logged.
        runs: folder of runs that the page shows; None: it shows none.
    """

    model: Path
    store: str
    kept: int
    threads: int
    recall: float | None
    barred: Path | None
    keys: Path | None
    limits: Limits
    log_requests: bool
    runs: Path | None

    def check(self) -> None:
        """Raise SettingError where a setting is out of range, or names a folder that is not there."""
        for name in ("threads", "kept"):
            if getattr(self, name) < 1:
                raise SettingError(f"{name}={getattr(self, name)} must be 1 or more")
        if self.recall is not None and not 0 < self.recall < 1:
            raise SettingError(
                f"recall={self.recall} must be above 0 and below 1; without it the search is exact"
            )
        if self.runs is not None and not self.runs.is_dir():
            raise SettingError(f"runs={str(self.runs)!r} is no folder; name one that holds runs")
        self.limits.check()

    def method(self) -> str:
        """Return the name of the method that is served.

        Raises:
            BundleError: there is no model, or it is damaged.
        """
        for name in (CONFIG, BUNDLE):
            path = self.model / name
            try:
                return str(json.loads(path.read_text(encoding="utf-8"))["method"])
            except FileNotFoundError:
                continue
            except (ValueError, KeyError, TypeError, OSError) as error:
                raise BundleError(f"{path} is damaged ({error!r}); save the model again") from None
        raise BundleError(
            f"{self.model} holds no model: neither {CONFIG} nor {BUNDLE} is there; name a folder "
            "that modicum fit or modicum export has written"
        )

    def app(self) -> FastAPI:
        """Return the application; what it has open is closed as it ends.

        Raises:
            ModicumError: the model, the store, the keys or the barred items cannot be read.
        """
        log_to_stderr(requests=self.log_requests)
        keys = None if self.keys is None else Keys(self.keys)
        with ExitStack() as opened:
            if self.method().partition(".")[0] in PREDICTING:
                app = create_predict_app(LivePredictor(self.model), self.limits, keys=keys)
            else:
                histories = opened.enter_context(open_store(self.store, kept=self.kept))
                source = Source(self.model, threads=self.threads)
                live = opened.enter_context(Live(source, histories, self._engine))
                app = create_app(live, self.limits, keys=keys)
            add_page(app, runs=self.runs)
            _close_with(app, opened.pop_all())
        return app

    def _engine(self, model: Model) -> Engine:
        """Return the engine of a model; what is barred is read anew for each."""
        rows = None if self.barred is None else read_barred(self.barred, model.vocabulary).rows
        return Engine(model, recall=self.recall, threads=self.threads, barred=rows)


def _close_with(app: FastAPI, opened: ExitStack) -> None:
    """Close, as an application ends, what it has open."""
    life = app.router.lifespan_context

    @asynccontextmanager
    async def closing(app: FastAPI) -> AsyncIterator[None]:
        with opened:
            async with life(app):
                yield

    app.router.lifespan_context = closing
