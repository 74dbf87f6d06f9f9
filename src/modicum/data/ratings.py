"""Ratings: who gave what value to what, chosen freely or shown at random, each pair once."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from numbers import Real
from typing import Any, Literal, get_args

import numpy as np
import polars as pl

from modicum.data.log import REJECTED, reading
from modicum.data.reading import ids, numbers
from modicum.data.reading.roles import GuessWarning, assign
from modicum.data.reading.sources import name_of, open_table
from modicum.data.reading.tables import Rejects, Scratch
from modicum.data.vocabulary import Vocabulary
from modicum.errors import DataError

Duplicates = Literal["refuse", "first", "last"]

PAIR = ("user", "item")
PROBLEMS = {
    "user": ids.PROBLEM,
    "item": ids.PROBLEM,
    "value": "this is not a finite number",
    "propensity": "this is not a probability above 0",
    "randomised": "this is neither true nor false, 1 nor 0",
}


@dataclass(frozen=True)
class Ratings:
    """A table of ratings in the order of its source, each pair of user and item at most once.

    Args:
        frame: ``user``, ``item``, ``value`` (float64), ``randomised`` (bool: shown at random, not
            chosen) and, where it is known, ``propensity``.
        source: where the ratings came from, for messages and reports.
        positive: a value of at least this is positive; None where nothing was said.
        columns: role -> name of the source's column.
        rejected: rows kept aside by ``on_error="skip"``, with file, row, column and problem.
        notes: what was guessed, skipped or dropped, one sentence each.

    >>> frame = pl.DataFrame({"user": ["u", "v"], "item": [7, 7], "value": [5.0, 2.0]})
    >>> ratings = Ratings(frame.with_columns(randomised=False), source="example", positive=4)
    >>> ratings
    Ratings(2 by 2 users of 1 items from example; positive: value >= 4 (1))
    >>> ratings.labels, ratings.user_rows
    (array([ True, False]), array([1, 2]))
    """

    frame: pl.DataFrame
    source: str
    positive: float | None = None
    columns: dict[str, str] = field(default_factory=dict)
    rejected: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=REJECTED))
    notes: tuple[str, ...] = ()

    @cached_property
    def users(self) -> Vocabulary:
        """The users, by first appearance; row 1 is the first."""
        return Vocabulary(self.frame["user"].unique(maintain_order=True))

    @cached_property
    def items(self) -> Vocabulary:
        """The items, by first appearance; row 1 is the first."""
        return Vocabulary(self.frame["item"].unique(maintain_order=True))

    @cached_property
    def user_rows(self) -> np.ndarray:
        """(n,) row of each rating's user, from 1."""
        return self.users.rows(self.frame["user"])

    @cached_property
    def item_rows(self) -> np.ndarray:
        """(n,) row of each rating's item, from 1."""
        return self.items.rows(self.frame["item"])

    @property
    def values(self) -> np.ndarray:
        """(n,) float64."""
        return self.frame["value"].to_numpy()

    @property
    def propensities(self) -> np.ndarray | None:
        """(n,) known propensities, float64; None if there is no such column."""
        return self.frame["propensity"].to_numpy() if "propensity" in self.frame.columns else None

    @property
    def labels(self) -> np.ndarray:
        """(n,) whether each value is positive.

        Raises:
            DataError: nobody said what counts as positive.
        """
        if self.positive is None:
            raise DataError(
                f"{self.source}: nobody said which values are positive; name the least of them, as "
                "mo.read_ratings(..., positive=4), or learn the values: learn='value'"
            )
        return self.values >= self.positive

    @property
    def self_selected(self) -> Ratings:
        """Those that users chose to give."""
        return self._where(~self.frame["randomised"])

    @property
    def randomised(self) -> Ratings:
        """Those of items shown at random."""
        return self._where(self.frame["randomised"])

    def without(self, other: Ratings) -> Ratings:
        """Return the ratings of pairs that ``other`` does not have; a note counts the rest.

        >>> both = read_ratings(pl.DataFrame({"user_id": [1, 2], "item_id": [7, 7], "rating": [5, 3]}))
        >>> one = read_ratings(pl.DataFrame({"user_id": [1], "item_id": [7], "rating": [4]}))
        >>> both.without(one).notes
        ('1 ratings of pairs that are in polars frame, too, were left out',)
        """
        pairs = other.frame.select(
            pl.col(name).cast(self.frame.schema[name], strict=False) for name in PAIR
        )
        frame = self.frame.join(pairs, on=PAIR, how="anti", maintain_order="left")
        left_out = len(self) - len(frame)
        note = f"{left_out} ratings of pairs that are in {other.source}, too, were left out"
        return replace(self, frame=frame, notes=(*self.notes, note) if left_out else self.notes)

    def hold_out(self, share: float, *, seed: int) -> tuple[Ratings, Ratings]:
        """Return the ratings less a random share of them, and that share, each in source order.

        Args:
            share: above 0 and below 1.
            seed: of the random choice.

        Raises:
            DataError: the share is out of range, or leaves one part empty.
        """
        taken = round(share * len(self)) if 0 < share < 1 else 0
        if not 0 < taken < len(self):
            raise DataError(
                f"a share of {share} of {len(self)} ratings cannot be held out; both parts need some"
            )
        order = np.random.default_rng(seed).permutation(len(self))
        held = np.zeros(len(self), dtype=bool)
        held[order[:taken]] = True
        return self._where(pl.Series(~held)), self._where(pl.Series(held))

    def _where(self, mask: pl.Series) -> Ratings:
        return replace(self, frame=self.frame.filter(mask))

    def __len__(self) -> int:
        return len(self.frame)

    def __repr__(self) -> str:
        told = "no value is called positive"
        if self.positive is not None:
            told = f"positive: value >= {self.positive:g} ({int(self.labels.sum()):,})"
        at_random = int(self.frame["randomised"].sum())
        shown = f", {at_random:,} of them randomised" if at_random else ""
        return (
            f"Ratings({len(self):,} by {len(self.users):,} users of {len(self.items):,} items from "
            f"{self.source}{shown}; {told})"
        )


