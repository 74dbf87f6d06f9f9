"""``modicum serve``: recommendations over HTTP, from histories that grow."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def serve(
    model: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    store: Annotated[str, Parameter(env_var="MODICUM_STORE")] = "history.sqlite",
    kept: int = 1_000,
    threads: int = 1,
) -> None:
    """Serve an exported model, or a saved one, which is exported first.

    Args:
        model: a folder that ``modicum export`` or ``modicum fit`` has written.
        host: address to listen on; others than this machine's own are refused.
        port: to listen on.
        store: of the histories: a SQLite file, made if it is not there, or the url of a Redis or
            Valkey server, which is best given in the environment if it holds a password.
        kept: events that are kept of each user.
        threads: of the encoder.
    """
    import uvicorn

    from modicum import exported
    from modicum.errors import SettingError
    from modicum.serving.app import create_app
    from modicum.serving.store import open_store

    if host not in ("127.0.0.1", "::1", "localhost"):
        raise SettingError(f"host={host!r} is not this machine; put a proxy with keys before it")
    served = exported.read(_exported(model), threads=threads)
    with open_store(store, kept=kept) as histories:
        app = create_app(served, histories)
        print(f"{served.method} at http://{host}:{port}, its description at /docs", flush=True)
        uvicorn.run(app, host=host, port=port, log_level="warning", access_log=False)


def _exported(model: Path) -> Path:
    """Return the folder of an export; a saved model is exported anew, as it may have changed."""
    from modicum.exported import CONFIG

    if (model / CONFIG).exists():
        return model
    import modicum as mo
    from modicum.compression import onnx

    return onnx.export(mo.load(model), model / "onnx")
