"""Where the events of a recipe come from: samples, files of one domain or several, published parts."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import modicum as mo
from modicum.data.log import EventLog
from modicum.data.split import Split
from modicum.errors import DataError

HERE = Path(__file__).resolve().parent

FOOD_ITEMS = 8_661
"""In Food and Kitchen, items below this are food, the others kitchen."""


def load_split(data: dict[str, Any], settings: dict[str, Any], scale: float) -> Split:
    """Read the events that a recipe names, and split them.

    Args:
        data: the recipe's ``[data]``.
        settings: of the split.
        scale: share of all users to take.
    """
    roles = dict(data)
    least = roles.pop("min_item_events", 1)
    share = scale * roles.pop("user_share", 1)
    if name := roles.pop("parts", None):
        training, *queries = PARTS[name]()
        taken = [_share_of_users(x, share) for x in (_items_with(training, least), *queries)]
        return Split.given(*taken, **settings)
    if sample := roles.pop("sample", None):
        log = mo.load_sample(sample)
    else:
        log = mo.read_events(_paths(roles.pop("file")), **roles)
    return mo.split(_share_of_users(_items_with(log, least), share), **settings)


def food_kitchen() -> list[EventLog]:
    """Return the published parts of Food and Kitchen: training, validation, test.

    Each file numbers its users from 1 and gives their items in order, without times.
    """
    parts = (("train_A", "train_B", "train_overlap"), ("valid",), ("test",))
    return [_sequences(names) for names in parts]


PARTS: dict[str, Callable[[], list[EventLog]]] = {"food_kitchen": food_kitchen}
"""Published splits by name."""


def shared_data() -> Path:
    """Return the folder of real data: ``data`` in ``MODICUM_SHARED``, or beside the repository."""
    return Path(os.environ.get("MODICUM_SHARED", HERE.parents[1] / "shared")) / "data"


def _paths(file: str | dict[str, str]) -> Path | dict[str, Path]:
    if isinstance(file, str):
        return shared_data() / file
    return {domain: shared_data() / path for domain, path in file.items()}


def _sequences(names: tuple[str, ...]) -> EventLog:
    files = [shared_data() / "crossdomain" / "food_kitchen" / f"{name}.txt.gz" for name in names]
    rows = [
        pl.scan_csv(file, separator="\t", has_header=False, new_columns=["user", "item"]).select(
            user=pl.format("{}-{}", pl.lit(name), "user"), item=pl.col("item").cast(pl.String)
        )
        for name, file in zip(names, files, strict=True)
    ]
    events = (
        pl.concat(rows)
        .with_columns(item=pl.col("item").str.split(",").cast(pl.List(pl.Int64)))
        .explode("item")
        .with_columns(
            domain=pl.when(pl.col("item") < FOOD_ITEMS)
            .then(pl.lit("food"))
            .otherwise(pl.lit("kitchen"))
        )
    )
    return EventLog(events, source=f"{', '.join(names)} of food_kitchen")


def _items_with(log: EventLog, least: int) -> EventLog:
    """Return the events of the items that have so many."""
    if least == 1:
        return log
    item = [role for role in ("item", "domain") if log.has(role)]
    return dataclasses.replace(
        log,
        scan=log.scan.filter(pl.len().over(item) >= least),
        source=f"items with {least} events or more of {log.source}",
    )


def _share_of_users(log: EventLog, share: float) -> EventLog:
    if share == 1:
        return log
    users = log.scan.select("user").unique().collect()["user"].sort()
    size = round(len(users) * share)
    if not size:
        raise DataError(
            f"a share of {share:g} leaves none of the {len(users)} users of {log.source}"
        )
    chosen = np.random.default_rng(0).choice(len(users), size, replace=False)
    kept = users.gather(np.sort(chosen))
    return dataclasses.replace(
        log,
        scan=log.scan.filter(pl.col("user").is_in(kept.implode())),
        source=f"{share:.0%} of the users of {log.source}",
    )
