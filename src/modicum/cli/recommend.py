"""``modicum recommend``: ask a saved model what comes next."""

from __future__ import annotations

import csv
import json as json_
import warnings
from dataclasses import replace
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from modicum.cli.runs import Run, load_recommender
from modicum.errors import DataError, SettingError

if TYPE_CHECKING:
    from modicum.data.histories import Histories

REASONS = 3
"""Events that are shown beside an item; JSON has all."""


def recommend(
    model: Path,
    *,
    history: str | None = None,
    user: str | None = None,
    events: str | None = None,
    behaviours: str | None = None,
    k: Annotated[int, Parameter(name=("--k", "-k"))] = 10,
    domain: str | None = None,
    exclude_seen: bool = True,
    explain: bool = False,
    json: bool = False,
) -> None:
    """Recommend items for a history, or for a user of the run's events.

    Args:
        model: a folder that ``modicum fit`` or ``model.save`` has written.
        history: item ids separated by commas, oldest first; quote an id that has a comma, and
            write DOMAIN=ID where several domains have it.
        user: a user id; the history is all that the events say of the user.
        events: where the events of the user are, if not where the run had them.
        behaviours: of the items of --history, separated by commas, for a model with a target
            behaviour; without, all are taken to be of that one.
        k: how many items.
        domain: recommend items of this domain only.
        exclude_seen: leave out items of the history, met by the target behaviour.
        explain: say which events of the history carried each item.
        json: print JSON instead of a table.
    """
    if (history is None) == (user is None):
        raise SettingError("recommend for either --history ITEM,ITEM,... or --user ID")
    if user is not None and behaviours is not None:
        raise SettingError("--behaviours belong to --history; those of a user are in the events")
    saved = load_recommender(model)
    if behaviours is not None and saved.target_behaviour is None:
        raise SettingError(
            f"--behaviours: {saved.name} has no target behaviour, all are alike to it"
        )
    asked: Histories | list[list[Any]]
    if user is not None:
        asked = history_of(user, Run.read(model), events)
        items = ids_of(asked)
    else:
        items = [item for item in next(csv.reader([history or ""]), []) if item]
        names = saved.vocabulary.domain_names
        pairs = [(x.partition("=")[0], x.partition("=")[2]) for x in items]
        items = [pair if pair[0] in names else x for x, pair in zip(items, pairs, strict=True)]
        asked = [items]
    unknown = [
        str(x) for x, row in zip(items, saved.vocabulary.rows(items), strict=True) if row < 1
    ]
    if unknown:
        warnings.warn(
            f"{len(unknown)} of {len(items)} items of the history are not in the model and are "
            f"left out: {shorten(', '.join(unknown), 80, placeholder=' ...')}",
            stacklevel=1,
        )
    top = saved.recommend(
        histories=asked,
        k=k,
        domain=domain,
        exclude_seen=exclude_seen,
        behaviours=None if behaviours is None else [[x.strip() for x in behaviours.split(",")]],
        explain=explain,
    )
    shown = ("rank", "item", "domain", "score", "because")
    columns = [name for name in shown if name in top.columns]
    rows = top.select(columns).to_dicts()
    if json:
        print(json_.dumps(rows, default=str))
        return
    if not rows:
        print("nothing is left to recommend: the history holds every item; try --no-exclude-seen")
        return
    table = Table(*columns)
    for row in rows:
        told = row | {"score": f"{row['score']:.4f}"}
        if explain:
            told["because"] = ", ".join(
                f"{x['event']} ({100 * x['share']:+.0f} %)" for x in row["because"][:REASONS]
            )
        table.add_row(*(escape(str(told[name])) for name in columns))
    Console().print(table)


def history_of(user: str, run: Run, events: str | None) -> Histories:
    """Return what a user did by the events of a run.

    Raises:
        DataError: the events do not know the user.
    """
    import polars as pl

    log = run.load_log(events)
    of_user = replace(log, scan=log.scan.filter(pl.col("user").cast(pl.String) == user))
    if len(of_user) == 0:
        raise DataError(
            f"user {user} has no event in {log.source}; check the id, or give --history"
        )
    from modicum.data.histories import Histories

    return Histories.from_log(of_user)


def ids_of(found: Histories) -> list[Any]:
    """Return the items of events in their order: ids, or (domain, id) pairs."""
    ids = found.vocabulary.names(found.item_rows).to_list()
    if found.domains is None:
        return ids
    return list(zip(found.vocabulary.domains_of(found.item_rows), ids, strict=True))
