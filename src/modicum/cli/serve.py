"""``modicum serve``: recommendations from histories that grow, or predictions for rows, over HTTP."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from fastapi import FastAPI

    from modicum.exported import Exported
    from modicum.serving.engine import Engine
    from modicum.serving.keys import Keys
    from modicum.serving.shell import Limits

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def serve(
    model: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    store: Annotated[str, Parameter(env_var="MODICUM_STORE")] = "history.sqlite",
    kept: int = 1_000,
    threads: int = 1,
    recall: float | None = None,
    barred: Path | None = None,
    keys: Path | None = None,
    rate: float | None = None,
    budget_s: float = 0.5,
    log_requests: bool = False,
    runs: Path | None = None,
) -> None:
    """Serve a recommender, exported or saved, or a saved model of a funnel or of ratings.

    A saved recommender is exported first, and a new one in the same place, or behind the same link,
    is taken up within seconds. Other models answer /predict and keep no histories.

    Args:
        model: a folder that ``modicum export`` or ``modicum fit`` has written, or a link to one.
        host: address to listen on; beyond this machine's own, requests need a key.
        port: to listen on.
        store: of the histories: a SQLite file, made if it is not there, or the url of a Redis or
            Valkey server, which is best given in the environment if it holds a password.
        kept: events that are kept of each user.
        threads: of the encoder and of the search.
        recall: share of the ten best items to be found at least, such as 0.98, where fewer are
            found faster in a large catalogue; if not given, the search is exact.
        barred: CSV file of items that are never recommended, with a column ``item`` and, where items
            have domains, ``domain``; read when a model is.
        keys: file of keys, of which every request needs one; ``modicum keys`` makes it.
        rate: requests a second that each caller may make; if not given, any number.
        budget_s: seconds until popularity answers in place of the model.
        log_requests: write a line of JSON to stderr for each request, without ids.
        runs: folder of runs whose reports and audits the page shows.
    """
    import uvicorn

    from modicum.errors import SettingError
    from modicum.serving.app import create_app
    from modicum.serving.keys import Keys
    from modicum.serving.live import Live, Source
    from modicum.serving.observing import log_to_stderr
    from modicum.serving.pages import add_page
    from modicum.serving.shell import LOOPBACK as NAMES
    from modicum.serving.shell import Limits
    from modicum.serving.store import open_store

    beyond = host not in LOOPBACK
    if beyond and keys is None:
        raise SettingError(
            f"host={host!r} is reached from other machines: name a file of keys with --keys; "
            "make one with: modicum keys add NAME"
        )
    limits = Limits(budget_s=budget_s, rate=rate, hosts=("*",) if beyond else NAMES)
    limits.check()
    log_to_stderr(requests=log_requests)
    held = None if keys is None else Keys(keys)
    with ExitStack() as opened:
        if _predicts(model):
            app, method = _predicting(model, limits, held)
        else:
            histories = opened.enter_context(open_store(store, kept=kept))
            build = partial(_engine, recall=recall, threads=threads, barred=barred)
            live = opened.enter_context(Live(Source(model, threads=threads), histories, build))
            app, method = create_app(live, limits, keys=held), live.current.method
        add_page(app, runs=runs)
        print(f"{method} at http://{host}:{port}, its description at /docs", flush=True)
        # The thread that ranks waits less for the one that speaks HTTP.
        sys.setswitchinterval(0.001)
        uvicorn.run(
            app,
            host=host,
            port=port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=30,
        )


def _predicts(model: Path) -> bool:
    """Say whether a folder holds a saved model that predicts for rows."""
    from modicum.card import CONFIG as BUNDLE
    from modicum.errors import BundleError
    from modicum.exported import CONFIG

    if (model / CONFIG).exists() or not (model / BUNDLE).exists():
        return False
    try:
        method = json.loads((model / BUNDLE).read_text(encoding="utf-8"))["method"]
        return str(method).partition(".")[0] in ("conversion", "rating")
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise BundleError(
            f"{model / BUNDLE} is damaged ({error!r}); save the model again"
        ) from None


def _predicting(model: Path, limits: Limits, keys: Keys | None) -> tuple[FastAPI, str]:
    import modicum as mo
    from modicum.serving.predicting import PairPredictor, create_predict_app

    saved = mo.load(model)
    predictor = saved if hasattr(saved, "funnel") else PairPredictor(saved)
    return create_predict_app(predictor, limits, keys=keys), saved.name


def _engine(model: Exported, *, recall: float | None, threads: int, barred: Path | None) -> Engine:
    """Return the engine of a model; what is barred is read anew for each."""
    from modicum.serving.engine import Engine
    from modicum.serving.rules import read_barred

    rows = None if barred is None else read_barred(barred, model.vocabulary).rows
    return Engine(model, recall=recall, threads=threads, barred=rows)
