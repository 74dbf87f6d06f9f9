"""A server under load from a second process, over loopback: ours, or what one writes in ten minutes.

Users have 50 events each; every 20th request posts an event. As many connections as in the task ask
one after another: that is saturation. Then requests come at fixed rates, whether or not earlier
ones are answered, and a request's time counts from when it was due. At the end, every event that
was acknowledged must be in its user's history.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import protocol

HISTORY, NUM_USERS, POST_EVERY = 50, 200, 20
SHARES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Of the rate of saturation, at which latencies are measured."""


@dataclass
class Load:
    """What is asked of a server, and what came back.

    Args:
        port: of the server on this machine.
        items: ids are ``i0`` to ``i{items - 1}``.
        random: what chooses users and items.
    """

    port: int
    items: int
    random: np.random.Generator
    sent: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    posts_s: list[float] = field(default_factory=list)
    acknowledged: dict[str, list[str]] = field(default_factory=dict)

    async def fill(self) -> None:
        """Give every user a history."""
        connection = await Connection.open(self.port)
        for user in range(NUM_USERS):
            events = [self._event(f"u{user}") for _ in range(HISTORY)]
            await self._post(connection, events)
        connection.close()

    async def saturate(self, connections: int, seconds: float) -> float:
        """Return answers a second when every connection asks as soon as it has its answer."""
        until = time.perf_counter() + seconds

        async def ask() -> int:
            connection, answers = await Connection.open(self.port), 0
            while time.perf_counter() < until:
                await self.one(connection)
                answers += 1
            connection.close()
            return answers

        start = time.perf_counter()
        answers = await asyncio.gather(*(ask() for _ in range(connections)))
        return sum(answers) / (time.perf_counter() - start)

    async def offer(self, rate: float, connections: int, seconds: float) -> np.ndarray:
        """Return the seconds from when each recommendation was due to its answer, at a rate."""
        idle: asyncio.Queue[Connection] = asyncio.Queue()
        for _ in range(connections):
            idle.put_nowait(await Connection.open(self.port))
        took: list[float] = []

        async def ask(due: float) -> None:
            connection = await idle.get()
            posted = await self.one(connection)
            (self.posts_s if posted else took).append(time.perf_counter() - due)
            idle.put_nowait(connection)

        start, asked = time.perf_counter(), []
        gaps = self.random.exponential(1 / rate, int(rate * seconds))
        for due in start + np.cumsum(gaps):
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            asked.append(asyncio.create_task(ask(float(due))))
        await asyncio.gather(*asked)
        while not idle.empty():
            idle.get_nowait().close()
        return np.array(took)

    async def one(self, connection: Connection) -> bool:
        """Ask for recommendations, or post an event; say whether it was that."""
        self.sent += 1
        user = f"u{self.random.integers(NUM_USERS)}"
        if self.sent % POST_EVERY == 0:
            await self._post(connection, [self._event(user)])
            return True
        status, told = await connection.ask("POST", "/recommend", {"user": user, "k": 10})
        if status != 200:
            self._failed("recommend", status, told)
        elif len(told["items"]) != 10 or told.get("source", "model") != "model":
            self._failed("recommend", status, "fewer than 10 items, or by popularity")
        return False

    async def lost(self) -> int:
        """Return how many acknowledged events their users' histories lack."""
        connection, missing = await Connection.open(self.port), 0
        for user, ids in self.acknowledged.items():
            _, told = await connection.ask("GET", f"/users/{user}/history")
            missing += len({*ids} - {event["id"] for event in told["events"]})
        connection.close()
        return missing

    def _event(self, user: str) -> dict[str, str]:
        name = f"e{self.random.integers(2**60)}"
        return {"id": name, "user": user, "item": f"i{self.random.integers(self.items)}"}

    async def _post(self, connection: Connection, events: list[dict[str, str]]) -> None:
        status, told = await connection.ask("POST", "/events", {"events": events})
        if status not in (200, 201):
            self._failed("events", status, told)
            return
        for event in events:
            self.acknowledged.setdefault(event["user"], []).append(event["id"])

    def _failed(self, asked: str, status: int, told: Any) -> None:
        what = f"{asked}, {status}: {told}"
        self.errors[what] = self.errors.get(what, 0) + 1


