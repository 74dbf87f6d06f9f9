"""The audit of a log: what is wrong with it, what it holds, what a model must beat."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl

from modicum.data.audit import columns, domains, drift, floors, identity, leaks, order, sizes, times
from modicum.data.audit.findings import SEVERITIES, Audit, Finding
from modicum.data.histories import Histories
from modicum.data.log import EventLog
from modicum.data.split import Split
from modicum.data.split import split as split_log
from modicum.errors import DataError

__all__ = ["Audit", "Finding", "audit"]

MAX_EVENTS = 20_000_000
"""Above so many events whole users are sampled, so that memory stays bounded."""
MIN_EVENTS_TO_SPLIT = 100


def audit(log: EventLog | Split, split: Split | None = None) -> Audit:
    """Find what would make results from a log wrong, and measure what a model must beat.

    Args:
        log: the events; or a split, whose log is then audited together with it.
        split: the split to test for leaks and to measure floors on; by default the log is split
            by global time, where it has time and 100 events or more.

    >>> log = EventLog(pl.LazyFrame({"user": [1, 1], "item": ["a", "b"]}), source="example")
    >>> [finding.code for finding in audit(log).findings]
    ['no-time']
    """
    if isinstance(log, Split):
        split, log = log, log.log
    if not isinstance(log, EventLog):
        raise DataError(
            f"audit got a {type(log).__name__}; pass a log, as mo.read_events returns it, or a split"
        )
    timed = log.has("time")
    usable = log.scan.drop_nulls(["user", "item", "time"] if timed else ["user", "item"])
    num_events = int(usable.select(pl.len()).collect(engine="streaming").item())
    findings, rows = identity.rejected(log, missing=len(log) - num_events)
    figures: dict[str, dict[str, Any]] = {"rows": rows}
    if num_events == 0:
        empty = "The log holds no usable events: there is nothing to learn from. Check the source."
        return _sorted(log, [*findings, Finding("empty", "error", empty)], figures, {})
    if num_events > MAX_EVENTS:
        one_in = -(-num_events // MAX_EVENTS)
        usable = usable.filter(pl.col("user").hash(seed=0) % one_in == 0)
        rows["sampled_users"] = f"1 in {one_in}"
    sample = replace(log, scan=usable)
    events = Histories.from_log(sample)

    figures["sizes"], tables = sizes.measure(events, timed)
    findings += sizes.too_little(events)
    checks = {
        "order": order.check(events, timed),
        "duplicates": identity.duplicates(events, timed),
        "domains": domains.check(events, timed),
        "columns": columns.check(events, timed),
    }
    if timed:
        checks["times"] = times.check(events)
        checks["ties"] = times.ties(events)
        tables["newcomers"] = drift.newcomers(events)
        if split is None and num_events >= MIN_EVENTS_TO_SPLIT:
            split = _default_split(sample, figures)
    if split is not None and len(split.test) and split.train.num_events:
        checks["split"] = leaks.check(split)
        checks["drift"] = drift.check(split)
        tables["floors"] = floors.measure(split)
    for subject, (found, measured) in checks.items():
        findings += found
        figures.setdefault(subject, {}).update(measured)
    if "floors" in tables:
        figures["floors"] = {
            f"NDCG@10 of {row['floor']}, seen {row['seen_items']}": row["NDCG@10"]
            for row in tables["floors"].to_dicts()
        }
    return _sorted(log, findings, figures, tables)


def _default_split(log: EventLog, figures: dict[str, dict[str, Any]]) -> Split | None:
    try:
        return split_log(log)
    except DataError as problem:
        figures["split"] = {"not_made": str(problem)}
        return None


def _sorted(
    log: EventLog,
    findings: list[Finding],
    figures: dict[str, dict[str, Any]],
    tables: dict[str, pl.DataFrame],
) -> Audit:
    worst_first = sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))
    return Audit(log.source, tuple(worst_first), figures, tables)
