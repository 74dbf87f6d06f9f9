from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from modicum.data.audit import Audit
from modicum.data.log import EventLog

START = 1_600_000_000
YEAR = 365 * 86_400


def clean(num_users: int = 300, num_items: int = 60, length: int = 20) -> pl.DataFrame:
    """Events with nothing wrong: random times over a year, popular and rare items, no repeats."""
    rng = np.random.default_rng(7)
    taste = np.log(1 / np.arange(2, num_items + 2))
    draw = taste + rng.gumbel(size=(num_users, num_items))
    items = np.argsort(-draw, axis=1)[:, :length]
    shuffle = rng.random(items.shape).argsort(axis=1)
    items = np.take_along_axis(items, shuffle, axis=1)
    labels = rng.permutation(num_items) + 100
    seconds = np.sort(rng.choice(YEAR, num_users * length, replace=False))
    frame = pl.DataFrame(
        {
            "user": np.repeat(np.arange(num_users), length),
            "item": labels[items].ravel(),
            "time": START + rng.permutation(seconds),
        }
    )
    return frame.with_columns(pl.from_epoch("time").cast(pl.Datetime("us")))


def as_log(frame: pl.DataFrame) -> EventLog:
    return EventLog(frame.lazy(), source="simulated")


@pytest.fixture
def frame() -> pl.DataFrame:
    return clean()


@pytest.fixture
def log_of() -> Callable[[pl.DataFrame], EventLog]:
    return as_log


@pytest.fixture
def severities() -> Callable[[Audit], dict[str, str]]:
    """Code -> severity of the findings above note."""
    return lambda audit: {f.code: f.severity for f in audit.findings if f.severity != "note"}


@pytest.fixture
def shared() -> Path:
    place = Path(os.environ.get("MODICUM_SHARED", Path(__file__).parents[4] / "shared"))
    folder = place if (place / "crossdomain").is_dir() else place / "data"
    if not folder.is_dir():
        pytest.skip(f"the shared data are not at {folder}")
    return folder
