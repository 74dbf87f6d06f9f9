"""What every script of a benchmark shares, whatever environment it runs in: numpy and torch only.

A script is started with its task as one JSON argument and prints its result as one JSON line.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np


class Sequences:
    """Histories of a leave-last-out benchmark, as written by ``data.leave_last_out``.

    Each user's events are in order; the last one is the test target, the one before it is left
    out of training (others would validate on it), all the earlier ones are for training.
    """

    def __init__(self, path: str) -> None:
        with np.load(path) as arrays:
            self.users, self.items = arrays["users"], arrays["items"]
        ends = np.flatnonzero(np.diff(self.users, append=-1) != 0)
        self.lengths = np.diff(ends, prepend=-1)
        from_end = np.repeat(ends, self.lengths) - np.arange(len(self.users))
        self.training = from_end >= 2
        self.history = from_end >= 1
        self.target = from_end == 0

    def ndcg(self, users: np.ndarray, items: np.ndarray, ranks: np.ndarray) -> float:
        """Mean NDCG of recommendations (R,) against the one target of every user."""
        targets = self.items[self.target]
        hits = items == targets[np.searchsorted(self.users[self.target], users)]
        return float((hits / np.log2(ranks + 1)).sum() / len(targets))


class EpochClock:
    """Seconds between the ends of epochs; the first epoch has no predecessor, so it warms up."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def tick(self) -> None:
        self.ends.append(time.perf_counter())

    @property
    def seconds(self) -> list[float]:
        return np.diff(self.ends).tolist()


class Stopwatch:
    """Seconds of a block, and the processor's share of them: below 1, something else ran too."""

    def __enter__(self) -> Stopwatch:
        self._begin, self._cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._begin
        self.cpu_seconds = time.process_time() - self._cpu
        self.cpu_share = self.cpu_seconds / self.seconds


def task() -> dict[str, Any]:
    """The settings this script was started with; torch, if it is in use, keeps to one thread."""
    settings = json.loads(sys.argv[1])
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    return settings


def peak_mb() -> float:
    """Peak resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(call: Callable[[], Any], times: int) -> tuple[list[float], Any]:
    """Call once to warm up, then ``times`` times; return the seconds of those and the result."""
    result = call()
    seconds = []
    for _ in range(times):
        begin = time.perf_counter()
        result = call()
        seconds.append(time.perf_counter() - begin)
    return seconds, result


def in_turn(calls: dict[str, Callable[[], Any]], times: int) -> dict[str, list[float]]:
    """Make each call once to warm up, then all in turn (A B C A B C ...); return their seconds."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(times):
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - begin)
    return seconds


def report(*packages: str, **figures: Any) -> None:
    """Print the result of this script, with the versions of the packages it measured."""
    versions = {name: version(name) for name in packages}
    print(json.dumps(figures | {"script": Path(sys.argv[0]).name, "versions": versions}))
