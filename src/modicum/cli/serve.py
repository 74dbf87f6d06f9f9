"""``modicum serve``: recommendations over HTTP, from histories that grow."""

from __future__ import annotations

from pathlib import Path

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def serve(
    model: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    store: str = "history.sqlite",
    kept: int = 1_000,
    threads: int = 1,
    keys: Path | None = None,
    rate: float | None = None,
    budget_s: float = 0.5,
    log_requests: bool = False,
) -> None:
    """Serve an exported model, or a saved one, which is exported first.

    A new model in the same place, or behind the same link, is taken up within seconds.

    Args:
        model: a folder that ``modicum export`` or ``modicum fit`` has written, or a link to one.
        host: address to listen on; beyond this machine's own, requests need a key.
        port: to listen on.
        store: SQLite file of the histories; made if it is not there.
        kept: events that are kept of each user.
        threads: of the encoder.
        keys: file of keys, of which every request needs one; ``modicum keys`` makes it.
        rate: requests a second that each caller may make; if not given, any number.
        budget_s: seconds until popularity answers in place of the model.
        log_requests: write a line of JSON to stderr for each request, without ids.
    """
    import uvicorn

    from modicum.errors import SettingError
    from modicum.serving.app import create_app
    from modicum.serving.keys import Keys
    from modicum.serving.live import Live, Source
    from modicum.serving.observing import log_to_stderr
    from modicum.serving.shell import LOOPBACK as NAMES
    from modicum.serving.shell import Limits
    from modicum.serving.sqlite_store import SQLiteStore

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
    with Live(Source(model, threads=threads)) as live, SQLiteStore(store, kept=kept) as histories:
        app = create_app(live, histories, limits, keys=held)
        print(
            f"{live.current.method} at http://{host}:{port}, its description at /docs", flush=True
        )
        uvicorn.run(
            app,
            host=host,
            port=port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=30,
        )
