"""Stores of every kind, empty, and a small exported model."""

from itertools import count
from pathlib import Path

import polars as pl
import pytest
import valkey

import modicum as mo
from modicum import exported
from modicum.compression.onnx import export
from modicum.data.log import EventLog
from modicum.data.simulate import simulate_markov
from modicum.exported import Exported
from modicum.methods.recommender import Recommender
from modicum.serving.live import Live
from modicum.serving.source import Source
from modicum.serving.store import HistoryStore, open_store

PATIENCE_S = 180.0
"""No test waits so long, however busy the machine, unless it has failed."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.sqlite"


@pytest.fixture(params=["sqlite", "redis"])
def empty(request: pytest.FixtureRequest, tmp_path: Path):
    """Names a new, empty store of each kind, each time it is called."""
    if request.param == "sqlite":
        numbers = count()
        return lambda: str(tmp_path / f"{next(numbers)}.sqlite")
    server = request.getfixturevalue("shared_redis")

    def emptied() -> str:
        with valkey.Valkey.from_url(server.url) as client:
            client.flushall()
        return server.url

    return emptied


@pytest.fixture
def store(path: Path):
    with open_store(path, kept=5, timeout_s=PATIENCE_S) as opened:
        yield opened


@pytest.fixture(scope="session")
def fitted() -> Recommender:
    log = simulate_markov(60, 30, events_per_user=9, seed=0).log
    named = EventLog(log.scan.with_columns(item=pl.format("i{}", "item")), source="simulated")
    shape = {"dim": 8, "layers": 1, "heads": 2, "length": 6, "epochs": 2}
    return mo.SASRec(**shape).fit(named, progress=False)


@pytest.fixture(scope="session")
def folder(fitted: Recommender, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(fitted, tmp_path_factory.mktemp("export"))


@pytest.fixture(scope="session")
def model(folder: Path) -> Exported:
    return exported.read(folder)


@pytest.fixture
def live(folder: Path, store: HistoryStore):
    with Live(Source(folder), store) as loaded:
        yield loaded
