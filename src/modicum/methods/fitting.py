"""How a model is being fitted: what was asked for, and the hashes that tell one training from another."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modicum.data.histories import Histories
from modicum.data.log import EventLog
from modicum.data.split import Queries
from modicum.errors import DataError, SettingError
from modicum.methods.starting import Start
from modicum.training.processes import Processes
from modicum.training.progress import ProgressBar


@dataclass(frozen=True)
class Fitting:
    """How a model is being fitted: the keyword arguments of :meth:`Recommender.fit`."""

    validation: Queries | None
    seed: int
    folder: Path | None
    progress: bool
    exclude_seen: bool
    start: Start | None = None

    def __post_init__(self) -> None:
        check_seed(self.seed)

    @property
    def judged_by(self) -> list[Any]:
        """What chooses the epoch, in short: the validation queries, and how they are ranked."""
        if self.validation is None:
            return []
        targets = hashlib.sha256(np.ascontiguousarray(self.validation.targets).tobytes())
        return [events_digest(self.validation.histories), targets.hexdigest(), self.exclude_seen]

    def bar(self, title: str) -> ProgressBar:
        """Return a progress bar, silent where none is wanted or another process shows one."""
        return ProgressBar(title, shown=self.progress and Processes.join().leads)


def check_seed(seed: int) -> None:
    """Raise SettingError for a seed that the generators do not take.

    >>> check_seed(-1)
    Traceback (most recent call last):
    modicum.errors.SettingError: seed=-1 must be a whole number from 0 to 2^63 - 1
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**63:
        raise SettingError(f"seed={seed!r} must be a whole number from 0 to 2^63 - 1")


def checked(train: Histories | EventLog, validation: Queries | None) -> Histories:
    """Return the training part, if both are of the right kind."""
    histories = Histories.from_log(train) if isinstance(train, EventLog) else train
    if not isinstance(histories, Histories):
        raise DataError(
            f"fit got a {type(train).__name__}; pass split.train of mo.split(log), or a log"
        )
    if not isinstance(validation, Queries | None):
        raise DataError(
            f"validation is a {type(validation).__name__}; pass split.validation of mo.split(log)"
        )
    return histories


def hashed(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def events_digest(histories: Histories) -> str:
    """Return a hash of the events that were learnt from."""
    digest = hashlib.sha256(np.ascontiguousarray(histories.item_rows).tobytes())
    digest.update(np.ascontiguousarray(histories.offsets).tobytes())
    if "weight" in histories.columns:
        digest.update(np.ascontiguousarray(histories.columns["weight"]).tobytes())
    return digest.hexdigest()


def sampled(queries: Queries, size: int) -> Queries:
    """Return at most ``size`` of the queries, the same ones each time."""
    if len(queries) <= size:
        return queries
    chosen = np.random.default_rng(0).choice(len(queries), size, replace=False)
    return queries.take(np.sort(chosen))
