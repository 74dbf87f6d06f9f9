"""The processes that answer on one port: this one, or several beside each other."""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing import parent_process
from pathlib import Path
from signal import SIGTERM
from tempfile import TemporaryDirectory
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from modicum.errors import ModicumError, ResourceError, SettingError
from modicum.serving.observing import SHARED, log_to_stderr

logger = logging.getLogger("modicum.serving")

UVICORN: dict[str, Any] = {
    "log_config": None,
    "access_log": False,
    "server_header": False,
    "timeout_graceful_shutdown": 30,  # for what is under way when a process is told to stop
    "timeout_worker_healthcheck": 60,  # without a sign of life a process is replaced
}
"""Settings of uvicorn; times in seconds."""

AGAIN_S = 2.0
"""A process that replaces another and cannot begin is tried again after so many seconds."""


def serve(
    build: Callable[[], FastAPI],
    *,
    host: str,
    port: int,
    workers: int,
    ready: Callable[[int], str],
) -> None:
    """Serve an application until told to stop; the last requests are answered.

    Of several processes one that dies is replaced. What it had under way is lost, what it
    acknowledged is not.

    Args:
        build: makes the application in the process that serves it; a function or a bound method that
            can be sent to another process.
        host: address to listen on.
        port: to listen on; 0: any that is free.
        workers: processes.
        ready: says, of the port, what is printed when an application has been made.

    Raises:
        SettingError: the port is taken, or this system does not share one.
        ResourceError: none of several processes could begin; each has said why.
        ModicumError: the application cannot be made.
    """
    if workers < 1:
        raise SettingError(f"workers={workers} must be 1 or more")
    addresses = _free(host, port)
    if not port:
        port = _any(*addresses[0])
        addresses = _free(host, port)
    if workers == 1:
        os.environ.pop(SHARED, None)
        _settle_threads()
        app = build()
        print(ready(port), flush=True)
        uvicorn.run(app, host=host, port=port, workers=1, **UVICORN)
        return
    log_to_stderr(requests=False)
    with ExitStack() as opened:
        sockets = [opened.enter_context(_Port(*address)) for address in addresses]
        folder = opened.enter_context(_shared_folder())
        worker = _Worker(build, folder / "begun")
        config = uvicorn.Config(
            worker, factory=True, host=host, port=port, workers=workers, **UVICORN
        )
        several = _Several(config, sockets, worker.begun, ready(port))
        several.run()
    if several.failed:
        raise ResourceError(
            f"no process could begin to serve (the last one ended with {several.failed})"
        )


@dataclass(frozen=True)
class _Worker:
    """Makes the application in a process of several.

    Args:
        build: makes it.
        begun: a file that is there once a process has made one.
    """

    build: Callable[[], FastAPI]
    begun: Path

    def __call__(self) -> FastAPI:
        threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
        _settle_threads()
        try:
            app = self.build()
        except ModicumError as error:
            print(f"modicum: error: {error}", file=sys.stderr)
            if self.begun.exists():
                time.sleep(AGAIN_S)
            raise SystemExit(1) from None
        self.begun.touch()
        return app


class _Several(Multiprocess):
    """Processes of which those that die are replaced, once one of them has begun to serve."""

    def __init__(
        self, config: uvicorn.Config, sockets: Sequence[_Port], begun: Path, ready: str
    ) -> None:
        super().__init__(config, list(sockets))
        self._begun, self._ready = begun, ready
        self.failed = 0
        """What a process ended with when none had begun."""

    def keep_subprocess_alive(self) -> None:
        ended = {process.pid: process.exitcode for process in self.processes if process.exitcode}
        if self._begun.exists():
            if self._ready:
                print(self._ready, flush=True)
                self._ready = ""
            for number, code in ended.items():
                logger.error("process %s ended with %s and is replaced", number, code)
        elif ended:
            self.failed = next(code for code in ended.values() if code)
            self.should_exit.set()
            return
        super().keep_subprocess_alive()


class _Port(socket.socket):
    """A port of which each process that is sent this socket gets a socket of its own.

    The system deals new connections out among them; of one socket for all, one process would take
    most connections.
    """

    def __init__(self, family: int, address: tuple[Any, ...]) -> None:
        if not hasattr(socket, "SO_REUSEPORT"):
            raise SettingError("this system does not share a port; serve with workers=1")
        super().__init__(family, socket.SOCK_STREAM)
        self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            self.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        self.bind(address)
        # Nobody else can bind it from now on, though nobody listens yet.
        self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Port, (int(self.family), self.getsockname())


def _free(host: str, port: int) -> list[tuple[int, tuple[Any, ...]]]:
    """Return the addresses of a host and a port of which nobody has one.

    A port that is shared may be shared with strangers.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        addresses = list(dict.fromkeys((int(family), address) for family, *_, address in found))
        for family, address in addresses:
            with socket.socket(family, socket.SOCK_STREAM) as trial:
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    trial.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                trial.bind(address)
    except OSError as error:
        raise SettingError(
            f"{host}:{port} cannot be listened on ({error.strerror}); name another host or port"
        ) from None
    return addresses


def _any(family: int, address: tuple[Any, ...]) -> int:
    """Return a port that is free at this moment."""
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        trial.bind(address)
        return int(trial.getsockname()[1])


@contextmanager
def _shared_folder() -> Iterator[Path]:
    """Make the folder where processes add up what they count, and name it to them."""
    with TemporaryDirectory(prefix="modicum-metrics-") as folder:
        os.environ[SHARED] = folder
        try:
            yield Path(folder)
        finally:
            del os.environ[SHARED]


def _settle_threads() -> None:
    """Let the thread that ranks wait less for the one that speaks HTTP."""
    sys.setswitchinterval(0.001)


def _end_with_parent() -> None:
    """Stop in good order when the process that started this one has died."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), SIGTERM)