class Connection:
    """One kept-alive connection, which asks one thing at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> Connection:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        content = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        self._writer.write(f"{head}content-length: {len(content)}\r\n\r\n".encode() + content)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        lines = answer.lower().split(b"\r\n")
        length = next(int(x.split(b":")[1]) for x in lines if x.startswith(b"content-length:"))
        return int(lines[0].split()[1]), json.loads(await self._reader.readexactly(length))

    def close(self) -> None:
        self._writer.close()


def fitted(items: int, folder: Path) -> Path:
    """Return a saved SASRec over a catalogue, fitted for one epoch on clustered histories."""
    if not (folder / "config.json").exists():
        import polars as pl

        import modicum as mo
        from modicum.compression.onnx import export

        random = np.random.default_rng(0)
        length, num_users = 20, items // 20
        groups = np.repeat(random.integers(items // 50, size=num_users), length)
        of_group = groups * 50 + random.integers(50, size=len(groups))
        # Every item occurs once at least.
        users = np.concatenate([np.repeat(np.arange(num_users), length), np.arange(items)])
        chosen = np.concatenate([of_group, random.permutation(items)])
        frame = pl.DataFrame(
            {"user": users, "item": chosen, "time": np.arange(len(users))}
        ).with_columns(item=pl.format("i{}", "item"))
        log = mo.read_events(frame, user="user", item="item", time="time")
        model = mo.SASRec(dim=64, layers=2, length=HISTORY, epochs=1, device="cpu")
        model.fit(log, progress=False).save(folder)
        export(model, folder / "onnx")
    return folder


@contextmanager
def server(workers: int | None, model: Path, port: int) -> Iterator[None]:
    """Run a server of some processes until the block ends; None: the plain one."""
    if workers is None:
        command = [sys.executable, "benchmarks/plain_server.py", str(model), str(port)]
    else:
        store = Path(tempfile.mkdtemp()) / "history.sqlite"
        command = [sys.executable, "-m", "modicum", "serve", str(model / "onnx")]
        command += ["--port", str(port), "--store", str(store), "--budget-s", "30"]
        command += ["--workers", str(workers)]
    running = subprocess.Popen(command, stdout=sys.stderr)
    try:
        deadline = time.monotonic() + 120
        while running.poll() is None and time.monotonic() < deadline:
            with socket.socket() as trial:
                if trial.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        time.sleep(3 * (workers or 0))  # until the last process listens too
        yield
    finally:
        running.terminate()
        running.wait(60)


async def measured(task: dict[str, Any], port: int) -> dict[str, Any]:
    load = Load(port, task["items"], np.random.default_rng(task["seed"]))
    connections, seconds = task["connections"], task["seconds"]
    await load.fill()
    await load.saturate(connections, seconds / 4)
    saturated = await load.saturate(connections, seconds)
    curve = []
    for share in SHARES:
        took = await load.offer(saturated * share, connections, seconds)
        p50, p95, p99 = np.percentile(took, (50, 95, 99)).tolist()
        curve.append({"rate": saturated * share, "p50_s": p50, "p95_s": p95, "p99_s": p99})
    at = curve[SHARES.index(0.7)]
    return {
        "saturation_rps": saturated,
        "rps_within_50_ms": rate_within(0.05, curve),
        "rps_within_100_ms": rate_within(0.1, curve),
        "p50_s": at["p50_s"],
        "p95_s": at["p95_s"],
        "p99_s": at["p99_s"],
        "p99_to_p50": at["p99_s"] / at["p50_s"],
        "posts_p50_s": float(np.median(load.posts_s)),
        "posts_p99_s": float(np.percentile(load.posts_s, 99)),
        "curve": curve,
        "requests": load.sent,
        "errors": sum(load.errors.values()),
        "what_failed": load.errors,
        "lost_events": await load.lost() if task["workers"] else None,
    }


def rate_within(p99_s: float, curve: list[dict[str, float]]) -> float:
    """Return the highest rate offered before the 99th percentile first went above a limit."""
    kept = itertools.takewhile(lambda point: point["p99_s"] <= p99_s, curve)
    return max((point["rate"] for point in kept), default=0.0)


def main() -> None:
    task = protocol.task()
    gc.disable()  # its pauses would count as the server's
    model = fitted(task["items"], Path("runs/benchmarks") / f"serving-{task['items']}")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    with server(task["workers"], model, port):
        figures = asyncio.run(measured(task, port))
    package = "modicum" if task["workers"] else "torch"
    protocol.report(package, "fastapi", **figures)


main()
