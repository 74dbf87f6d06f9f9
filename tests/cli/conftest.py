from pathlib import Path

import numpy as np
import polars as pl
import pytest


@pytest.fixture(scope="session")
def events(tmp_path_factory) -> Path:
    """120 users who walk round a ring of 30 items at times of their own, and at times jump."""
    rng = np.random.default_rng(7)
    steps = np.where(rng.random((120, 15)) < 0.8, 1, rng.integers(30, size=(120, 15)))
    items = np.cumsum(steps, axis=1).ravel() % 30
    times = 1_700_000_000 + np.sort(rng.integers(900_000, size=(120, 15)), axis=1).ravel()
    users = np.repeat(np.arange(120), 15)
    frame = pl.DataFrame({"uid": users, "sku": [f"sku-{n}" for n in items], "ts": times})
    path = tmp_path_factory.mktemp("events") / "events.csv"
    frame.sort("ts").write_csv(path)
    return path
