"""Splits: what may be learnt from, and what must be predicted."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl

from modicum.data.aim import Aim
from modicum.data.histories import Histories
from modicum.data.log import EventLog, join_logs
from modicum.data.strata import TAIL_EVENTS, strata_of
from modicum.errors import DataError, nearest

if TYPE_CHECKING:
    from modicum.data.audit import Audit

__all__ = ["TAIL_EVENTS", "LeakWarning", "Queries", "Split", "split"]

TARGETS = ("all", "first", "last")
AS_GIVEN = "as given, in three parts"
"""What the protocol says of a split that others have made."""


class LeakWarning(UserWarning):
    """A protocol was chosen by name that is known to leak."""


@dataclass(frozen=True)
class Queries:
    """Events to predict, each from all that its user did before it.

    Args:
        histories: every event up to the last target, training events included.
        targets: (Q,) positions of the target events in ``histories.item_rows``, ascending.
        user_events: (U,) training events of each user of ``histories``, before any of them was
            dropped by ``keep_overlap``.
        item_events: (N + 1,) training events of each item row.
        protocol: how the targets were chosen, for reports: ``split``, ``targets``, cut times.
        target_behaviour: of all targets; None: of any.

    The input of query ``q`` is ``histories.item_rows[starts[q]:targets[q]]``.

    >>> import polars as pl
    >>> from datetime import datetime
    >>> days = [datetime(2024, 1, day) for day in range(1, 11)]
    >>> log = EventLog(pl.LazyFrame({"user": 1, "item": list("abcabcabca"), "time": days}), "example")
    >>> queries = split(log).test
    >>> len(queries), queries.targets - queries.starts
    (1, array([9]))
    """

    histories: Histories
    targets: np.ndarray
    user_events: np.ndarray
    item_events: np.ndarray
    protocol: dict[str, str] = field(default_factory=dict)
    target_behaviour: str | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def __repr__(self) -> str:
        users = len(np.unique(self.users))
        return (
            f"Queries({len(self):,} of {users:,} users; {self.protocol.get('split', 'no split')})"
        )

    @cached_property
    def users(self) -> np.ndarray:
        """(Q,) user position of each query."""
        return np.searchsorted(self.histories.offsets, self.targets, side="right") - 1

    @cached_property
    def starts(self) -> np.ndarray:
        """(Q,) position of the oldest event of each query's user."""
        return self.histories.offsets[self.users]

    @property
    def target_rows(self) -> np.ndarray:
        """(Q,) item row of each target; rows above the training items were never seen."""
        return self.histories.item_rows[self.targets]

    def take(self, which: np.ndarray | slice) -> Queries:
        """Return the queries at positions ``which`` (or where a mask is true)."""
        return replace(self, targets=self.targets[which])

    @cached_property
    def domains(self) -> np.ndarray | None:
        """(Q,) code of each target's domain; None for a log without domains."""
        codes = self.histories.vocabulary.domains
        return None if codes is None else codes[self.target_rows - 1]

    @property
    def seen_rows(self) -> np.ndarray:
        """(E,) item row of each event by which a user has seen an item, 0 for other events.

        With a target behaviour, an item that was only met otherwise is still to be had.
        """
        rows = self.histories.item_rows
        if self.target_behaviour is None:
            return rows
        return np.where(self.histories.where(behaviour=self.target_behaviour), rows, 0)

    @cached_property
    def strata(self) -> dict[str, np.ndarray]:
        """Name -> (Q,) mask; see :func:`modicum.data.strata.strata_of`."""
        return strata_of(self)


