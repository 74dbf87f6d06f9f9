"""The processes that answer on one port: this one, or several beside each other."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import parent_process
from signal import SIGTERM
from tempfile import TemporaryDirectory
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from modicum.errors import ModicumError, SettingError
from modicum.serving.observing import SHARED

UVICORN: dict[str, Any] = {
    "log_config": None,
    "access_log": False,
    "server_header": False,
    "timeout_graceful_shutdown": 30,  # for what is under way when a process is told to stop
    "timeout_worker_healthcheck": 60,  # without a sign of life a process is replaced
}
"""Settings of uvicorn; times in seconds."""


def serve(build: Callable[[], FastAPI], *, host: str, port: int, workers: int) -> None:
    """Serve an application until told to stop; the last requests are answered.

    A process that dies is replaced. What it had under way is lost, what it acknowledged is not.

    Args:
        build: makes the application in the process that serves it; a function or a bound method that
            can be sent to another process.
        host: address to listen on.
        port: to listen on.
        workers: processes.

    Raises:
        SettingError: the port is taken, or this system does not share one.
        ModicumError: the application cannot be made.
    """
    if workers < 1:
        raise SettingError(f"workers={workers} must be 1 or more")
    _require_free(host, port)
    if workers == 1:
        _settle_threads()
        uvicorn.run(build(), host=host, port=port, **UVICORN)
        return
    worker = _Worker(build)
    config = uvicorn.Config(worker, factory=True, host=host, port=port, workers=workers, **UVICORN)
    with TemporaryDirectory(prefix="modicum-metrics-") as folder, _Port(host, port) as listening:
        os.environ[SHARED] = folder
        several = Multiprocess(config, [listening])
        several.run()
    if any(process.exitcode == STARTUP_FAILURE for process in several.processes):
        raise SystemExit(1)


@dataclass(frozen=True)
class _Worker:
    """Makes the application in a process of several."""

    build: Callable[[], FastAPI]

    def __call__(self) -> FastAPI:
        threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
        _settle_threads()
        try:
            return self.build()
        except ModicumError as error:
            print(f"modicum: error: {error}", file=sys.stderr)
            raise SystemExit(STARTUP_FAILURE) from None


class _Port(socket.socket):
    """A port of which each process that is sent this socket gets a socket of its own.

    The system deals new connections out among them; of one socket for all, one process would take
    most connections.
    """

    def __init__(self, host: str, port: int) -> None:
        if not hasattr(socket, "SO_REUSEPORT"):
            raise SettingError("this system does not share a port; serve with workers=1")
        family, _, _, _, address = _addressed(host, port)
        super().__init__(family, socket.SOCK_STREAM)
        self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self.bind(address)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Port, self.getsockname()[:2]


def _require_free(host: str, port: int) -> None:
    """See that nobody listens there: a port that is shared may be shared with strangers."""
    try:
        family, _, _, _, address = _addressed(host, port)
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
    except OSError as error:
        raise SettingError(
            f"{host}:{port} cannot be listened on ({error.strerror}); name another host or port"
        ) from None


def _addressed(host: str, port: int) -> Any:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]


def _settle_threads() -> None:
    """Let the thread that ranks wait less for the one that speaks HTTP."""
    sys.setswitchinterval(0.001)


def _end_with_parent() -> None:
    """Stop in good order when the process that started this one has died."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), SIGTERM)
