"""``modicum serve``: recommendations from histories that grow, or predictions for rows, over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def serve(
    model: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    store: Annotated[str, Parameter(env_var="MODICUM_STORE")] = "history.sqlite",
    kept: int = 1_000,
    workers: int = 1,
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

    A saved recommender is exported first, or run by torch where it reads a history for the domain
    that is asked for; a new one in the same place, or behind the same link, is taken up within
    seconds. Other models answer /predict and keep no histories.

    Args:
        model: a folder that ``modicum export`` or ``modicum fit`` has written, or a link to one.
        host: address to listen on; beyond this machine's own, requests need a key.
        port: to listen on; 0 for any that is free, which is printed.
        store: of the histories: a SQLite file, made if it is not there, or the url of a Redis or
            Valkey server, which is best given in the environment if it holds a password.
        kept: events that are kept of each user.
        workers: processes that answer on the port, each with the model in memory; metrics are
            their sums, rates and limits are for each.
        threads: of the encoder and of the search, in each process.
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
    from modicum.errors import SettingError
    from modicum.serving.processes import serve as run
    from modicum.serving.server import Server
    from modicum.serving.shell import OWN_NAMES, Limits

    if not 0 <= port <= 65_535:
        raise SettingError(f"port={port} must be from 0 to 65535")
    beyond = host not in LOOPBACK
    if beyond and keys is None:
        raise SettingError(
            f"host={host!r} is reached from other machines: name a file of keys with --keys; "
            "make one with: modicum keys add NAME"
        )
    limits = Limits(budget_s=budget_s, rate=rate, hosts=("*",) if beyond else OWN_NAMES)
    server = Server(
        model=model,
        store=store,
        kept=kept,
        threads=threads,
        recall=recall,
        barred=barred,
        keys=keys,
        limits=limits,
        log_requests=log_requests,
        runs=runs,
    )
    server.check()
    _, _, method = server.method().rpartition(".")
    run(
        server.app,
        host=host,
        port=port,
        workers=workers,
        ready=lambda port: f"{method} at http://{host}:{port}, its description at /docs",
    )
