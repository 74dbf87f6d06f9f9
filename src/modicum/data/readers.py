"""Readers: tables of any format become event logs."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import polars as pl

from modicum.data import ids, times
from modicum.data.log import EventLog
from modicum.data.roles import DEFAULTS, GuessWarning, assign
from modicum.data.sources import name_of, open_table, reading
from modicum.data.tables import Rejects, Scratch, Table
from modicum.errors import DataError


def read_events(
    source: Any,
    *,
    user: str = "user_id",
    item: str | Sequence[str] = "item_id",
    time: str | None = "timestamp",
    domain: str | None = None,
    behaviour: str | None = None,
    value: str | None = None,
    on_error: Literal["raise", "skip"] = "raise",
) -> EventLog:
    """Read events from a file or a frame.

    Args:
        source: path to a csv, tsv, jsonl or parquet file (also .gz and .zst), or a polars or
            pandas frame.
        user, item, time: column names; where the default name is absent, a column with a known
            name is taken, and a ``GuessWarning`` says so. ``time=None``: rows are in order.
            ``item`` may name a column of lists (or of text such as ``[1, 2]``), or several such
            columns: each list becomes events in its order, without time, and each of several
            columns a domain.
        domain, behaviour: column names; their values become text.
        value: name of a column of numbers, such as ratings; empty ones stay null.
        on_error: what to do with broken rows: ``"raise"`` at the first one, or ``"skip"`` and keep
            them in ``log.rejected``.

    Raises:
        DataError: the source cannot be read, a column is absent, times mix units or notations, or
            a row is broken; the message names file, row (data rows from 1) and column.

    >>> import polars as pl
    >>> frame = pl.DataFrame({"uid": [7, 7], "sku": ["b", "a"], "ts": [1700000000, 1700000060]})
    >>> log = read_events(frame, user="uid", item="sku", time="ts")
    >>> log.frame.rows()[0]
    (7, 'b', datetime.datetime(2023, 11, 14, 22, 13, 20))
    """
    if on_error not in ("raise", "skip"):
        raise DataError(f"on_error={on_error!r} is not known; use 'raise' or 'skip'")
    name = name_of(source)
    asked = {"user": user, "item": item, "time": time}
    asked |= {"domain": domain, "behaviour": behaviour, "value": value}
    scratch = Scratch()
    try:
        with reading(name):
            rejects = Rejects(name, skip=on_error == "skip")
            table = open_table(source, rejects, scratch)
            roles, guesses = assign(table.names, asked, name)
            for guess in guesses:
                warnings.warn(f"{name}: {guess}", GuessWarning, stacklevel=2)
            log = _Reading(table, roles, rejects, list(guesses)).log()
    except BaseException:
        scratch.remove()
        raise
    weakref.finalize(log, scratch.remove)
    return log


@dataclass
class _Reading:
    """A table on its way to an event log.

    Args:
        table: the source.
        roles: role -> positions of its columns.
        rejects: where broken rows go.
        notes: what was guessed or assumed so far.
    """

    table: Table
    roles: dict[str, list[int]]
    rejects: Rejects
    notes: list[str] = field(default_factory=list)

    def log(self) -> EventLog:
        positions = sorted(at for columns in self.roles.values() for at in columns)
        scan = self.table.take(positions)
        if not ids.any_row(scan, pl.lit(True)) and not self.rejects.kept:
            raise DataError(f"{self.table.source} has no data rows; there are no events in it")
        if self._holds_lists(scan):
            scan = self._explode(scan)
        else:
            if len(self.roles["item"]) > 1:
                raise DataError(
                    f"{self.table.source}: several item columns must hold lists, such as [1, 2]; "
                    f"{self._name('item')} do not"
                )
            if "time" not in self.roles:
                self.notes.append("the log has no time; the rows are taken to be in order")
            scan = scan.rename({str(columns[0]): role for role, columns in self.roles.items()})
        columns, broken = [], []
        for role in (role for role in ROLES if role in scan.collect_schema()):
            ...
        return EventLog(scan, self.table.source)

    def _name(self, role: str) -> str:
        return ", ".join(self.table.names[at] for at in self.roles[role])
