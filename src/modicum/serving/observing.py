"""What can be seen of a server from outside: counts, times and one line of log for each request."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modicum.errors import MissingExtraError

BUCKETS_S = (0.001, 0.002, 0.004, 0.008, 0.015, 0.03, 0.06, 0.12, 0.25, 0.5, 1.0, 2.0, 5.0)

SHARED = "PROMETHEUS_MULTIPROC_DIR"
"""Names, in the environment, the folder where the processes of one server add up what they count."""

METHODS = ("GET", "POST", "DELETE", "HEAD", "OPTIONS")

logger = logging.getLogger("modicum.serving")


class Metrics:
    """Counts and times of one server, in the format of Prometheus; none names a user or an item.

    Of several processes that share a folder (:data:`SHARED`), each tells the sums of all, and the
    model that it has itself.

    Raises:
        MissingExtraError: the extra ``serve`` is not installed.
    """

    def __init__(self) -> None:
        try:
            client: Any = import_module("prometheus_client")
        except ImportError:
            raise MissingExtraError(
                "serve", "prometheus_client", "The metrics of a server"
            ) from None
        counted, own = client.CollectorRegistry(), client.CollectorRegistry()
        summed = counted
        if (shared := os.environ.get(SHARED)) is not None:
            several = import_module("prometheus_client.multiprocess")
            _forget_dead(several, Path(shared))
            summed = client.CollectorRegistry()
            several.MultiProcessCollector(summed, shared)
        self._registries = (summed, own)
        self._written = client.generate_latest
        self.media_type: str = client.CONTENT_TYPE_LATEST
        told = {"namespace": "modicum", "registry": counted}
        self.requests = client.Counter(
            "requests", "Requests answered.", ("method", "path", "status"), **told
        )
        self.seconds = client.Histogram(
            "request_seconds", "Time to answer.", ("path",), buckets=BUCKETS_S, **told
        )
        self.under_way = client.Gauge(
            "requests_under_way", "Requests being answered.", multiprocess_mode="livesum", **told
        )
        self.answers = client.Counter(
            "answers",
            "Recommendations and predictions, by what made them.",
            ("source", "reason"),
            **told,
        )
        self.batch = client.Histogram(
            "batch_requests",
            "Requests answered in one pass of the model.",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            **told,
        )
        self.events = client.Counter("events", "Events kept that were new.", **told)
        self.reloads = client.Counter(
            "reloads", "New models met, by outcome.", ("outcome",), **told
        )
        self.model = client.Info(
            "model", "The model that answers.", namespace="modicum", registry=own
        )

    def following(
        self, refresh: Callable[[], bool], described: Callable[[], dict[str, str]]
    ) -> Callable[[], None]:
        """Return what takes a new model in, if there is one, and counts and tells it.

        Args:
            refresh: takes it in, and says whether there was one.
            described: says in words which model answers.
        """
        self.model.info(described())

        def follow() -> None:
            try:
                fresh = refresh()
            except Exception:
                self.reloads.labels("refused").inc()
                raise
            if fresh:
                self.reloads.labels("done").inc()
                self.model.info(described())

        return follow

    def text(self) -> bytes:
        """Return all of it as Prometheus reads it."""
        return b"".join(self._written(registry) for registry in self._registries)


def _forget_dead(several: Any, folder: Path) -> None:
    """Leave out what processes that are no more had under way."""
    for path in folder.glob("gauge_live*_*.db"):
        number = int(path.stem.rpartition("_")[2])
        try:
            os.kill(number, 0)
        except ProcessLookupError:
            several.mark_process_dead(number, str(folder))


class Observed:
    """Counts, times and logs what passes, by the route that it took: never by what it named.

    Args:
        app: what stands behind.
        metrics: where it is counted.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status, start = 500, time.perf_counter()

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self.metrics.under_way.inc()
        try:
            await self.app(scope, receive, noted)
        finally:
            self.metrics.under_way.dec()
            seconds = time.perf_counter() - start
            path = getattr(scope.get("route"), "path", "none")
            method = scope["method"] if scope["method"] in METHODS else "other"
            self.metrics.requests.labels(method, path, status).inc()
            self.metrics.seconds.labels(path).observe(seconds)
            logger.info(
                "request",
                extra={
                    "method": method,
                    "path": path,
                    "status": status,
                    "seconds": round(seconds, 6),
                },
            )


class JsonLines(logging.Formatter):
    """Writes each record as one line of JSON: time, level, words, and the fields it came with."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "said": record.getMessage(),
        }
        fields |= {key: value for key, value in vars(record).items() if key not in _USUAL}
        if record.exc_info:
            fields["error"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str)


_USUAL = {*vars(logging.makeLogRecord({})), "message", "asctime", "color_message"}


def log_to_stderr(*, requests: bool) -> None:
    """Write what the server says to stderr as lines of JSON, each request too if asked to."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO if requests else logging.WARNING)
    logger.propagate = False
    server = logging.getLogger("uvicorn")
    server.handlers[:] = [handler]
    server.setLevel(logging.WARNING)
    server.propagate = False
