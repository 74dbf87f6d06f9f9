"""Readers: tables of any format become event logs."""

from __future__ import annotations

import shutil
import warnings
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import polars as pl

from modicum.data.log import ROLES, EventLog, join_logs, reading
from modicum.data.reading import ids, numbers, times
from modicum.data.reading.roles import GuessWarning, assign
from modicum.data.reading.sources import name_of, open_table
from modicum.data.reading.tables import Rejects, Scratch, Table, settle
from modicum.errors import DataError

PROBLEMS = {
    "user": ids.PROBLEM,
    "item": ids.PROBLEM,
    "time": "this is no time of the years 1 to 9999 (a number, a date, or an ISO 8601 time)",
    "domain": "the domain is missing",
    "behaviour": "the behaviour is missing",
    "value": "this is not a finite number",
}
LIST = r"(?s)^\s*\[.*\]\s*$"
LOOK_AT = 100
"""Text is taken for lists if this many first values look like lists."""


def read_events(
    source: Any,
    user: str = "user_id",
    item: str | Sequence[str] = "item_id",
    time: str | None = "timestamp",
    domain: str | None = None,
    behaviour: str | None = None,
    value: str | None = None,
    *,
    on_error: Literal["raise", "skip"] = "raise",
) -> EventLog:
    """Read events from a file or a frame, or from one for each domain.

    Args:
        source: path to a csv, tsv, jsonl or parquet file (also .gz and .zst), or a polars or
            pandas frame; or domain -> such a source, as in ``{"beauty": path, "sports": path}``,
            where users are the same if their ids are.
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
    asked = {"user": user, "item": item, "time": time}
    asked |= {"domain": domain, "behaviour": behaviour, "value": value}
    if isinstance(source, Mapping):
        return _read_domains(source, asked, on_error)
    name = name_of(source)
    scratch = Scratch()
    try:
        with reading(name):
            rejects = Rejects(name, skip=on_error == "skip")
            table = open_table(source, rejects, scratch)
            roles, guesses = assign(table.names, asked, name)
            for guess in guesses:
                warnings.warn(f"{name}: {guess}", GuessWarning, stacklevel=2)
            log = _Reading(table, roles, rejects, guesses).log(scratch)
    except BaseException:
        scratch.remove()
        raise
    if scratch.folder is not None:
        weakref.finalize(scratch, shutil.rmtree, scratch.folder, ignore_errors=True)
    return log


def _read_domains(
    sources: Mapping[str, Any],
    asked: Mapping[str, Any],
    on_error: Literal["raise", "skip"],
) -> EventLog:
    """Read each domain from its own source."""
    if not sources:
        raise DataError("there is no source to read; give {domain: path, ...}")
    if asked["domain"] is not None:
        raise DataError(
            f"the sources are the domains ({', '.join(map(str, sources))}), so "
            f"domain={asked['domain']!r} cannot be another; leave it out"
        )
    logs = []
    for domain, source in sources.items():
        log = read_events(source, **asked, on_error=on_error)
        if log.has("domain"):
            raise DataError(
                f"{log.source}: several item columns are domains already; read the sources one "
                "by one"
            )
        named = log.scan.with_columns(domain=pl.lit(str(domain))).select(
            role for role in ROLES if role == "domain" or log.has(role)
        )
        logs.append(replace(log, scan=named))
    return join_logs(logs)


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
    notes: list[str]

    def log(self, scratch: Scratch) -> EventLog:
        """Convert the columns of all roles, after the broken rows went aside."""
        scan = self.table.take(sorted(at for columns in self.roles.values() for at in columns))
        num_rows = scan.select(pl.len()).collect(engine="streaming").item()
        if num_rows == 0 and not self.rejects.kept:
            raise DataError(f"{self.table.source} has no data rows; there are no events in it")
        lists = self._holds_lists(scan)
        if lists:
            scan = self._explode(scan)
        else:
            if len(self.roles["item"]) > 1:
                raise DataError(
                    f"{self.table.source}: columns {self._name('item')} must hold lists such as "
                    "[1, 2] to be read as items together; name one column with item=..."
                )
            scan = scan.rename({str(columns[0]): role for role, columns in self.roles.items()})
        if "time" not in self.roles:
            self.notes.append("the log has no time; its rows are taken to be in order")
        there = [role for role in ROLES if role in scan.collect_schema()]
        converted: dict[str, pl.Expr] = {}
        faults: dict[str, pl.Expr] = {}
        for role in there:
            converted[role], faults[role] = self._convert(scan, role, lists)
        for role, broken in faults.items():
            self.rejects.add(scan, broken, role, self._name(role), PROBLEMS[role])
        if self.rejects.kept:
            rows = self.rejects.frame["row"].n_unique()
            self.notes.append(f"{rows} broken rows were skipped; they are in log.rejected")
            scan = scan.filter(~pl.any_horizontal(faults.values()))
        scan = scan.select(**converted)
        return EventLog(
            scan=settle(scan, scratch, "events.parquet") if self.table.is_text else scan,
            source=self.table.source,
            columns={role: self._name(role) for role in there},
            rejected=self.rejects.frame,
            notes=tuple(self.notes),
            files=scratch,
        )

    def _convert(self, scan: pl.LazyFrame, role: str, lists: bool) -> tuple[pl.Expr, pl.Expr]:
        """Return expressions for the values of a role, and for where they are broken."""
        source, name = self.table.source, self._name(role)
        if role == "time":
            moments, broken, notes = times.convert(scan, role, place=(source, name))
            self.notes.extend(notes)
            return moments, broken
        place = f"{source}: column {name!r}"
        if role == "value":
            return numbers.convert(scan, role, place=place)
        loose = self.table.is_text or (lists and role == "item")
        values, broken = ids.convert(scan, role, loose=loose, place=place)
        return (values if role in ("user", "item") else values.cast(pl.String)), broken

    def _holds_lists(self, scan: pl.LazyFrame) -> bool:
        """Tell whether each item column holds lists, or text that looks like lists."""
        schema = scan.collect_schema()
        for column in map(str, self.roles["item"]):
            if isinstance(schema[column], pl.List | pl.Array):
                continue
            if schema[column] != pl.String:
                return False
            some = (
                scan.select(column).head(LOOK_AT).collect(engine="streaming")[column].drop_nulls()
            )
            if some.is_empty() or not some.str.contains(LIST).all():
                return False
        return True

    def _explode(self, scan: pl.LazyFrame) -> pl.LazyFrame:
        """Return one row for each element of the item lists, in their order."""
        names = {str(at): self.table.names[at] for at in self.roles["item"]}
        if len(names) > 1 and "domain" in self.roles:
            raise DataError(
                f"{self.table.source}: the item columns {self._name('item')} are the domains, so "
                f"domain={self._name('domain')!r} cannot be another; leave it out"
            )
        if "time" in self.roles:
            self.notes.append(
                f"item lists carry their own order; the times in {self._name('time')!r} were not used"
            )
            del self.roles["time"]
        schema = scan.collect_schema()
        lists = {}
        broken = pl.lit(False)
        for column, name in names.items():
            lists[column], fault = _elements(schema[column], column)
            self.rejects.add(
                scan, fault, column, name, "the text is not a flat list such as [1, 2]"
            )
            broken = broken | fault
        columns = {
            role: pl.col(str(at[0])) for role, at in self.roles.items() if role != "item"
        } | {"item": pl.concat_list(*lists.values())}
        if len(names) > 1:
            columns["domain"] = pl.concat_list(
                pl.lit(name).repeat_by(lists[column].list.len().fill_null(0))
                for column, name in names.items()
            )
            self.roles["domain"] = self.roles["item"]
        exploded = [column for column in ("item", "domain") if column == "item" or len(names) > 1]
        scan = scan.filter(~broken).select("row", **columns)
        return scan.filter(pl.col("item").list.len() > 0).explode(exploded)

    def _name(self, role: str) -> str:
        return ", ".join(self.table.names[at] for at in self.roles[role])


def _elements(dtype: pl.DataType, column: str) -> tuple[pl.Expr, pl.Expr]:
    """Return lists (empty for null), and where the text of a list is broken."""
    values = pl.col(column)
    if isinstance(dtype, pl.Array):
        values = values.arr.to_list()
    if dtype != pl.String:
        return pl.when(values.is_not_null()).then(values).otherwise(pl.lit([])), pl.lit(False)
    text = values.fill_null("[]").str.strip_chars()
    single = text.str.contains("'", literal=True) & ~text.str.contains('"', literal=True)
    text = pl.when(single).then(text.str.replace_all("'", '"', literal=True)).otherwise(text)
    clean = text.str.json_path_match("$")
    brackets = clean.str.replace_all(r'"(?:[^"\\]|\\.)*"', "").str.count_matches(r"[\[{]")
    flat = clean.str.starts_with("[").fill_null(False) & (brackets == 1)
    decoded = pl.when(flat).then(clean).otherwise(pl.lit("[]")).str.json_decode(pl.List(pl.String))
    return decoded, ~flat & (text != "")