@dataclass(frozen=True)
class Split:
    """Training events, and the queries that judge what was learnt from them.

    Args:
        train: training events; its vocabulary holds the training items only.
        validation: queries for choosing (early stopping, hyper-parameters).
        test: queries for the final word.
        protocol: kind of split, cut times, targets.
        log: the log that was split, for the audit.

    >>> import polars as pl
    >>> from datetime import datetime
    >>> days = [datetime(2024, 1, day) for day in range(1, 11)]
    >>> log = EventLog(pl.LazyFrame({"user": 1, "item": list("abcabcabca"), "time": days}), "example")
    >>> split(log).protocol["test from"]
    '2024-01-10T00:00:00'
    """

    train: Histories
    validation: Queries
    test: Queries
    protocol: dict[str, str]
    log: EventLog

    def __repr__(self) -> str:
        parts = ((name, getattr(self, name)) for name in ("train", "validation", "test"))
        return "Split(" + ", ".join(f"{name}={part!r}" for name, part in parts) + ")"

    @cached_property
    def audit(self) -> Audit:
        """The audit of the log together with this split."""
        from modicum.data.audit import audit

        return audit(self.log, split=self)

    @classmethod
    def given(
        cls,
        train: EventLog,
        validation: EventLog,
        test: EventLog,
        *,
        target_domain: str | None = None,
        target_behaviour: str | None = None,
        keep_overlap: float = 1.0,
        make_cold: float = 0.0,
        seed: int = 0,
    ) -> Split:
        """Make a split of parts that others have published.

        The last event of each user in ``validation`` and in ``test`` is a target, if it is of the
        target domain and behaviour; its input is all that the user did before it in any part. A
        user who is in several parts did what is in ``train`` first, then ``validation``, then
        ``test``, unless times say otherwise.

        Args:
            train, validation, test: the parts, with the same columns.
            target_domain, target_behaviour, keep_overlap, make_cold, seed: as for :func:`split`.

        Raises:
            DataError: the parts have other columns, a name is unknown, or one part is empty.

        >>> import polars as pl
        >>> part = lambda user: EventLog(pl.LazyFrame({"user": user, "item": ["a", "b"]}), "part")
        >>> parts = Split.given(part(1), part(2), part(3))
        >>> parts.train.num_events, parts.test.targets - parts.test.starts
        (2, array([1]))
        """
        aim = Aim(target_domain, target_behaviour, keep_overlap, make_cold, seed)
        logs = [train, validation, test]
        marked = [
            replace(log, scan=log.scan.with_columns(part=pl.lit(number)))
            for number, log in enumerate(logs)
        ]
        events = Histories.from_log(join_logs(marked))
        part = events.columns.pop("part")
        aimed = aim.mask(events)
        chosen, final = (_choose(events, part == number, "last") for number in (1, 2))
        return _assemble(
            join_logs(logs),
            events,
            training=part == 0,
            validation=chosen[aimed[chosen]],
            test=final[aimed[final]],
            protocol={"split": AS_GIVEN, "targets": "last"},
            aim=aim,
        )


def split(
    log: EventLog,
    *,
    by: Literal["time", "last-item"] = "time",
    targets: Literal["all", "first", "last"] = "all",
    validation: float = 0.1,
    test: float = 0.1,
    target_domain: str | None = None,
    target_behaviour: str | None = None,
    keep_overlap: float = 1.0,
    make_cold: float = 0.0,
    seed: int = 0,
) -> Split:
    """Split a log by global time, or (by name only) by each user's last items.

    By time, the cuts are the times of the events at the quantiles ``1 - validation - test`` and
    ``1 - test``; events at a cut time lie after it. Every later event is a query whose input is
    all that its user did before.

    Args:
        log: the events.
        by: ``"time"``, or ``"last-item"``: the last event of each user is the test target and the
            one before it the validation target. That protocol learns from the future of other
            users, so a warning says so; ``validation`` and ``test`` do not matter to it.
        targets: ``"all"`` events after a cut, or only each user's ``"first"`` or ``"last"``.
        validation, test: shares of the events, in (0, 1).
        target_domain: only events of this domain are targets; all events stay in training and in
            inputs. The cuts are the same for every target.
        target_behaviour: the same for a behaviour. Only items met by it count as seen.
        keep_overlap: share of the users with training events both in the target domain and
            elsewhere who keep them all in training. The others lose, in training, their events
            outside the target domain, so that nothing links their two sides. Queries are the same
            for every share: users, targets, and inputs, which stay whole. The users of a smaller
            share are among those of a larger one.
        make_cold: share of the test users with earlier events both in the domain of their first
            test target and elsewhere who lose those in that domain, everywhere: in training, as
            validation targets, and in inputs. They come to the domain as new users do, and nothing
            learns what is held back. Test targets stay. Likewise of the users with validation
            targets alone, so that what is chosen on validation is chosen for new users too.
        seed: of the choice of those users.

    Raises:
        DataError: a share is out of range, a domain or behaviour is unknown, the log has no time
            to split by, or one part is empty.

    >>> import polars as pl
    >>> from datetime import datetime
    >>> days = [datetime(2024, 1, day) for day in range(1, 11)]
    >>> log = EventLog(pl.LazyFrame({"user": 1, "item": list("abcabcabca"), "time": days}), "example")
    >>> parts = split(log)
    >>> parts.train.num_events, len(parts.validation), len(parts.test)
    (8, 1, 1)
    """
    if not isinstance(log, EventLog):
        raise DataError(
            f"split got a {type(log).__name__}; pass a log, as mo.read_events returns it"
        )
    shares = (validation, test)
    numbers = all(isinstance(x, float | np.floating) for x in shares)
    if not numbers or min(shares) <= 0 or not sum(shares) < 1:
        raise DataError(
            f"validation={validation!r} and test={test!r} are shares of the events: "
            "each above 0, together below 1"
        )
    if targets not in ("all", "first", "last"):
        raise DataError(f"targets={targets!r} is not known; {nearest(str(targets), TARGETS)}")
    aim = Aim(target_domain, target_behaviour, keep_overlap, make_cold, seed)
    if by == "time":
        return _by_time(log, targets, validation, test, aim)
    if by == "last-item":
        if targets == "first":
            raise DataError(
                "by='last-item' has one target for each user, the last; leave out targets, or split "
                "by time"
            )
        return _by_last_item(log, aim)
    raise DataError(f"by={by!r} is not known; use 'time' or 'last-item'")