def read_ratings(
    source: Any,
    *,
    user: str = "user_id",
    item: str = "item_id",
    value: str = "rating",
    propensity: str | None = None,
    randomised: bool | str = False,
    positive: float | None = None,
    duplicates: Duplicates = "refuse",
    on_error: Literal["raise", "skip"] = "raise",
) -> Ratings:
    """Read ratings from a file or a frame.

    Args:
        source: path to a csv, tsv, jsonl or parquet file (also .gz and .zst), or a polars or
            pandas frame; of an event log, its ``frame``.
        user, item: column names; where the default name is absent, a column with a known name is
            taken, and a ``GuessWarning`` says so.
        value: name of the column of numbers that users gave.
        propensity: name of a column of known propensities, above 0 and at most 1.
        randomised: True if all items were shown at random and not chosen, or the name of a column
            of true and false that says it of each rating.
        positive: a value of at least this is positive; ``4`` is what "above 3 stars" means.
        duplicates: what to do with later ratings of the same pair in the same part: ``"refuse"``,
            or keep its ``"first"`` or ``"last"``; a note counts those dropped.
        on_error: what to do with broken rows: ``"raise"`` at the first one, or ``"skip"`` and keep
            them in ``ratings.rejected``.

    Raises:
        DataError: the source cannot be read, a column is absent, a row is broken, or a pair occurs
            twice; the message names file, row (data rows from 1) and column.

    >>> frame = pl.DataFrame({"user_id": ["u", "u"], "item_id": [7, 9], "stars": [5, 2]})
    >>> read_ratings(frame, value="stars", positive=4).labels
    array([ True, False])
    """
    for word, known in ((on_error, ("raise", "skip")), (duplicates, get_args(Duplicates))):
        if word not in known:
            raise DataError(f"{word!r} is not known; use {' or '.join(map(repr, known))}")
    if not isinstance(positive, Real | None):
        raise DataError(f"positive={positive!r} must be a number, the least value that is positive")
    name = name_of(source)
    asked = {"user": user, "item": item, "value": value, "propensity": propensity}
    asked["randomised"] = randomised if isinstance(randomised, str) else None
    scratch = Scratch()
    try:
        with reading(name):
            rejects = Rejects(name, skip=on_error == "skip")
            table = open_table(source, rejects, scratch)
            roles, guesses = assign(table.names, asked, name, required=(*PAIR, "value"))
            for guess in guesses:
                warnings.warn(f"{name}: {guess}", GuessWarning, stacklevel=2)
            at = {role: str(positions[0]) for role, positions in roles.items()}
            scan = table.take(sorted(positions[0] for positions in roles.values()))
            scan = scan.select("row", **{role: pl.col(column) for role, column in at.items()})
            columns = {role: table.names[positions[0]] for role, positions in roles.items()}
            frame = _converted(scan, columns, rejects, loose=table.is_text)
    finally:
        if scratch.folder is not None:
            shutil.rmtree(scratch.folder, ignore_errors=True)
    if "randomised" not in frame.columns:
        frame = frame.with_columns(randomised=pl.lit(bool(randomised)))
    notes = list(guesses)
    if rejects.kept:
        broken = rejects.frame["row"].n_unique()
        notes.append(f"{broken} broken rows were skipped; they are in ratings.rejected")
    if frame.is_empty():
        raise DataError(f"{name} has no ratings; it needs one row at least that is not broken")
    frame, dropped = _each_pair_once(frame, duplicates, name)
    if dropped:
        notes.append(f"{dropped} ratings were dropped; the {duplicates} one of each pair was kept")
    order = [role for role in (*PAIR, "value", "propensity", "randomised") if role in frame.columns]
    return Ratings(
        frame=frame.select(order),
        source=name,
        positive=positive,
        columns=columns,
        rejected=rejects.frame,
        notes=tuple(notes),
    )


