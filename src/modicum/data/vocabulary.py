"""Items and their rows: row 0 is padding and nothing else, items start at row 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from modicum.errors import DataError, nearest

UNKNOWN = -1
SHARED = -2
"""Stands for the row of an id that several domains have."""
FEW = 1_000
"""Up to this many ids are looked up one by one: a join would hash the whole vocabulary for them."""


def positions(ids: pl.Series, wanted: pl.Series | Sequence[Any]) -> np.ndarray:
    """Return where each wanted id stands in ``ids``, ``-1`` where it does not.

    Ids of another type are compared after a cast to the type of ``ids``, so that ``"12"`` typed
    at a prompt finds the number 12.

    >>> positions(pl.Series([10, 20, 30]), ["30", 11])
    array([ 2, -1])
    """
    if not isinstance(wanted, pl.Series):
        wanted = pl.Series(_alike(ids, wanted), strict=False)
    if wanted.dtype != ids.dtype:
        wanted = wanted.cast(ids.dtype, strict=False)
    if ids.is_empty() or wanted.is_empty():
        return np.full(len(wanted), UNKNOWN, dtype=np.int64)
    index = pl.DataFrame({"id": ids, "at": np.arange(len(ids), dtype=np.int64)})
    found = pl.DataFrame({"id": wanted}).join(index, on="id", how="left", maintain_order="left")
    return found["at"].fill_null(UNKNOWN).to_numpy()


def _alike(ids: pl.Series, wanted: Sequence[Any]) -> list[Any]:
    """Return the wanted ids as values of the type of ``ids``, None where they cannot be."""
    if ids.dtype.is_integer():
        return [_as_int(x) for x in wanted]
    if ids.dtype == pl.String:
        return [x if x is None or isinstance(x, str) else _as_read(x) for x in wanted]
    return list(wanted)


def _as_read(x: Any) -> str | None:
    """Return an id as text, as a column of such ids is read."""
    x = x.item() if isinstance(x, np.generic) else x
    if isinstance(x, bool | date | float):
        return str(pl.Series([x]).cast(pl.String)[0])
    if isinstance(x, bytes):
        try:
            return x.decode()
        except UnicodeDecodeError:
            return x.hex()
    return str(x)


def _as_int(x: Any) -> int | None:
    try:
        number = int(x)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if -(2**63) <= number < 2**63 and (isinstance(x, str) or number == x) else None


def coded(values: pl.Series) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return (E,) codes of text values in as few bytes as they need, and the names by code, sorted.

    >>> coded(pl.Series(["view", "buy", "view"]))
    (array([1, 0, 1], dtype=uint8), ('buy', 'view'))
    """
    values = values.cast(pl.String).fill_null("")
    names = values.unique().sort()
    codes = values.cast(pl.Enum(names)).to_physical().to_numpy()
    return codes.astype(np.min_scalar_type(len(names))), tuple(names)