def _by_time(log: EventLog, targets: str, validation: float, test: float, aim: Aim) -> Split:
    if not log.has("time"):
        raise DataError(
            f"{log.source} has no time column, so it cannot be split by time; name the column "
            "with time=..., or use by='last-item' if the rows are in order"
        )
    events = Histories.from_log(log)
    last = events.num_events - 1
    cuts = [min(round(share * (last + 1)), last) for share in (1 - validation - test, 1 - test)]
    begin, end = np.partition(events.times, cuts)[cuts]
    protocol = {
        "split": "global time",
        "targets": targets,
        "validation from": _moment(int(begin)),
        "test from": _moment(int(end)),
    }
    aimed = aim.mask(events)
    later = {
        "validation": aimed & (events.times >= begin) & (events.times < end),
        "test": aimed & (events.times >= end),
    }
    return _assemble(
        log,
        events,
        training=events.times < begin,
        validation=_choose(events, later["validation"], targets),
        test=_choose(events, later["test"], targets),
        protocol=protocol,
        aim=aim,
    )


def _moment(time_us: int) -> str:
    """Write a time, without a fraction where the second is whole.

    >>> _moment(1_400_000_000_000_000), _moment(500_000)
    ('2014-05-13T16:53:20', '1970-01-01T00:00:00.500000')
    """
    return str(np.datetime64(time_us, "us")).removesuffix(".000000")


def _by_last_item(log: EventLog, aim: Aim) -> Split:
    warnings.warn(
        "by='last-item' trains on events that lie after other users' test events: popularity and "
        "transitions of the future leak into training, and the figures are flattered; use it only "
        "to compare with published numbers",
        LeakWarning,
        stacklevel=3,
    )
    events = Histories.from_log(log)
    aimed = np.flatnonzero(aim.mask(events))
    counts = np.bincount(events.event_users[aimed], minlength=events.num_users)
    enough = counts >= 3
    last = np.cumsum(counts)[enough] - 1
    chosen, final = aimed[last - 1], aimed[last]
    asked = np.full(events.num_users, events.num_events)
    asked[enough] = chosen
    return _assemble(
        log,
        events,
        training=np.arange(events.num_events) < asked[events.event_users],
        validation=chosen,
        test=final,
        protocol={"split": "last item of each user (leaks the future)", "targets": "last"},
        aim=aim,
    )


def _choose(events: Histories, mask: np.ndarray, targets: str) -> np.ndarray:
    """Return the positions where ``mask`` is true, all or one for each user."""
    at = np.flatnonzero(mask)
    if targets == "all" or not len(at):
        return at
    users = np.searchsorted(events.offsets, at, side="right")
    edges = np.flatnonzero(users[1:] != users[:-1])
    return at[np.r_[0, edges + 1] if targets == "first" else np.r_[edges, len(at) - 1]]


def _assemble(
    log: EventLog,
    events: Histories,
    *,
    training: np.ndarray,
    validation: np.ndarray,
    test: np.ndarray,
    protocol: dict[str, str],
    aim: Aim,
) -> Split:
    shown = ~aim.hidden(events, validation, test)
    if not shown.all():
        place = np.cumsum(shown) - 1
        events, training = events.keep(shown), training[shown]
        validation, test = place[validation[shown[validation]]], place[test]
    user_events = np.add.reduceat(training, events.offsets[:-1], dtype=np.int64)
    training = aim.linked(events, training)
    protocol = protocol | aim.protocol
    for part, size in (
        ("training", training.sum()),
        ("validation", len(validation)),
        ("test", len(test)),
    ):
        if size == 0:
            raise DataError(
                f"the {part} part of {log.source} ({events.num_events} events) is empty: "
                "too few events, or too many at one time"
            )
    train = events.keep(training)
    seen = train.item_counts > 0
    events, train = events.with_first(seen), train.with_first(seen)
    item_events = train.item_counts
    known = int(np.count_nonzero(item_events))
    train = replace(train, vocabulary=events.vocabulary.take(np.arange(known)))
    chosen, final = (
        Queries(events, targets, user_events, item_events, protocol | {"part": part}, aim.behaviour)
        for part, targets in (("validation", validation), ("test", test))
    )
    return Split(train, chosen, final, protocol=protocol, log=log)