def _converted(
    scan: pl.LazyFrame, columns: dict[str, str], rejects: Rejects, *, loose: bool
) -> pl.DataFrame:
    """Return ``row`` and the roles of the rows that are not broken."""
    values: dict[str, pl.Expr] = {}
    faults: dict[str, pl.Expr] = {}
    for role, column in columns.items():
        place = f"{rejects.source}: column {column!r}"
        if role in PAIR:
            values[role], faults[role] = ids.convert(scan, role, loose=loose, place=place)
            continue
        if role == "randomised":
            scan = scan.with_columns(_truth(role))
        number, _ = numbers.convert(scan, role, place=place)
        values[role], faults[role] = _IN_RANGE[role](number)
    for role, broken in faults.items():
        rejects.add(scan, broken, role, columns[role], PROBLEMS[role])
    if rejects.kept:
        scan = scan.filter(~pl.any_horizontal(faults.values()))
    return scan.select("row", **values).collect()


def _truth(role: str) -> pl.Expr:
    """Return the text of a column in which ``true`` is 1 and ``false`` is 0."""
    text = pl.col(role).cast(pl.String).str.strip_chars().str.to_lowercase()
    return text.replace({"true": "1", "false": "0"})


_IN_RANGE: dict[str, Callable[[pl.Expr], tuple[pl.Expr, pl.Expr]]] = {
    "value": lambda x: (x, x.is_null() | x.is_infinite().fill_null(False)),
    "propensity": lambda x: (x, ~((x > 0) & (x <= 1)).fill_null(False)),
    "randomised": lambda x: (x == 1, ~x.is_in([0.0, 1.0]).fill_null(False)),
}
"""Role -> what a number means there, and where it is out of range."""


def _each_pair_once(
    frame: pl.DataFrame, duplicates: Duplicates, source: str
) -> tuple[pl.DataFrame, int]:
    """Return the first or last rating of each pair in each part, and how many were dropped."""
    pair = [*PAIR, "randomised"]
    keep: Literal["first", "last"] = "last" if duplicates == "last" else "first"
    kept = frame.unique(pair, keep=keep, maintain_order=True)
    dropped = len(frame) - len(kept)
    if dropped and duplicates == "refuse":
        again = frame.filter(~pl.struct(pair).is_first_distinct()).row(0, named=True)
        same = [pl.col(role) == again[role] for role in pair]
        first = frame.filter(same)["row"][0]
        raise DataError(
            f"{source}, row {again['row']}: user {again['user']!r} rated item {again['item']!r} "
            f"before, in row {first}; {dropped} ratings are of such pairs: keep one of each with "
            "duplicates='first' or 'last'"
        )
    return kept, dropped