@dataclass(frozen=True)
class Vocabulary:
    """Items by row, in an order that never changes: growing appends.

    An item is an id or, in a log of several domains, a domain and an id: what two domains call
    ``"a"`` are two items.

    Args:
        ids: (N,) ids, unique in each domain; the item at position ``j`` has row ``j + 1``.
        domains: (N,) code of each item's domain; None for a log without domains.
        domain_names: name of each code.

    >>> vocabulary = Vocabulary(pl.Series(["b", "a"]))
    >>> vocabulary.rows(["a", "z"])
    array([ 2, -1])
    >>> vocabulary.grow(pl.Series(["c", "a"])).rows(["b", "c"])
    array([1, 3])
    >>> two = Vocabulary(pl.Series(["a", "a", "b"]), np.array([0, 1, 1]), ("beauty", "sports"))
    >>> two.rows([("sports", "a"), "b"]), two.rows(["a", "b"], domain="beauty")
    (array([2, 3]), array([ 1, -1]))
    """

    ids: pl.Series
    domains: np.ndarray | None = None
    domain_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        items = self.ids if self.domains is None else self.to_frame()
        if self.ids.null_count() or items.n_unique() != len(self.ids):
            within = "" if self.domains is None else " in each domain"
            raise DataError(f"item ids of a vocabulary must be unique{within} and not null")

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        domains = f" of {', '.join(self.domain_names)}" if self.domain_names else ""
        return f"Vocabulary({len(self):,} items{domains})"

    def rows(self, ids: pl.Series | Sequence[Any], domain: str | None = None) -> np.ndarray:
        """Return the row (from 1) of each item, ``-1`` for items that are not in the vocabulary.

        Args:
            ids: ids, or in a sequence (domain, id) pairs.
            domain: where to look for ids; without it an id must belong to one domain only.

        Raises:
            DataError: a domain is unknown, or an id without one belongs to several.
        """
        if self.domains is None:
            if domain is not None:
                raise DataError(
                    f"domain={domain!r}: these items have no domains; read the events with "
                    "domain=..., or leave it out"
                )
            if not isinstance(ids, pl.Series) and len(ids) <= FEW:
                found = [self._row_of.get(x, UNKNOWN) for x in _alike(self.ids, ids)]
                return np.array(found, dtype=np.int64)
            at = positions(self.ids, ids)
            return np.where(at == UNKNOWN, UNKNOWN, at + 1)
        if isinstance(ids, pl.Series):
            return self._column_rows(ids, domain)
        return self._item_rows(ids, domain)

    def rows_of(self, other: Vocabulary) -> np.ndarray:
        """Return (N',) the row here of each item of another vocabulary, ``-1`` where it is not.

        Items are the same where domain and id are; beside a vocabulary without domains, the ids.
        """
        if self.domains is None or other.domains is None:
            return self.rows(other.ids)
        rows = np.full(len(other), UNKNOWN, dtype=np.int64)
        for code, name in enumerate(other.domain_names):
            if name in self.domain_names:
                at = np.flatnonzero(other.domains == code)
                rows[at] = self.rows(other.ids.gather(at), name)
        return rows

    def domain_code(self, name: str) -> int:
        """Return the code of a domain.

        Raises:
            DataError: there is no such domain.
        """
        if name not in self.domain_names:
            hint = nearest(str(name), self.domain_names) if self.domain_names else "there are none"
            raise DataError(f"the domain {name!r} is not known here; {hint}")
        return self.domain_names.index(name)

    def domain_codes(self, names: Sequence[str]) -> np.ndarray:
        """Return the code here of each name, ``-1`` for names of no domain."""
        known = {name: code for code, name in enumerate(self.domain_names)}
        return np.array([known.get(name, UNKNOWN) for name in names], dtype=np.int64)

    def domains_of(self, rows: np.ndarray) -> pl.Series:
        """Return the names of the domains of ``rows`` (from 1)."""
        assert self.domains is not None
        names = pl.Series("domain", self.domain_names, dtype=pl.String)
        return names.gather(self.domains[rows - 1])

    def names(self, rows: np.ndarray) -> pl.Series:
        """Return the ids of ``rows`` (from 1), any shape flattened."""
        return self.ids.gather(np.asarray(rows, dtype=np.int64).ravel() - 1)

    def take(self, at: np.ndarray) -> Vocabulary:
        """Return the items at positions ``at`` (from 0), in that order."""
        domains = None if self.domains is None else self.domains[at]
        return Vocabulary(self.ids.gather(at), domains, self.domain_names)

    def grow(self, ids: pl.Series, domain: str | None = None) -> Vocabulary:
        """Return a vocabulary with the new ones among ``ids`` appended, all of one domain.

        Raises:
            DataError: these items have domains and none is named, or it is unknown.
        """
        ids = ids.cast(self.ids.dtype).unique(maintain_order=True)
        if self.domains is not None and domain is None:
            raise DataError("these items have domains; name the domain of the new ones")
        new = ids.filter(self.rows(ids, domain) == UNKNOWN)
        domains = self.domains
        if domains is not None:
            code = self.domain_code(str(domain))
            domains = np.append(domains, np.full(len(new), code, dtype=domains.dtype))
        return Vocabulary(pl.concat([self.ids, new]), domains, self.domain_names)

    def join(self, other: Vocabulary) -> Vocabulary:
        """Return these items, each at its row, with those of another vocabulary behind that are new.

        Raises:
            DataError: the other has domains and this one has not, or the reverse, or it has a
                domain or an id that cannot be here.

        >>> old, new = Vocabulary(pl.Series(["b", "a"])), Vocabulary(pl.Series(["c", "a"]))
        >>> old.join(new).ids.to_list()
        ['b', 'a', 'c']
        """
        if (self.domains is None) != (other.domains is None):
            here, there = ("no domains" if v.domains is None else "domains" for v in (self, other))
            raise DataError(f"the known items have {here}, and the new ones have {there}")
        new = other.take(np.flatnonzero(self.rows_of(other) == UNKNOWN))
        ids = new.ids.cast(self.ids.dtype, strict=False)
        if ids.null_count():
            wrong = new.ids.filter(ids.is_null())[0]
            raise DataError(f"{wrong!r} is no item id of the known type, such as {self.ids[0]!r}")
        domains = self.domains
        if domains is not None:
            codes = [self.domain_code(name) for name in new.domain_names]
            added = np.array(codes, dtype=domains.dtype)[new.domains]
            domains = np.append(domains, added)
        return Vocabulary(pl.concat([self.ids, ids]), domains, self.domain_names)

    def equals(self, other: Vocabulary) -> bool:
        """Tell whether both hold the same items at the same rows."""
        return self.to_frame().equals(other.to_frame())

    def to_frame(self) -> pl.DataFrame:
        """Return a row for each item: ``item`` and, where there are domains, ``domain``."""
        frame = pl.DataFrame({"item": self.ids})
        if self.domains is None:
            return frame
        return frame.with_columns(domain=self.domains_of(np.arange(1, len(self) + 1)))

    @classmethod
    def of_frame(cls, frame: pl.DataFrame) -> Vocabulary:
        """Return the vocabulary that ``to_frame`` wrote; other columns do not matter.

        >>> frame = pl.DataFrame({"item": ["a", "a"], "domain": ["sports", "beauty"]})
        >>> Vocabulary.of_frame(frame).rows(["a"], "beauty")
        array([2])
        """
        if "domain" not in frame.columns:
            return cls(frame["item"])
        return cls(frame["item"], *coded(frame["domain"]))

    @cached_property
    def _row_of(self) -> dict[Any, int]:
        """Id -> row, or ``SHARED``."""
        rows = dict(zip(self.ids.to_list(), range(1, len(self.ids) + 1), strict=True))
        if self.domains is not None:
            rows |= dict.fromkeys(self._shared.to_list(), SHARED)
        return rows

    @cached_property
    def _row_in(self) -> list[dict[Any, int]]:
        """Id -> row, for each domain."""
        places = [np.flatnonzero(self.domains == code) for code in range(len(self.domain_names))]
        return [
            dict(zip(self.ids.gather(at).to_list(), (at + 1).tolist(), strict=True))
            for at in places
        ]

    @cached_property
    def _shared(self) -> pl.Series:
        """Ids that several domains have."""
        return self.ids.filter(self.ids.is_duplicated()).unique(maintain_order=True)

    def _item_rows(self, items: Sequence[Any], domain: str | None) -> np.ndarray:
        pairs = [tuple(x) if isinstance(x, tuple | list) else (domain, x) for x in items]
        wrong = next((x for x, pair in zip(items, pairs, strict=True) if len(pair) != 2), None)
        if wrong is not None:
            raise DataError(f"the item {wrong!r} must be an id, or a pair (domain, id)")
        tables = {name: self._row_in[self.domain_code(name)] for name, _ in pairs if name}
        ids = _alike(self.ids, [x for _, x in pairs])
        rows = [
            tables.get(name, self._row_of).get(x, UNKNOWN)
            for (name, _), x in zip(pairs, ids, strict=True)
        ]
        if SHARED in rows:
            raise self._ambiguous(ids[rows.index(SHARED)])
        return np.array(rows, dtype=np.int64)

    def _column_rows(self, ids: pl.Series, domain: str | None) -> np.ndarray:
        if domain is not None:
            inside = np.flatnonzero(self.domains == self.domain_code(domain))
        else:
            inside = np.arange(len(self))
            shared = positions(self._shared, ids) if len(self._shared) else np.array([UNKNOWN])
            if (shared != UNKNOWN).any():
                raise self._ambiguous(self._shared[int(shared.max())])
        at = positions(self.ids.gather(inside), ids)
        return np.where(at == UNKNOWN, UNKNOWN, np.append(inside, 0)[at] + 1)

    def _ambiguous(self, item: Any) -> DataError:
        assert self.domains is not None
        codes = np.unique(self.domains[(self.ids == item).to_numpy()])
        names = [self.domain_names[code] for code in codes]
        return DataError(
            f"the item {item!r} is in the domains {', '.join(names)}, where it is another each "
            f"time; say which: ({names[0]!r}, {item!r})"
        )
